"""Faults of nodes: there while a context is open, and healed however it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest

from kindasync import Cluster, Node, NotReady
from kindasync.cluster._api import ClusterApi
from kindasync.cluster._node_readiness import LEASES
from kindasync.cluster._node_readiness import _heard_of as heard_of
from kindasync.errors import ApiError, KindasyncError, NodeError
from kindasync.testing import FakeContainer, FakeEngine, ProgramResult
from tests.unit.kubernetes import Kubernetes
from tests.unit.test_nodes_together import FIRST, WORKER, shape

pytestmark = pytest.mark.anyio

Fault = Callable[[Node], AbstractAsyncContextManager[None]]
FAULTS = [Node.paused, Node.killed, Node.disconnected]
ROUTES = "default via 172.18.0.1 dev eth0\n172.18.0.0/16 dev eth0 proto kernel scope link\n"
TO_THE_OTHER = "10.244.0.0/24 via 172.18.128.2 proto 107"


class Ip:
    """The program: routes by family, of which those through other nodes go with the interface."""

    def __init__(self) -> None:
        self.extra = {TO_THE_OTHER}

    def __call__(self, container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ProgramResult:
        if argv[1] == "-6":
            return ProgramResult()
        if argv[3] == "replace":
            self.extra.add(" ".join(argv[4:]))
        return ProgramResult(stdout="".join([ROUTES, *(line.replace(" proto", " dev eth0 proto") + " \n" for line in self.extra)]).encode())


@pytest.fixture
def ip(fake: FakeEngine) -> Ip:
    fake.node.programs["ip"] = ip = Ip()
    return ip


@pytest.fixture
async def worker(fake: FakeEngine, ip: Ip) -> Node:
    """A worker of a cluster of 1+1."""
    cluster = await Cluster.create("demo", config=shape(1, 1), engine=fake.url)
    return next(node for node in cluster.nodes if node.name == WORKER)


def state(fake: FakeEngine, name: str = WORKER) -> tuple[object, ...]:
    """What a fault changes."""
    container = fake.containers[name]
    return container.state, container.paused, container.connected, container.address, container.body.get("_published")


# -- each of them


async def test_a_paused_node(fake: FakeEngine, worker: Node) -> None:
    """Is there, and does nothing."""
    async with worker.paused():
        inside = fake.containers[WORKER]
        assert (inside.state, inside.paused) == ("running", True)
        with pytest.raises(ApiError, match="is paused"):
            await worker.exec(["pwd"])

    assert not fake.containers[WORKER].paused


async def test_a_killed_node(fake: FakeEngine, worker: Node) -> None:
    """Is not running in the context, and is after it."""
    async with worker.killed():
        assert (fake.containers[WORKER].state, fake.containers[WORKER].exit_code) == ("exited", 137)

    assert fake.containers[WORKER].running


async def test_a_disconnected_node(fake: FakeEngine, worker: Node, ip: Ip) -> None:
    """Has no address in the context; after it, the same one, and its routes to the pods of others."""
    before = state(fake)
    async with worker.disconnected():
        assert (fake.containers[WORKER].connected, fake.containers[WORKER].address) == (False, "")
        ip.extra.clear()

    assert state(fake) == before
    assert ip.extra == {TO_THE_OTHER}
    assert [each.json["Container"] for each in fake.requests_of("NetworkConnect")] == [worker.id]


async def test_the_only_control_plane(fake: FakeEngine, ip: Ip) -> None:
    """Its API is not there meanwhile, and is afterwards, where it was."""
    cluster = await Cluster.create("demo", engine=fake.url)
    (node,) = cluster.nodes

    for fault in FAULTS:
        async with fault(node):
            assert not fake.containers[FIRST].answers
        assert (await Cluster.get("demo", engine=fake.url)).kubeconfig == cluster.kubeconfig


# -- afterwards


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_healed_node_is_waited_for(fake: FakeEngine, worker: Node, fault: Fault) -> None:
    """Its cluster has heard of it since, and takes it for Ready."""
    async with fault(worker):
        told = len(fake.api_requests(FIRST))

    assert [each for each in fake.api_requests(FIRST)[told:] if each.endswith(("/leases", "/nodes"))] == [
        f"GET {LEASES}",
        "GET /api/v1/nodes",
    ]


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_node_that_does_not_become_ready_again(fake: FakeEngine, worker: Node, fault: Callable[..., Any]) -> None:
    """The wait has an end, and says so, when the node is healed."""
    before = state(fake)

    with pytest.raises(NotReady, match=f"node {WORKER}"):
        async with fault(worker, wait_s=0.2):
            fake.node.becomes_ready = False

    assert state(fake) == before


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("has_network", [True, False])
async def test_who_is_not_waited_for(fake: FakeEngine, worker: Node, fault: Callable[..., Any], has_network: bool) -> None:
    """A node that was not Ready, as one without a pod network; and any, with `wait_s` 0."""
    fake.node.has_network = has_network

    async with fault(worker, wait_s=0 if has_network else 60):
        fake.node.becomes_ready = False


async def test_a_lease_of_before(kubernetes: Kubernetes, api: ClusterApi, worker: Node) -> None:
    """Says nothing; nor does that of another node."""
    kubernetes.resources["coordination.k8s.io/v1"] = [{"kind": "Lease", "name": "leases", "namespaced": True}]
    since = datetime(2026, 11, 26, 12, tzinfo=UTC)
    put_lease(kubernetes, WORKER, "2026-11-26T11:59:59.999999Z")
    put_lease(kubernetes, FIRST, "2026-11-26T12:00:01.000000Z")

    with pytest.raises(NotReady, match=r"its lease: 2026-11-26T11:59:59\.999999Z"):
        await heard_of(api, worker, since, 0.2)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(heard_of, api, worker, since, 60)
        await kubernetes.asked(f"GET {LEASES} watch", 2)
        put_lease(kubernetes, WORKER, "2026-11-26T12:00:00.000001Z")


def put_lease(kubernetes: Kubernetes, node: str, renewed: str) -> None:
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": node}, "spec": {"renewTime": renewed}}
    kubernetes.put(lease, "kube-node-lease")


# -- however it ends


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_body_that_fails(fake: FakeEngine, worker: Node, fault: Fault) -> None:
    """Its error is what is raised, when the node is healed."""
    before = state(fake)

    with pytest.raises(ZeroDivisionError) as raised:
        async with fault(worker):
            raise ZeroDivisionError

    assert state(fake) == before
    assert not hasattr(raised.value, "__notes__")


@pytest.mark.parametrize("way", ["scope", "task"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_body_that_is_cancelled(fake: FakeEngine, worker: Node, fault: Fault, way: str) -> None:
    """In either way that asyncio knows."""
    before = state(fake)
    inside = anyio.Event()

    async def body() -> None:
        async with fault(worker):
            inside.set()
            await anyio.sleep_forever()

    if way == "task":
        task = asyncio.ensure_future(body())
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(body)
            await inside.wait()
            tasks.cancel_scope.cancel()

    assert state(fake) == before


ACTS = {"ContainerPause": Node.paused, "ContainerKill": Node.killed, "ContainerWait": Node.killed, "NetworkDisconnect": Node.disconnected}


@pytest.mark.parametrize("operation", ACTS)
async def test_a_beginning_that_is_cancelled(fake: FakeEngine, worker: Node, operation: str) -> None:
    """Before the Engine has answered: it is not known then whether it was done."""
    before = state(fake)
    release = fake.hold(operation)

    async def body() -> None:
        async with ACTS[operation](worker):
            pytest.fail("it was not to begin")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(body)
        await anyio.to_thread.run_sync(lambda: fake.wait_request(operation))
        tasks.cancel_scope.cancel()
        release()

    assert state(fake) == before


async def test_a_fault_that_the_body_has_healed(fake: FakeEngine, worker: Node) -> None:
    """There is nothing left to do."""
    from kindasync.docker import Engine
    from kindasync.docker.containers import container_start, container_unpause
    from kindasync.docker.networks import network_connect

    healings: dict[Any, Any] = {
        Node.paused: lambda connection: container_unpause(connection, WORKER),
        Node.killed: lambda connection: container_start(connection, WORKER),
        Node.disconnected: lambda connection: network_connect(connection, "kind", WORKER),
    }
    for fault, heal in healings.items():
        async with fault(worker), Engine.of(fake.url).connect() as connection:
            await heal(connection)

    assert fake.containers[WORKER].answers


async def test_a_healing_that_fails(fake: FakeEngine, worker: Node) -> None:
    """Is the error."""
    fault = worker.paused()
    await fault.__aenter__()
    fake.fail("ContainerUnpause")

    with pytest.raises(ApiError, match="scripted") as raised:
        await fault.__aexit__(None, None, None)

    assert raised.value.__notes__ == [f"node {WORKER} was not healed: kindasync start has nodes run again that are paused or stopped"]


async def test_a_healing_that_fails_after_the_body(fake: FakeEngine, worker: Node) -> None:
    """The first error is what is raised."""

    async def body() -> None:
        async with worker.killed():
            fake.fail("ContainerStart", message="no space left on device")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as raised:
        await body()

    (note,) = raised.value.__notes__
    assert note.startswith(f"node {WORKER} was not healed: container start failed")


# -- what is refused


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("condition", ["exited", "paused"])
async def test_a_node_that_does_not_run(fake: FakeEngine, worker: Node, fault: Fault, condition: str) -> None:
    """Could not be as it was, afterwards."""
    if condition == "exited":
        fake.die(WORKER)
    else:
        fake.containers[WORKER].paused = True
    before = state(fake)

    with pytest.raises(NodeError, match=f"its container is {condition}"):
        async with fault(worker):
            pytest.fail("it was not to begin")

    assert state(fake) == before


async def test_an_address_that_could_not_be_given_back(fake: FakeEngine, ip: Ip) -> None:
    """In a network of another program, the Engine gives any: the node is left as it is."""
    fake.add_network("kind")
    cluster = await Cluster.create("demo", engine=fake.url)

    with pytest.raises(NodeError, match="would not get its address back") as raised:
        async with cluster.nodes[0].disconnected():
            pytest.fail("it was not to begin")

    assert isinstance(raised.value, KindasyncError)
    assert fake.requests_of("NetworkDisconnect") == []
