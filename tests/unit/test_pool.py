"""Pools: clusters that are made in advance and frozen; each is claimed once, whoever asks for it and whatever happens."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from kindasync import Cluster, ConfigInvalid
from kindasync import events as told
from kindasync.cli._main import main
from kindasync.cluster import gc
from kindasync.cluster._marks import Mark
from kindasync.cluster._owner import owner
from kindasync.cluster._pool import Pool, State, state_of
from kindasync.cluster._requests import digest
from kindasync.config import ClusterConfig, ClusterExtras, Networking, NodeConfig, Role
from kindasync.docker.containers import Container
from kindasync.errors import ApiError, ClusterError, ClusterNotFound, KindasyncError, NotReady, PoolEmpty, StepFailed
from kindasync.events import Event
from kindasync.testing import FakeContainer, FakeEngine, ProgramResult
from tests.unit.leftovers import nothing_left
from tests.unit.recording import Recording

pytestmark = pytest.mark.anyio

TWO_NODES = ClusterConfig(nodes=(NodeConfig(), NodeConfig(role=Role.WORKER)))
THREE = ClusterConfig(nodes=(NodeConfig(),) * 3)


def first(fake: FakeEngine, cluster: str) -> FakeContainer:
    """A cluster's first control plane."""
    return fake.containers[f"{cluster}-control-plane"]


def frozen(fake: FakeEngine, cluster: str) -> set[bool]:
    """Whether a cluster's containers are."""
    return {each.paused for name, each in fake.containers.items() if name.startswith(cluster)}


def marks(container: FakeContainer) -> set[str]:
    return {path.split("/")[2] for path in container.files if path.startswith(("/kind/finished/", "/kind/claimed/"))}


def mark_claimed(container: FakeContainer) -> None:
    """As another process does."""
    container.files[f"/kind/claimed/{container.labels['kindasync.run']}"] = b""


# -- what is what


@pytest.mark.parametrize(
    ("state", "marked", "expected"),
    [
        pytest.param("paused", [Mark.FINISHED], State.PARKED, id="parked"),
        pytest.param("paused", [], State.OTHER, id="being parked"),
        pytest.param("running", [], State.OTHER, id="being made"),
        pytest.param("running", [Mark.FINISHED], State.OTHER, id="being claimed, or restarted"),
        pytest.param("exited", [Mark.FINISHED], State.OTHER, id="stopped"),
        pytest.param("running", [Mark.FINISHED, Mark.CLAIMED], State.CLAIMED, id="claimed"),
        pytest.param("paused", [Mark.FINISHED, Mark.CLAIMED], State.CLAIMED, id="claimed, and paused by its user"),
    ],
)
def test_states(state: str, marked: Collection[Mark], expected: State) -> None:
    """By the first control plane, and its marks."""
    assert state_of(Container(id="c", name="c", image="i", labels={}, state=state), marked) is expected


@pytest.mark.parametrize(
    ("config", "image", "same"),
    [
        (ClusterConfig(name="other"), "", True),
        (ClusterConfig(extras=ClusterExtras(wait="5m")), "", True),
        (ClusterConfig(), "node:2", False),
        (TWO_NODES, "", False),
        (ClusterConfig(extras=ClusterExtras(preload=("app.tar",))), "", False),
    ],
)
def test_what_a_pool_is_made_of(config: ClusterConfig, image: str, same: bool) -> None:
    """All that its clusters differ by to their users; neither their names, nor how long they were waited for."""
    assert (digest(config, image) == digest(ClusterConfig(), "")) is same


# -- fill


