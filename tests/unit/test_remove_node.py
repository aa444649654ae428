"""Nodes removed from a cluster that goes on: in which order, what is refused, and what pods have to say about it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from kindasync import Cluster, ClusterNotFound, NotReady
from kindasync import events as told
from kindasync.cluster import _remove, remove_node
from kindasync.cluster._drain import ends_slowly, is_bare, is_bound
from kindasync.errors import ClusterError
from kindasync.node._etcd import Member, member_of, members_in
from kindasync.testing import FakeContainer, FakeEngine, ProgramResult
from tests.unit.recording import Recording
from tests.unit.test_nodes_together import BALANCER, FIRST, WORKER, WORKER2, shape

pytestmark = pytest.mark.anyio

SECOND, THIRD = "demo-control-plane2", "demo-control-plane3"


class Etcd:
    """etcd as a node's curl knows it: names of members by ID. `refuses`: what it says to a removal, so often."""

    def __init__(self, members: dict[str, str], *, refuses: int = 0) -> None:
        self.members = members
        self.asked: list[str] = []
        self._refuses = refuses

    def __call__(self, container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ProgramResult:
        self.asked.append(container.name)
        if argv[-1].endswith("/list"):
            members = [{"ID": key, "name": name, "peerURLs": [f"https://{name}:2380"]} for key, name in self.members.items()]
            return ProgramResult(stdout=json.dumps({"members": members}).encode())
        if self._refuses:
            self._refuses -= 1
            return ProgramResult(exit_code=22, stdout=b'{"message":"etcdserver: unhealthy cluster"}')
        del self.members[json.loads(argv[argv.index("--data") + 1])["ID"]]
        return ProgramResult(stdout=b"{}")


def served(fake: FakeEngine) -> list[str]:
    """The control planes that the balancer knows."""
    config = fake.containers[BALANCER].files["/kind/haproxy.cfg"].decode()
    return [line.split()[1] for line in config.splitlines() if line.startswith("  server ")]


async def create(fake: FakeEngine, control_planes: int = 1, workers: int = 2) -> Cluster:
    return await Cluster.create("demo", config=shape(control_planes, workers), engine=fake.url)


def pod(name: str, node: str = WORKER, *, owner: str = "ReplicaSet", **metadata: Any) -> dict[str, Any]:
    owners = [{"kind": owner, "name": "owner", "controller": True}] if owner else []
    return {
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}", "ownerReferences": owners, **metadata},
        "spec": {"nodeName": node},
        "status": {"phase": "Running"},
    }


def volume(name: str, node: str, *, claim: str = "") -> dict[str, Any]:
    spec: dict[str, Any] = {"claimRef": {"namespace": "default", "name": claim}} if claim else {}
    if node:
        expressions = [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]
        spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": [{"matchExpressions": expressions}]}}
    return {"metadata": {"name": name}, "spec": spec}


# -- workers


async def test_a_worker_is_drained_and_gone(fake: FakeEngine) -> None:
    """Cordoned, its pods evicted, then its container with its volumes, then its Node object."""
    cluster = await create(fake)
    fake.node.pods += [pod("web"), pod("other", WORKER2)]
    volumes = len(fake.volumes)
    seen = Recording()

    await cluster.remove_node(cluster.nodes[1], on_event=seen.keep)

    assert set(fake.containers) == {FIRST, WORKER2}
    assert len(fake.volumes) == volumes - 1
    assert seen.names == ["NodeCordoned", "PodEvicted", "NodeDrained", "NodeRemoved"]
    assert seen.only(told.PodEvicted).pod == "default/web"
    assert [each["metadata"]["name"] for each in fake.node.pods] == ["other"]
    requests = fake.api_requests(FIRST)
    assert requests.index(f"PATCH /api/v1/nodes/{WORKER}") < requests.index(f"DELETE /api/v1/nodes/{WORKER}")
    assert [node.name for node in (await Cluster.get("demo", engine=fake.url)).nodes] == [FIRST, WORKER2]


async def test_pods_of_the_node_itself_stay_to_its_end(fake: FakeEngine) -> None:
    """Those of DaemonSets, and static ones."""
    cluster = await create(fake)
    fake.node.pods += [
        pod("proxy", owner="DaemonSet"),
        pod("static", owner="Node", annotations={"kubernetes.io/config.mirror": "hash"}),
    ]
    seen = Recording()

    await cluster.remove_node(WORKER, on_event=seen.keep)

    assert seen.of(told.PodEvicted) == []
    assert "DELETE /api/v1/namespaces/default/pods/proxy" in fake.api_requests(FIRST)


@pytest.mark.parametrize(
    ("document", "bound", "bare"),
    [
        (pod("web"), False, False),
        (pod("proxy", owner="DaemonSet"), True, False),
        (pod("static", owner="Node", annotations={"kubernetes.io/config.mirror": "hash"}), True, False),
        (pod("by-hand", owner=""), False, True),
        (pod("by-hand", owner="") | {"status": {"phase": "Succeeded"}}, False, False),
    ],
)
def test_which_pods_are_evicted_and_which_would_be_lost(document: dict[str, Any], bound: bool, bare: bool) -> None:
    """As kubectl drain tells them apart."""
    assert (is_bound(document), is_bare(document)) == (bound, bare)


