"""The pytest plugin: a cluster for a test session, a namespace for each test.

The fixtures are plain ones and give plain values, so tests may be async, by anyio's plugin or pytest-asyncio, or not.
Nothing but pytest is imported until a fixture is used.
"""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from kindasync.cluster import Cluster

Result = TypeVar("Result")
REUSED_NAME = "pytest"
READY_S = 60.0


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options, in a group of their own."""
    group = parser.getgroup("kindasync", "Kubernetes clusters")
    group.addoption(
        "--kind-reuse", action="store_true", help=f'use the cluster "{REUSED_NAME}" (or --kind-name), created if need be, and keep it'
    )
    group.addoption(
        "--kind-name",
        metavar="NAME",
        help="the cluster's name; by default a new one for each session. Without --kind-reuse, pytest-xdist's workers append theirs",
    )
    group.addoption("--kind-image", metavar="REF", default="", help="the node image")
    group.addoption("--kind-config", metavar="FILE", help="a configuration (kind.x-k8s.io/v1alpha4)")


@pytest.fixture(scope="session")
def kind_cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A cluster for the whole session, ready to be used; deleted at its end, unless --kind-reuse."""
    from pathlib import Path
    from secrets import token_hex

    from kindasync.cluster import Cluster

    option: Callable[[str], Any] = request.config.getoption
    config = Path(option("kind_config")) if option("kind_config") else None
    reuse = option("kind_reuse")
    name = option("kind_name") or (REUSED_NAME if reuse else f"pytest-{token_hex(4)}")
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker and not reuse and option("kind_name"):
        name += f"-{worker}"  # each worker is a session, with a cluster of its own

    async def create() -> Cluster:
        return await Cluster.create(name, config=config, image=option("kind_image"))

    if reuse:
        yield _run(lambda: _get_or_create(name, config, create))
        return
    cluster = _run(create)
    try:
        yield cluster
    finally:
        _run(cluster.delete)


@pytest.fixture
def kind_namespace(kind_cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A new namespace for one test, with its default ServiceAccount; deleted afterwards, without waiting for it."""
    from secrets import token_hex

    from kindasync.cluster._namespaces import make_namespace, remove_namespace

    readable = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:40].strip("-")
    name = f"{readable or 'test'}-{token_hex(3)}"
    try:
        _run(lambda: make_namespace(kind_cluster.kubeconfig, name))
        yield name
    finally:
        _run(lambda: remove_namespace(kind_cluster.kubeconfig, name))


async def _get_or_create(name: str, config: Path | None, create: Callable[[], Awaitable[Cluster]]) -> Cluster:
    """The cluster of that name, ready. Processes that ask for it at once wait for the one that creates it."""
    from filelock import AsyncFileLock

    from kindasync.cluster import Cluster
    from kindasync.cluster._state import lock_path
    from kindasync.errors import ClusterNotFound

    async with AsyncFileLock(lock_path(name)):
        try:
            with _or_delete(name):
                cluster = await Cluster.get(name)
        except ClusterNotFound:
            return await create()
    from kindasync.cluster._reuse import wait_found  # half a second of imports, where nothing else in the session needs them

    with _or_delete(name):
        await wait_found(cluster, config, timeout_s=READY_S)
    return cluster


@contextmanager
def _or_delete(name: str) -> Iterator[None]:
    """Say of a cluster that cannot be used how to be rid of it."""
    from kindasync.errors import ClusterError, NodeError, NotReady

    try:
        yield
    except (NodeError, NotReady) as error:
        raise ClusterError(
            f'cluster "{name}" is there, but cannot be reused',
            why=f"{error.what}\n{error.why}",
            hint=f"kindasync delete cluster --name {name}; the next session makes it anew",
        ) from error


def _run(operation: Callable[[], Awaitable[Result]]) -> Result:
    """Run a coroutine function in an event loop of its own thread: there may be a running one in this. An interrupt cancels it, and waits until it has cleaned up."""
    from anyio.from_thread import start_blocking_portal

    with start_blocking_portal() as portal:
        future = portal.start_task_soon(operation)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise
