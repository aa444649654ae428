"""Stop and start: in which order, what is told, and what is said of nodes that came back elsewhere."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from kindasync import Cluster, ClusterNotFound, NotReady
from kindasync import events as told
from kindasync.cluster import start, stop
from kindasync.cluster._readiness import node_state
from kindasync.cluster._stop import _time
from kindasync.docker import Engine
from kindasync.docker.containers import container_pause, container_remove, container_start
from kindasync.errors import ClusterError, StepFailed
from kindasync.testing import FakeEngine
from tests.unit.recording import Recording
from tests.unit.test_nodes_together import BALANCER, FIRST, WORKER, shape

pytestmark = pytest.mark.anyio


async def create(fake: FakeEngine, control_planes: int = 2, workers: int = 1) -> Cluster:
    return await Cluster.create("demo", config=shape(control_planes, workers), engine=fake.url)


async def test_workers_stop_first_and_the_balancer_last(fake: FakeEngine) -> None:
    """Each with its duration; then the cluster."""
    cluster = await create(fake)
    seen = Recording()

    await cluster.stop(on_event=seen.keep)

    stopped = [event.node for event in seen.of(told.NodeStopped)]
    assert (stopped[0], set(stopped[1:3]), stopped[3]) == (WORKER, {FIRST, "demo-control-plane2"}, BALANCER)
    assert all(event.duration_s >= 0 for event in seen.of(told.NodeStopped))
    assert seen.names[-1] == "ClusterStopped"
    assert {container.state for container in fake.containers.values()} == {"exited"}


async def test_workers_start_last(fake: FakeEngine) -> None:
    """Then readiness is waited for, as a create does."""
    cluster = await create(fake)
    addresses = {name: container.address for name, container in fake.containers.items()}
    await cluster.stop()
    seen = Recording()

    await cluster.start(on_event=seen.keep)

    started = [event.node for event in seen.of(told.NodeStarted)]
    assert (set(started[:3]), started[3:]) == ({BALANCER, FIRST, "demo-control-plane2"}, [WORKER])
    assert {event.node for event in seen.of(told.NodeReady)} == {FIRST, "demo-control-plane2", WORKER}
    assert seen.names[-1] == "ClusterReady"
    assert {name: container.address for name, container in fake.containers.items()} == addresses


async def test_one_of_which_the_lists_still_say_that_it_runs(fake: FakeEngine) -> None:
    """Is started: they may be a moment late."""
    cluster = await create(fake, 1, 1)
    fake.on("ContainerInspect", lambda: fake.die(WORKER))  # after the list, before each is asked

    await cluster.start()

    assert {container.state for container in fake.containers.values()} == {"running"}


async def test_paused_nodes_go_on(fake: FakeEngine) -> None:
    """The Engine starts none that is paused."""
    cluster = await create(fake, 1, 1)
    async with Engine.of(fake.url).connect() as connection:
        for name in (FIRST, WORKER):
            await container_pause(connection, name)

    await cluster.start()

    assert {container.state for container in fake.containers.values()} == {"running"}


async def test_a_balancer_that_is_gone_is_told(fake: FakeEngine) -> None:
    """Nobody reaches the cluster by its kubeconfig any more."""
    cluster = await create(fake)
    async with Engine.of(fake.url).connect() as connection:
        await container_remove(connection, BALANCER)
    seen = Recording()

    await cluster.start(on_event=seen.keep)

    assert "has no balancer any more" in seen.only(told.Warned).message


async def test_both_may_be_said_twice(fake: FakeEngine) -> None:
    """What is stopped, or runs, is left alone."""
    cluster = await create(fake)
    await cluster.stop()
    seen = Recording()
    await cluster.stop(on_event=seen.keep)
    assert seen.names == ["ClusterStopped"]

    await cluster.start()
    starts = len(fake.requests_of("ContainerStart"))
    await cluster.start()
    assert len(fake.requests_of("ContainerStart")) == starts


async def test_a_node_that_cannot_be_stopped_is_named_when_all_others_are(fake: FakeEngine) -> None:
    """The failure of one keeps no other running."""
    cluster = await create(fake)
    fake.fail("ContainerStop", message="cannot kill container")

    with pytest.raises(StepFailed, match="cannot stop the nodes") as raised:
        await cluster.stop()

    assert "cannot kill container" in str(raised.value)
    assert [name for name, container in fake.containers.items() if container.running] == [WORKER]


async def test_there_has_to_be_one(fake: FakeEngine) -> None:
    """As for all that is done with a cluster but its deletion."""
    for operation in (stop, start):
        with pytest.raises(ClusterNotFound):
            await operation("nope", engine=fake.url)


async def test_a_start_that_takes_too_long_says_what_is_missing(fake: FakeEngine) -> None:
    """With how it was seen last."""
    cluster = await create(fake, 1, 0)
    await cluster.stop()
    fake.node.becomes_ready = False

    with pytest.raises(NotReady, match=f"node {FIRST}: not seen"):
        await cluster.start(wait_s=0.2)


async def test_addresses_that_could_not_be_fixed_come_back(fake: FakeEngine) -> None:
    """On a network that is not ours: the Engine gives the lowest that is free, so nodes start in the order of theirs."""
    fake.add_network("kind")
    cluster = await create(fake, 1, 3)
    addresses = {name: container.address for name, container in fake.containers.items()}
    await cluster.stop()
    seen = Recording()

    await cluster.start(on_event=seen.keep)

    started = [event.node for event in seen.of(told.NodeStarted)]
    assert started == sorted(addresses, key=lambda name: ip_address(addresses[name]))
    assert {name: container.address for name, container in fake.containers.items()} == addresses


async def test_nodes_that_got_other_addresses_are_named(fake: FakeEngine) -> None:
    """On a network that is not ours the Engine gives any address: Kubernetes knows the old one, and nothing repairs it."""
    fake.add_network("kind")
    cluster = await create(fake, 1, 0)
    before = fake.containers[FIRST].address
    await cluster.stop()
    fake.add_container("intruder", "kindasync/node:v1.37.2", network="kind")
    async with Engine.of(fake.url).connect() as connection:
        await container_start(connection, "intruder")
    assert fake.containers["intruder"].address == before

    with pytest.raises(ClusterError, match="came back with other addresses") as raised:
        await cluster.start()

    assert f"{FIRST} was {before}, and is {fake.containers[FIRST].address}" in raised.value.why


def test_how_a_node_was_before_its_start_is_not_how_it_is() -> None:
    """Its Node object says Ready until somebody says otherwise."""
    node = {"status": {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-11-23T13:34:28Z"}]}}

    assert node_state(node) == ("Ready", True)
    assert node_state(node, _time("2026-11-23T13:34:28.999999999Z")) == ("Ready", True)
    assert node_state(node, _time("2026-11-23T13:34:29.000000001Z")) == ("not heard of since its start", False)
