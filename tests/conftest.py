"""Fixtures that every test may use."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp

import pytest

from kindasync.testing import FakeEngine

pytest_plugins = ["pytester"]

BLOCK = 128


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The only backend: aiohttp is bound to asyncio."""
    return "asyncio"


@pytest.fixture(scope="session")
def host_ports() -> Iterator[range]:
    """Host ports for the fakes of this process alone: those of Kubernetes APIs are real ones, and suites may run side by side.

    They lie between kindasync's own and those of connections. A block belongs to the process that listens on its first port.
    """
    for first in range(30000, 32768 - BLOCK, BLOCK):
        with suppress(OSError), socket.create_server(("127.0.0.1", first)):
            yield range(first + 1, first + BLOCK)
            return
    raise AssertionError("no block of host ports is free")


@pytest.fixture(autouse=True)
def home(
    tmp_path_factory: pytest.TempPathFactory, host_ports: range, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Path:
    """A home of its own for each test that needs no Engine: nothing of the user's is read or changed."""
    if request.node.get_closest_marker("engine") or request.node.get_closest_marker("cluster"):
        return Path.home()
    for variable in (
        "DOCKER_HOST",
        "DOCKER_CONTEXT",
        "DOCKER_CONFIG",
        "DOCKER_TLS_VERIFY",
        "DOCKER_CERT_PATH",
        "KUBECONFIG",
        "KIND_CLUSTER_NAME",
    ):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR", "KIND_EXPERIMENTAL_DOCKER_NETWORK", "KINDASYNC_HOST_OVERRIDE"):
        monkeypatch.delenv(variable, raising=False)
    home = Path(mkdtemp(prefix="home-", dir=tmp_path_factory.getbasetemp()))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("KINDASYNC_HOST_PORTS", f"{host_ports[0]}-{host_ports[-1]}")
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # our fixtures' business: here they are what is tested
    return home


@pytest.fixture
def fake() -> Iterator[FakeEngine]:
    """A Docker Engine that is none."""
    with FakeEngine() as engine:
        yield engine


@pytest.fixture
def heeds_interrupts() -> Iterator[None]:
    """In the background, shells have SIGINT ignored by what they run."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
