"""Fixtures that every test may use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kindasync.testing import FakeEngine

pytest_plugins = ["pytester"]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The only backend: aiohttp is bound to asyncio."""
    return "asyncio"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
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
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return home


@pytest.fixture
def fake() -> Iterator[FakeEngine]:
    """A Docker Engine that is none."""
    with FakeEngine() as engine:
        yield engine
