"""Restarts: a cluster whose containers were stopped, restarted or killed is the same cluster again."""

from __future__ import annotations

import random
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import anyio
import pytest
from kubernetes_asyncio.client import ApiClient, CoreV1Api

from kindasync import Cluster, events
from kindasync.cluster._lookup import members
from kindasync.docker import Connection
from kindasync.docker.containers import Container, container_inspect, container_kill, container_restart, container_start, container_wait
from kindasync.errors import Conflict
from tests.cluster.conftest import pods_ready, run_cli
from tests.cluster.test_shapes import shape

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

READY_S = 60.0
COUNTER, WRITTEN = "counter", "written"
FREEZE = ["sh", "-c", "ctr -n k8s.io task ls -q | xargs -n 1 ctr -n k8s.io task pause"]
Disturbance = Callable[[Connection, Sequence[Container]], Awaitable[None]]


@pytest.fixture(scope="module")
async def single(anyio_backend: str) -> AsyncIterator[Cluster]:
    async with Cluster.running(shape(1, 0)) as cluster:
        yield cluster


@pytest.fixture(scope="module")
async def workers(anyio_backend: str) -> AsyncIterator[Cluster]:
    async with Cluster.running(shape(1, 2)) as cluster:
        yield cluster


@pytest.fixture(scope="module")
async def balanced(anyio_backend: str) -> AsyncIterator[Cluster]:
    async with Cluster.running(shape(3, 2), wait_s=240) as cluster:
        yield cluster


SEVERAL = ["workers", pytest.param("balanced", marks=pytest.mark.stress)]


@pytest.fixture(params=["single", *SEVERAL])
def any_cluster(request: pytest.FixtureRequest) -> Cluster:
    found: Cluster = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=SEVERAL)
def several(request: pytest.FixtureRequest) -> Cluster:
    """A cluster of more than one node."""
    found: Cluster = request.getfixturevalue(request.param)
    return found


async def restart(connection: Connection, containers: Sequence[Container]) -> None:
    """`docker restart`, all at once."""
    async with anyio.create_task_group() as tasks:
        for container in containers:
            tasks.start_soon(container_restart, connection, container.id)


async def kill(connection: Connection, containers: Sequence[Container]) -> None:
    """`docker kill`, as when the power fails; then `docker start`."""
    async with anyio.create_task_group() as tasks:
        for container in containers:
            tasks.start_soon(_kill_and_start, connection, container)


async def _kill_and_start(connection: Connection, container: Container) -> None:
    with suppress(Conflict):
        await container_kill(connection, container.id, "SIGKILL")
    await container_wait(connection, container.id)
    await container_start(connection, container.id)


@pytest.mark.parametrize("disturb", [restart, kill])
async def test_all_nodes_at_once(any_cluster: Cluster, disturb: Disturbance) -> None:
    """The same addresses and ports, all Ready within a minute, nothing lost."""
    await survives(any_cluster, disturb, anyone)


@pytest.mark.parametrize("disturb", [restart, kill])
async def test_the_first_control_plane_alone(several: Cluster, disturb: Disturbance) -> None:
    """The others are told, and go on."""
    await survives(several, disturb, partial(is_named, f"{several.name}-control-plane"))


@pytest.mark.parametrize("disturb", [restart, kill])
async def test_a_worker_alone(workers: Cluster, disturb: Disturbance) -> None:
    """It is Ready again, as its kubelet says since then."""
    await survives(workers, disturb, partial(is_named, f"{workers.name}-worker2"))


async def test_the_hosts_state_is_a_cache(any_cluster: Cluster) -> None:
    """Without the state directory the cluster starts, and its kubeconfig is made again from the nodes."""
    shutil.rmtree(any_cluster.kubeconfig_path.parent)

    await survives(any_cluster, restart, anyone)

    again = await Cluster.get(any_cluster.name)
    assert again.kubeconfig == any_cluster.kubeconfig
    assert again.kubeconfig_path.stat().st_mode & 0o077 == 0


async def test_stop_and_start(any_cluster: Cluster) -> None:
    """Stopped: nothing runs. Started: all is as it was. Both may be said twice; each node's end is told with its duration."""
    seen: list[events.Event] = []
    before = await containers_of(any_cluster)
    async with any_cluster.client() as api:
        count = await count_on(api)

    await any_cluster.stop(on_event=seen.append)
    await any_cluster.stop()
    assert {container.state for container in await containers_of(any_cluster)} == {"exited"}
    assert {event.node for event in seen if isinstance(event, events.NodeStopped)} == {container.name for container in before}

    await any_cluster.start(wait_s=READY_S, on_event=seen.append)
    await any_cluster.start(wait_s=READY_S)
    assert isinstance(seen[-1], events.ClusterReady)
    assert lasting(await containers_of(any_cluster)) == lasting(before)
    async with any_cluster.client() as api:
        assert await count_on(api) == count + 1


async def test_a_frozen_pod_does_not_keep_a_node_from_its_end(single: Cluster) -> None:
    """On cgroup v1 not even SIGKILL ends it before it is thawed; runc freezes pods for a moment, and may be ended in that."""

    async def freeze_and_restart(connection: Connection, containers: Sequence[Container]) -> None:
        await single.nodes[0].exec(FREEZE)
        await restart(connection, containers)

    await survives(single, freeze_and_restart, anyone)


async def test_a_frozen_pod_does_not_keep_a_node_from_its_removal(name: str) -> None:
    """Nobody is left in the node who could thaw it."""
    cluster = await Cluster.create(name)
    await cluster.nodes[0].exec(FREEZE)

    await cluster.delete()


async def test_the_command(single: Cluster) -> None:
    """`kindasync stop`, `kindasync start`."""
    stopped = await anyio.to_thread.run_sync(lambda: run_cli("stop", "--name", single.name))
    started = await anyio.to_thread.run_sync(lambda: run_cli("start", "-n", single.name, "--wait", "60s"))

    assert (stopped.returncode, started.returncode) == (0, 0), stopped.stderr + started.stderr
    assert f'stopped cluster "{single.name}"' in stopped.stderr
    assert f'cluster "{single.name}" is ready' in started.stderr


@pytest.mark.stress
@pytest.mark.timeout(900)
async def test_ten_restarts_of_random_nodes(balanced: Cluster) -> None:
    """Any one node, the balancer too, ten times, while a counter is written: nothing that was acknowledged is lost."""
    seed = random.randrange(1 << 32)
    choose = random.Random(seed)
    async with counting(balanced) as counter:
        for number in range(10):
            containers = await containers_of(balanced)
            chosen, disturb = choose.choice(containers), choose.choice([restart, kill])
            before = counter.acknowledged
            await survives(balanced, disturb, partial(is_named, chosen.name))
            print(f"seed {seed}, {number}: {chosen.name}; {counter.acknowledged - before} writes meanwhile")


def anyone(container: Container) -> bool:
    return True


def is_named(name: str, container: Container) -> bool:
    return container.name == name


async def survives(cluster: Cluster, disturb: Disturbance, chosen: Callable[[Container], bool]) -> None:
    """Count, disturb, and find all as it was before, Ready within READY_S."""
    if disturb is kill:
        await pods_ready(cluster)
    before = await containers_of(cluster)
    async with cluster.client() as api:
        count = await count_on(api)

    async with cluster.engine.connect() as connection:
        await disturb(connection, [container for container in before if chosen(container)])
    await cluster.start(wait_s=READY_S)

    assert lasting(await containers_of(cluster)) == lasting(before)
    async with cluster.client() as api:
        assert await count_on(api) == count + 1


class Counter:
    """How far a counter in etcd was written."""

    def __init__(self) -> None:
        self.acknowledged = 0

    async def write(self, core: CoreV1Api) -> None:
        """Write the next number again and again; one that is not acknowledged in time may have been written or not."""
        while True:
            patch = {"data": {"written": str(self.acknowledged + 1)}}
            with suppress(Exception), anyio.fail_after(5):
                await core.patch_namespaced_config_map(WRITTEN, "default", patch)
                self.acknowledged += 1
            await anyio.sleep(0.05)


@asynccontextmanager
async def counting(cluster: Cluster) -> AsyncIterator[Counter]:
    """Write a counter for as long as the context is open; in the end, it is where it was written to."""
    counter = Counter()
    async with cluster.client() as api:
        core = CoreV1Api(api)
        first: Any = {"metadata": {"name": WRITTEN}, "data": {"written": "0"}}
        await core.create_namespaced_config_map("default", first)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(counter.write, core)
            yield counter
            tasks.cancel_scope.cancel()
        found = await core.read_namespaced_config_map(WRITTEN, "default")
        assert counter.acknowledged > 0
        assert int(found.data["written"]) in (counter.acknowledged, counter.acknowledged + 1)
        await core.delete_namespaced_config_map(WRITTEN, "default")


async def containers_of(cluster: Cluster) -> list[Container]:
    """All containers of the cluster, the balancer included."""
    async with cluster.engine.connect() as connection:
        return [await container_inspect(connection, each.id) for each in await members(connection, cluster.name)]


def lasting(containers: Sequence[Container]) -> list[tuple[Any, ...]]:
    """What a restart may not change: identity, addresses, ports."""
    return [
        (
            each.name,
            each.id,
            each.state,
            [(at.network, at.ipv4_address, at.fixed_ipv4, at.ipv6_address, at.fixed_ipv6) for at in each.attachments],
            sorted(map(str, each.ports)),
        )
        for each in containers
    ]


async def count_on(api: ApiClient) -> int:
    """Add 1 to the counter in etcd, made where there is none yet; its value."""
    core = CoreV1Api(api)
    found = {each.metadata.name: each for each in (await core.list_namespaced_config_map("default")).items}
    if COUNTER not in found:
        first: Any = {"metadata": {"name": COUNTER}, "data": {"count": "1"}}
        await core.create_namespaced_config_map("default", first)
        return 1
    count = int(found[COUNTER].data["count"]) + 1
    await core.patch_namespaced_config_map(COUNTER, "default", {"data": {"count": str(count)}})
    return count