async def test_fill(fake: FakeEngine) -> None:
    """Whole clusters with names of their own, frozen, each told of; as many as lack, and no more the next time."""
    seen = Recording()
    programs: dict[str, list[str]] = defaultdict(list)

    def note(container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ProgramResult:
        assert not container.paused
        programs[container.name].append(f"{argv[1]} {argv[-1]}")
        return ProgramResult()

    fake.node.programs["systemctl"] = fake.node.programs["pkill"] = note

    made = await Cluster.fill_pool("ci", size=2, config=TWO_NODES, on_event=seen.keep, engine=fake.url)
    again = await Cluster.fill_pool("ci", size=3, config=TWO_NODES, engine=fake.url)
    enough = await Cluster.fill_pool("ci", size=2, config=TWO_NODES, engine=fake.url)

    assert (len(set(made)), len(again), enough) == (2, 1, [])
    assert {event.cluster for event in seen.of(told.ClusterParked)} == set(made)
    assert sorted(await Cluster.list(engine=fake.url)) == sorted([*made, *again])
    (pool,) = await Cluster.pools(engine=fake.url)
    assert (pool.name, set(pool.parked), pool.claimed, pool.others) == ("ci", {*made, *again}, (), ())
    for name in (*made, *again):
        assert name.startswith("pool-ci-")
        assert frozen(fake, name) == {True}
        assert {container.labels["kindasync.pool"] for container in fake.containers.values()} == {"ci"}
        assert marks(first(fake, name)) == {"finished"}
        assert programs[f"{name}-control-plane"][-2:] == ["stop kubelet", "-KILL ^kube-controller-manager "]


async def test_the_balancer_is_frozen_too(fake: FakeEngine) -> None:
    """And all three control planes."""
    (name,) = await Cluster.fill_pool(size=1, config=THREE, engine=fake.url)

    assert len([each for each in fake.containers if each.startswith(name)]) == 4
    assert frozen(fake, name) == {True}

    cluster = await Cluster.claim(engine=fake.url)

    assert (cluster.name, len(cluster.nodes)) == (name, 3)
    assert frozen(fake, name) == {False}


async def test_a_pool_is_of_one_configuration(fake: FakeEngine) -> None:
    """Another one is refused, while clusters of the first are parked."""
    await Cluster.fill_pool("ci", size=1, engine=fake.url)

    with pytest.raises(ClusterError, match='pool "ci" holds clusters of another configuration'):
        await Cluster.fill_pool("ci", size=2, config=TWO_NODES, engine=fake.url)
    await Cluster.claim("ci", engine=fake.url)
    await Cluster.fill_pool("ci", size=1, config=TWO_NODES, engine=fake.url)

    assert len((await Cluster.claim("ci", engine=fake.url)).nodes) == 2


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ({"pool": "", "size": 1}, ClusterError, "it is empty"),
        ({"pool": "CI", "size": 1}, ClusterError, 'there can be no pool "CI"'),
        ({"size": -1}, ClusterError, "cannot fill a pool with -1 clusters"),
        ({"size": 1, "limit": 0}, ClusterError, "0 at the same time"),
        ({"size": 1, "config": ClusterConfig(networking=Networking(disable_default_cni=True))}, ConfigInvalid, "disableDefaultCNI"),
    ],
)
async def test_what_no_pool_can_be(asked: dict[str, Any], error: type[KindasyncError], words: str) -> None:
    """Is said before anything is made, or any Engine asked."""
    with pytest.raises(error, match=words):
        await Cluster.fill_pool(**asked, engine="unix:///nowhere.sock")


async def test_parking_that_fails(fake: FakeEngine, home: Path) -> None:
    """Leaves nothing of that cluster."""
    fake.node.programs["pkill"] = lambda *_: ProgramResult(exit_code=3, stderr=b"pkill: killing pid 7 failed")

    with nothing_left(fake, home), pytest.raises(StepFailed, match="pkill: killing pid 7 failed"):
        await Cluster.fill_pool(size=1, engine=fake.url)


async def test_a_node_that_cannot_be_frozen_at_once(fake: FakeEngine) -> None:
    """Is tried again: on cgroup v1, processes that come and go may keep it from that."""
    for nth in (1, 2):
        fake.fail("ContainerPause", nth, message="cannot pause container: OCI runtime pause failed: unable to freeze: unknown")

    assert len(await Cluster.fill_pool(size=1, engine=fake.url)) == 1


