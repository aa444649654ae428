"""The Engine restarted, or killed: clusters come back by themselves. On an Engine of our own: `nox -s remote -- -k engine_restart`."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator

import anyio
import anyio.to_thread
import pytest

from kindasync import Cluster
from kindasync.docker.containers import Container
from tests.cluster.remote import restart_engine
from tests.cluster.test_restarts import containers_of, count_on, counting, lasting
from tests.cluster.test_shapes import shape

pytestmark = [pytest.mark.anyio, pytest.mark.remote, pytest.mark.timeout(600)]

BACK_S = 60.0


@pytest.fixture(scope="module", params=[(1, 0), (1, 2), (3, 2)], ids=["1+0", "1+2", "3+2"])
async def cluster(request: pytest.FixtureRequest, anyio_backend: str) -> AsyncIterator[Cluster]:
    async with Cluster.running(shape(*request.param), wait_s=300) as running:
        yield running


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
async def test_an_engine_restart_brings_all_nodes_back(cluster: Cluster, number: signal.Signals) -> None:
    """By their restart policy, the balancer too: nobody starts them; all Ready within a minute, the same addresses and ports, nothing lost."""
    before = await containers_of(cluster)
    async with cluster.client() as api:
        count = await count_on(api)

    async with counting(cluster):
        await anyio.to_thread.run_sync(restart_engine, number)
        end = anyio.current_time() + BACK_S
        back = await running_again(cluster, end)
        await cluster.start(wait_s=end - anyio.current_time())  # there is nothing to start: it waits

    assert lasting(back) == lasting(before)
    async with cluster.client() as api:
        assert await count_on(api) == count + 1


async def running_again(cluster: Cluster, end: float) -> list[Container]:
    """All containers, as soon as all run; until `end`, by anyio's clock."""
    containers: list[Container] = []
    with anyio.CancelScope(deadline=end):
        while not containers or any(each.state != "running" for each in containers):
            await anyio.sleep(0.5)
            containers = await containers_of(cluster)
    assert {each.state for each in containers} == {"running"}, [(each.name, each.state, each.exit_code) for each in containers]
    return containers