async def test_a_pod_that_nobody_makes_again_has_to_be_given_up(fake: FakeEngine) -> None:
    """It is named, and nothing is done; `force` means it."""
    cluster = await create(fake)
    fake.node.pods.append(pod("by-hand", owner=""))

    with pytest.raises(ClusterError, match="nobody would make again") as raised:
        await cluster.remove_node(WORKER)
    assert "default/by-hand" in str(raised.value)
    assert WORKER in fake.containers
    assert f"PATCH /api/v1/nodes/{WORKER}" not in fake.api_requests(FIRST)

    await cluster.remove_node(WORKER, force=True)
    assert WORKER not in fake.containers


async def test_a_pod_that_may_not_be_evicted_is_named_when_the_time_is_over(fake: FakeEngine) -> None:
    """With its budget's words; the node takes pods again."""
    cluster = await create(fake)
    fake.node.pods.append(pod("db"))
    fake.node.kept_pods.add("db")

    with pytest.raises(NotReady, match=f"pods of node {WORKER} to leave") as raised:
        await cluster.remove_node(WORKER, timeout_s=0.1)

    assert "default/db" in raised.value.last_state
    assert "disruption budget" in raised.value.last_state
    assert WORKER in fake.containers
    assert fake.api_requests(FIRST).count(f"PATCH /api/v1/nodes/{WORKER}") == 2


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        ({}, "it takes its time to end"),
        ({"finalizers": ["example.com/kept", "b"]}, "it ends when these finalizers are removed: example.com/kept, b"),
    ],
)
def test_why_an_evicted_pod_is_still_there(metadata: dict[str, Any], why: str) -> None:
    """What keeps it is named."""
    assert ends_slowly(pod("web", **metadata)) == why


async def test_data_that_goes_with_the_node_is_told(fake: FakeEngine) -> None:
    """Before anything is done; that of other nodes, and what any node can reach, is not."""
    cluster = await create(fake)
    fake.node.persistent_volumes += [volume("a", WORKER, claim="db"), volume("b", WORKER), volume("c", WORKER2), volume("d", "")]
    seen = Recording()

    await cluster.remove_node(WORKER, on_event=seen.keep)

    assert seen.names[0] == "Warned"
    assert seen.only(told.Warned).message == "the data of PersistentVolumes goes with the node: default/db, b"


async def test_a_removal_that_is_broken_off_gives_the_node_back(fake: FakeEngine) -> None:
    """It takes pods again: here after Ctrl-C, while a pod is still to be evicted."""
    cluster = await create(fake)
    fake.node.pods.append(pod("db"))
    fake.node.kept_pods.add("db")

    async def listen(event: told.Event) -> None:
        if isinstance(event, told.NodeCordoned):
            scope.cancel()

    with anyio.CancelScope() as scope:
        await cluster.remove_node(WORKER, on_event=listen)

    assert scope.cancelled_caught
    assert WORKER in fake.containers
    assert fake.api_requests(FIRST).count(f"PATCH /api/v1/nodes/{WORKER}") == 2


@pytest.mark.parametrize("refused", [403, 422])
async def test_a_removal_that_fails_gives_the_node_back(fake: FakeEngine, refused: int) -> None:
    """An eviction that is refused for another reason than a budget, such as by somebody's webhook."""
    cluster = await create(fake)
    fake.node.pods.append(pod("db"))
    fake.node.api_refuses["POST"] = iter([refused])

    with pytest.raises(ClusterError, match="refuses"):
        await cluster.remove_node(WORKER)

    assert fake.api_requests(FIRST).count(f"PATCH /api/v1/nodes/{WORKER}") == 2


async def test_an_eviction_that_is_not_answered_is_asked_for_again(fake: FakeEngine) -> None:
    """The API server may be restarting."""
    cluster = await create(fake)
    fake.node.pods.append(pod("web"))
    fake.node.api_refuses["POST"] = iter([0])
    seen = Recording()

    await cluster.remove_node(WORKER, on_event=seen.keep)

    assert [event.pod for event in seen.of(told.PodEvicted)] == ["default/web"]


async def test_without_time_nothing_is_evicted(fake: FakeEngine) -> None:
    """As `gc` removes nodes."""
    cluster = await create(fake)
    fake.node.pods.append(pod("db"))
    seen = Recording()

    await cluster.remove_node(WORKER, timeout_s=0, force=True, on_event=seen.keep)

    assert seen.names == ["NodeRemoved"]