@pytest.mark.parametrize("operation", ["ContainerPause", "PutContainerArchive"])
async def test_a_fill_that_is_cancelled(fake: FakeEngine, home: Path, operation: str) -> None:
    """Keeps what is parked, and removes what is not."""
    await Cluster.fill_pool(size=1, engine=fake.url)
    nth = {"ContainerPause": 1, "PutContainerArchive": 2}[operation]
    with nothing_left(fake, home), anyio.CancelScope() as scope:
        loop = asyncio.get_running_loop()
        fake.on(operation, lambda: loop.call_soon_threadsafe(scope.cancel), nth)
        await Cluster.fill_pool(size=2, engine=fake.url)

    assert scope.cancelled_caught


# -- claim


async def test_claim(fake: FakeEngine) -> None:
    """The oldest one, as if it had just been created; it is marked before anybody has it."""
    old = await Cluster.fill_pool(size=1, config=TWO_NODES, engine=fake.url)
    new = await Cluster.fill_pool(size=2, config=TWO_NODES, engine=fake.url)
    fake.containers[f"{old[0]}-control-plane"].created -= 10
    seen = Recording()

    cluster = await Cluster.claim(on_event=seen.keep, engine=fake.url)

    assert [cluster.name] == old
    assert cluster == await Cluster.get(cluster.name, engine=fake.url)
    assert frozen(fake, cluster.name) == {False}
    assert frozen(fake, new[0]) == {True}
    for node in cluster.nodes:
        assert marks(fake.containers[node.name]) == {"finished", "claimed"}
    assert seen.names[-1] == "ClusterClaimed"
    assert await Cluster.pools(engine=fake.url) == [Pool(name="default", parked=tuple(new), claimed=tuple(old))]


async def test_an_empty_pool(fake: FakeEngine) -> None:
    """Says what to do, and why."""
    with pytest.raises(PoolEmpty, match="the Engine has no cluster of it") as none:
        await Cluster.claim("ci", engine=fake.url)
    (name,) = await Cluster.fill_pool("ci", size=1, engine=fake.url)
    await Cluster.claim("ci", engine=fake.url)
    with pytest.raises(PoolEmpty, match=f"claimed, or being made: {name}"):
        await Cluster.claim("ci", engine=fake.url)

    assert "kindasync pool fill ci --size 1" in none.value.hint


async def test_claims_at_once(fake: FakeEngine) -> None:
    """Three, of two: two different ones, and an error."""
    made = await Cluster.fill_pool(size=2, engine=fake.url)
    results: list[str | None] = []

    async def claim() -> None:
        try:
            results.append((await Cluster.claim(engine=fake.url)).name)
        except PoolEmpty:
            results.append(None)

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(claim)

    assert sorted(results, key=str) == sorted([*made, None], key=str)


def unpaused(container: FakeContainer) -> None:
    """Somebody else was faster: between our look at its marks and our try."""
    container.paused = False


def claimed_and_paused(container: FakeContainer) -> None:
    """The same, and its user has paused it by now."""
    mark_claimed(container)


@pytest.mark.parametrize("meanwhile", [unpaused, claimed_and_paused])
async def test_the_loser_takes_the_next(fake: FakeEngine, meanwhile: Callable[[FakeContainer], None]) -> None:
    """And leaves the other as it is."""
    made = await Cluster.fill_pool(size=2, engine=fake.url)
    for number, name in enumerate(made):
        first(fake, name).created += number
    lost = first(fake, made[0])
    fake.on("ContainerUnpause", lambda: meanwhile(lost))

    cluster = await Cluster.claim(engine=fake.url)

    assert cluster.name == made[1]
    assert lost.paused is (meanwhile is claimed_and_paused)
    assert lost.name in fake.containers


async def test_one_that_its_user_has_paused(fake: FakeEngine) -> None:
    """Is not parked."""
    await Cluster.fill_pool(size=1, engine=fake.url)
    cluster = await Cluster.claim(engine=fake.url)

    async with cluster.nodes[0].paused():
        with pytest.raises(PoolEmpty):
            await Cluster.claim(engine=fake.url)


async def test_one_that_is_removed_meanwhile(fake: FakeEngine) -> None:
    """Is nobody's: the next is taken, if there is one."""
    (name,) = await Cluster.fill_pool(size=1, engine=fake.url)
    fake.fail("ContainerUnpause", status=404, message=f"No such container: {name}-control-plane")

    with pytest.raises(PoolEmpty):
        await Cluster.claim(engine=fake.url)


async def test_one_that_cannot_be_looked_at_any_more(fake: FakeEngine) -> None:
    """It stays parked, though it went on for a moment."""
    (name,) = await Cluster.fill_pool(size=1, engine=fake.url)
    fake.fail("ContainerArchiveInfo", 3)

    with pytest.raises(ApiError, match="archive info failed"):
        await Cluster.claim(engine=fake.url)

    assert frozen(fake, name) == {True}
    assert (await Cluster.claim(engine=fake.url)).name == name


async def test_a_mark_that_cannot_be_written(fake: FakeEngine) -> None:
    """Leaves it parked: nobody could tell that it is claimed."""
    (name,) = await Cluster.fill_pool(size=1, engine=fake.url)
    fake.fail("PutContainerArchive", message="no space left on device")

    with pytest.raises(StepFailed, match="mark the nodes as claimed"):
        await Cluster.claim(engine=fake.url)

    assert frozen(fake, name) == {True}
    assert (await Cluster.claim(engine=fake.url)).name == name


async def test_one_that_does_not_wake_up(fake: FakeEngine) -> None:
    """Is deleted: whoever gets an error has no cluster."""
    (name,) = await Cluster.fill_pool(size=1, engine=fake.url)
    fake.node.becomes_ready = False

    with pytest.raises(NotReady, match=name):
        await Cluster.claim(wait_s=0.1, engine=fake.url)

    assert await Cluster.list(engine=fake.url) == []


STEPS = [
    ("SystemPing", 1, True),
    ("ContainerList", 1, True),
    ("ContainerArchiveInfo", 1, False),  # from here on it is known first whether there is one
    ("ContainerUnpause", 1, False),
    ("ContainerArchiveInfo", 3, False),
    ("PutContainerArchive", 1, False),
    ("ContainerList", 2, False),
    ("ContainerUnpause", 2, False),
    ("PutContainerArchive", 2, False),
    ("SystemInfo", 1, False),
    ("GetContainerArchive", 1, False),
    ("ContainerExec", 1, False),
]


@pytest.mark.parametrize("way", ["scope", "task"])
@pytest.mark.parametrize(("operation", "nth", "stays"), STEPS)
async def test_a_claim_that_is_cancelled(fake: FakeEngine, operation: str, nth: int, stays: bool, way: str) -> None:
    """Wherever that is: the cluster is parked as before, or gone."""
    (name,) = await Cluster.fill_pool(size=1, config=TWO_NODES, engine=fake.url)
    loop = asyncio.get_running_loop()

    with anyio.fail_after(15):
        if way == "task":
            task = asyncio.ensure_future(Cluster.claim(engine=fake.url))
            fake.on(operation, lambda: loop.call_soon_threadsafe(task.cancel), nth)
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            with anyio.CancelScope() as scope:
                fake.on(operation, lambda: loop.call_soon_threadsafe(scope.cancel), nth)
                await Cluster.claim(engine=fake.url)
            assert scope.cancelled_caught

    if stays:
        assert (await Cluster.claim(engine=fake.url)).name == name
    else:
        assert await Cluster.list(engine=fake.url) == []