async def test_force_does_not_wait_longer_for_it(fake: FakeEngine) -> None:
    """It is told, and ends with the node."""
    cluster = await create(fake)
    fake.node.pods.append(pod("db"))
    fake.node.kept_pods.add("db")
    seen = Recording()

    await cluster.remove_node(WORKER, timeout_s=0.1, force=True, on_event=seen.keep)

    assert "default/db" in seen.only(told.Warned).message
    assert WORKER not in fake.containers


async def test_a_node_that_does_not_run_is_not_drained(fake: FakeEngine) -> None:
    """Nobody is there to end its pods."""
    cluster = await create(fake)
    fake.node.pods.append(pod("web"))
    fake.die(WORKER)

    await cluster.remove_node(WORKER)

    assert WORKER not in fake.containers
    assert "DELETE /api/v1/namespaces/default/pods/web" in fake.api_requests(FIRST)


# -- control planes


async def test_a_control_plane_leaves_balancer_and_etcd_before_its_container_goes(fake: FakeEngine) -> None:
    """Another one removes its member; the balancer has the others."""
    cluster = await create(fake, 3, 0)
    etcd = Etcd({"1": FIRST, "2": SECOND, "3": THIRD})
    fake.node.programs["curl"] = etcd
    seen = Recording()

    await cluster.remove_node(FIRST, on_event=seen.keep)

    assert [name for name in seen.names if name != "NodeCordoned"] == [
        "NodeDrained",
        "BalancerReloaded",
        "EtcdMemberRemoved",
        "NodeRemoved",
    ]
    assert list(etcd.members.values()) == [SECOND, THIRD]
    assert set(etcd.asked) == {SECOND}
    assert served(fake) == [SECOND, THIRD]


async def test_a_dead_control_plane_leaves_etcd_all_the_same(fake: FakeEngine) -> None:
    """The others remove it."""
    cluster = await create(fake, 3, 0)
    etcd = Etcd({"1": FIRST, "2": SECOND, "3": THIRD})
    fake.node.programs["curl"] = etcd
    fake.die(THIRD)

    await cluster.remove_node(THIRD)

    assert list(etcd.members.values()) == [FIRST, SECOND]


async def test_etcd_is_asked_again_while_it_refuses(fake: FakeEngine) -> None:
    """It does, until its members have been connected for some seconds."""
    cluster = await create(fake, 3, 0)
    etcd = Etcd({"1": FIRST, "2": SECOND, "3": THIRD}, refuses=2)
    fake.node.programs["curl"] = etcd

    await cluster.remove_node(THIRD)

    assert list(etcd.members.values()) == [FIRST, SECOND]


async def test_a_container_whose_member_stays_stays_too(fake: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it was: the balancer knows it, and it takes pods. etcd's words say why; the same again goes on."""
    monkeypatch.setattr(_remove, "LEAVE_ETCD_S", 0.5)
    cluster = await create(fake, 3, 0)
    fake.node.programs["curl"] = Etcd({"1": FIRST, "2": SECOND, "3": THIRD}, refuses=1000)

    with pytest.raises(NotReady, match="etcd to let its member") as raised:
        await cluster.remove_node(THIRD)

    assert "unhealthy cluster" in raised.value.last_state
    assert "all other control planes run" in raised.value.hint
    assert served(fake) == [FIRST, SECOND, THIRD]
    assert fake.api_requests(BALANCER).count(f"PATCH /api/v1/nodes/{THIRD}") == 2
    assert THIRD in fake.containers


async def test_the_last_control_plane_stays(fake: FakeEngine) -> None:
    """Without it there is no cluster."""
    cluster = await create(fake, 1, 1)

    with pytest.raises(ClusterError, match=f"cannot remove node {FIRST}") as raised:
        await cluster.remove_node(FIRST)

    assert "only control plane" in raised.value.why
    assert FIRST in fake.containers


def test_a_member_is_known_by_its_name_or_before_that_by_its_address() -> None:
    """One that was announced, and has not started, has no name."""
    reply = {
        "members": [
            {"ID": "17", "name": "one", "peerURLs": ["https://10.0.0.1:2380"]},
            {"ID": "18446744073709551615", "peerURLs": ["https://[fc00::2]:2380"], "isLearner": True},
        ]
    }
    one, two = members_in(reply)

    assert two == Member(id="18446744073709551615", name="", addresses=("fc00::2",))
    assert member_of((one, two), "one", ("10.9.9.9",)) == one
    assert member_of((one, two), "two", ("fc00::2",)) == two
    assert member_of((one, two), "two", ("10.0.0.1",)) is None


# -- what is not there


async def test_a_node_that_is_not_there_is_an_error(fake: FakeEngine) -> None:
    """With those that are; the balancer is none."""
    cluster = await create(fake, 2, 1)

    for name in ("nope", BALANCER):
        with pytest.raises(ClusterError, match=f'has no node "{name}"') as raised:
            await cluster.remove_node(name)
        assert WORKER in raised.value.why
    with pytest.raises(ClusterNotFound):
        await remove_node("other", WORKER, engine=fake.url)