async def test_a_listener_that_fails_at_the_last_event(fake: FakeEngine) -> None:
    """Gets an error, so there is no cluster."""
    await Cluster.fill_pool(size=1, engine=fake.url)

    async def listen(event: Event) -> None:
        if isinstance(event, told.ClusterClaimed):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await Cluster.claim(on_event=listen, engine=fake.url)

    assert await Cluster.list(engine=fake.url) == []


# -- what becomes of them


async def test_gc_leaves_them_alone(fake: FakeEngine) -> None:
    """Whoever parked one has ended since; if it had been killed before, the cluster is a leftover."""
    (name,) = await Cluster.fill_pool(size=1, engine=fake.url)
    container = first(fake, name)
    host, boot, namespace, pid, _ = owner().split("/")
    container.body["Labels"]["kindasync.owner"] = f"{host}/{boot}/{namespace}/{pid}/1"  # another process of that number

    parked = await gc(engine=fake.url)
    del container.files[f"/kind/finished/{container.labels['kindasync.run']}"]
    crashed = await gc(engine=fake.url)

    assert parked == []
    assert container.name in {each.name for each in crashed}


async def test_deleting_a_pool(fake: FakeEngine) -> None:
    """Removes the parked ones, and one that came back from a restart; the claimed one stays, and so do other pools."""
    made = await Cluster.fill_pool("ci", size=3, engine=fake.url)
    other = await Cluster.fill_pool("other", size=1, engine=fake.url)
    claimed = await Cluster.claim("ci", engine=fake.url)
    restarted = first(fake, next(name for name in made if name != claimed.name))
    restarted.paused = False

    deleted = await Cluster.delete_pool("ci", engine=fake.url)
    again = await Cluster.delete_pool("ci", engine=fake.url)

    assert {*deleted, claimed.name} == set(made)
    assert again == []
    assert await Cluster.pools(engine=fake.url) == [Pool(name="ci", claimed=(claimed.name,)), Pool(name="other", parked=tuple(other))]
    await claimed.delete()
    with pytest.raises(ClusterNotFound):
        await Cluster.get(claimed.name, engine=fake.url)


def test_commands(fake: FakeEngine, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first to the last: what programs read is on stdout."""
    monkeypatch.setenv("DOCKER_HOST", fake.url)

    def run(*arguments: str) -> tuple[int, str, str]:
        return main(["pool", *arguments]), *capsys.readouterr()

    assert run("get")[2] == "There are no pools: kindasync pool fill --size 1 makes one.\n"
    code, out, err = run("fill", "ci", "--size", "2")
    assert (code, out, err.splitlines()[-1]) == (0, "", 'Parked 2 more in pool "ci"')
    code, out, err = run("claim", "ci")
    name = out.strip()
    assert (code, name in {container.labels["io.x-k8s.kind.cluster"] for container in fake.containers.values()}) == (0, True)
    assert f'Set kubectl context to "kind-{name}" in {home}/.kube/config' in err
    assert run("get")[1].split() == ["POOL", "PARKED", "CLAIMED", "OTHERS", "ci", "1", "1", "0"]
    assert run("get", "-o", "wide")[1].split()[-3:] == ["ci", name, "claimed"]
    (pool,) = json.loads(run("get", "-o", "json")[1])
    assert (pool["name"], pool["claimed"], len(pool["parked"])) == ("ci", [name], 1)
    assert run("delete", "ci")[2].splitlines()[-1] == 'Deleted 1 cluster of pool "ci"'
    code, out, err = run("claim", "ci")
    assert (code, out) == (1, "")
    assert 'ERROR: pool "ci" has no parked cluster' in err
    code, out, _ = run("fill", "--size", "1", "--events", "json")
    assert json.loads(out.splitlines()[-1])["event"] == "ClusterParked"
    code, out, _ = run("claim", "--events", "json")
    assert json.loads(out.splitlines()[-1])["event"] == "ClusterClaimed"
