"""Snapshots: what nodes and their kubelets are made to do for a restore, whatever the program there answers, and how the command tells it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest

from kindasync import Cluster, ClusterNotFound, NotReady
from kindasync.cli._main import main
from kindasync.cluster import _snapshots
from kindasync.cluster._snapshots import PASSES, Snapshot
from kindasync.docker import Engine
from kindasync.docker.containers import container_stop
from kindasync.errors import ClusterError
from kindasync.events import ClusterRestored
from kindasync.testing import FakeContainer, FakeEngine, ProgramResult
from tests.unit.recording import Recording
from tests.unit.test_nodes_together import FIRST, WORKER, shape

pytestmark = pytest.mark.anyio

KEPT = {"name": "installed", "taken": "2026-11-26T12:00:00Z", "revision": 7, "objects": 300, "chunks": 1}
NOTHING: dict[str, Any] = {"keys": [], "killed": {}, "returning": {}, "volumes": []}
CHANGED = {**NOTHING, "keys": ["namespaces/mess"]}
RETURNING = {**NOTHING, "returning": {WORKER: ["coredns-1"]}}


class Nodes:
    """The programs `snapshot` and `systemctl` of a fake's nodes. Shape: `ran`: "NODE: ARGUMENTS" of each run; `answers`: what the next ask gets, the last
    again and again: documents, or how the program ends; `systemctl`: how that ends."""

    def __init__(self, fake: FakeEngine, answers: Iterable[Any] = (NOTHING,)) -> None:
        self.ran: list[str] = []
        self.answers = list(answers)
        self.systemctl = ProgramResult()
        self._fake = fake
        fake.node.programs |= {"snapshot": self._snapshot, "systemctl": self._systemctl}

    def of(self, *commands: str) -> list[str]:
        """Those runs that are of some commands, without their flags."""
        words = [line.split() for line in self.ran]
        return [" ".join(line[:3]) for line in words if line[1] in commands]

    def _snapshot(self, container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ProgramResult:
        self.ran.append(f"{container.name}: {' '.join(argv[1:])}")
        if argv[1] == "tidy":
            return ProgramResult()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        answer = answer() if callable(answer) else answer
        return answer if isinstance(answer, ProgramResult) else ProgramResult(stdout=json.dumps(answer).encode())

    def _systemctl(self, container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ProgramResult:
        self.ran.append(f"{container.name}: {' '.join(argv[1:])}")
        return self.systemctl


async def create(fake: FakeEngine, control_planes: int = 1, workers: int = 1) -> Cluster:
    return await Cluster.create("demo", config=shape(control_planes, workers), engine=fake.url)


async def stop(fake: FakeEngine, name: str) -> None:
    async with Engine.of(fake.url).connect() as connection:
        await container_stop(connection, name)


async def test_each_new_cluster_has_one(fake: FakeEngine) -> None:
    """Of a revision of the time when it was finished: the last thing that is done."""
    nodes = Nodes(fake)

    await create(fake)

    assert nodes.of("take") == [f"{FIRST}: take created"]
    assert re.search(r" -revision [1-9]\d*$", nodes.ran[-1])


async def test_the_first_one_has_all_that_controllers_make(fake: FakeEngine) -> None:
    """Else a reset would remove it, and they would make it again. The fake tells of a Deployment's pods in a watch, when it has been listed."""
    asked: list[int] = []

    def take(container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ProgramResult:
        asked.append(fake.api_requests(FIRST).count("GET /apis/apps/v1/deployments"))
        return ProgramResult()

    fake.node.programs["snapshot"] = take

    await create(fake)

    assert asked == [2]


async def test_an_image_without_the_program(fake: FakeEngine) -> None:
    """Is as good for a create; what cannot be done with it says so."""
    cluster = await create(fake)
    with pytest.raises(ClusterError, match="cannot take snapshots") as raised:
        await cluster.reset()
    assert "kindasync build node-image" in str(raised.value.hint)


async def test_take_list_and_drop(fake: FakeEngine) -> None:
    """A control plane is asked."""
    cluster = await create(fake)
    nodes = Nodes(fake, [KEPT, [KEPT], KEPT])
    kept = Snapshot(name="installed", taken=datetime(2026, 11, 26, 12, tzinfo=UTC), objects=300)

    assert await cluster.snapshot("installed") == kept
    assert await cluster.snapshots() == (kept,)
    await cluster.delete_snapshot("installed")

    assert nodes.ran == [f"{FIRST}: take installed", f"{FIRST}: list", f"{FIRST}: drop installed"]


async def test_a_restore_goes_on_until_nothing_is_left_to_do(fake: FakeEngine) -> None:
    """Each time the nodes forget what is no more: pods by node, those that were on none everywhere, directories of volumes everywhere."""
    cluster = await create(fake)
    first = {**CHANGED, "killed": {WORKER: ["a"], "": ["b"]}, "volumes": ["/var/kept"]}
    nodes = Nodes(fake, [first, NOTHING])
    seen = Recording()

    await cluster.restore("installed", on_event=seen.keep)

    asked = f"{FIRST}: restore installed -nodes {FIRST},{WORKER} -resting"
    assert [line.rstrip() for line in nodes.ran if "restore" in line] == [asked, asked]
    assert set(nodes.ran) >= {
        f"{WORKER}: tidy -pods a,b -returning  -volumes /var/kept",
        f"{FIRST}: tidy -pods b -returning  -volumes /var/kept",
    }
    assert sorted(nodes.ran[-2:]) == [f"{FIRST}: tidy -pods b -returning  -volumes ", f"{WORKER}: tidy -pods a,b -returning  -volumes "]
    assert not nodes.of("stop", "start")
    assert [event.snapshot for event in seen.of(ClusterRestored)] == ["installed"]


async def test_what_is_no_more_ends_when_its_kubelet_knows(fake: FakeEngine) -> None:
    """Else that would start it again. One that rests does not."""
    cluster = await create(fake)

    class Seen(list[dict[str, Any]]):
        """Pods that a kubelet still has the first time that it is asked."""

        def __iter__(self) -> Iterator[dict[str, Any]]:
            pods = self[:]
            self.clear()
            return iter(pods)

    fake.node.pods = Seen([{"metadata": {"name": "web", "uid": "a"}, "spec": {"nodeName": WORKER}}])
    Nodes(fake, [{**CHANGED, "killed": {WORKER: ["a"]}}, RETURNING, {**CHANGED, "killed": {WORKER: ["c"]}}, NOTHING])
    asked: list[int] = []
    tidy = fake.node.programs["snapshot"]

    def asked_before(container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ProgramResult:
        if argv[1] == "tidy" and container.name == WORKER:
            asked.append(fake.api_requests(FIRST).count(f"GET /api/v1/nodes/{WORKER}/proxy/pods"))
        return tidy(container, argv, stdin)

    fake.node.programs["snapshot"] = asked_before
    await cluster.reset()

    assert asked == [2, 2, 2, 2, 2]  # one for each pass, and the last for what was begun meanwhile


async def test_kubelets_rest_while_pods_return_to_their_nodes(fake: FakeEngine) -> None:
    """Those of these nodes alone: stopped before the pods are there, started when all is done; then the pods are waited for."""
    cluster = await create(fake)
    nodes = Nodes(fake, [RETURNING, CHANGED, NOTHING])

    await cluster.reset()

    assert nodes.of("restore", "stop", "start") == [
        f"{FIRST}: restore created",
        f"{WORKER}: stop kubelet",
        f"{FIRST}: restore created",
        f"{FIRST}: restore created",
        f"{WORKER}: start kubelet",
    ]
    assert f"{WORKER}: tidy -pods  -returning coredns-1 -volumes " in nodes.ran
    assert f"{FIRST}: restore created -nodes {FIRST},{WORKER} -resting {WORKER}" in nodes.ran


async def test_all_kubelets_rest_for_a_pod_that_may_have_been_anywhere(fake: FakeEngine) -> None:
    """One that was not placed when the snapshot was taken."""
    cluster = await create(fake)
    nodes = Nodes(fake, [{**NOTHING, "returning": {"": ["coredns-1"]}}, NOTHING])

    await cluster.reset()

    assert set(nodes.of("stop")) == {f"{FIRST}: stop kubelet", f"{WORKER}: stop kubelet"}
    assert set(nodes.of("start")) == {f"{FIRST}: start kubelet", f"{WORKER}: start kubelet"}


async def test_pods_that_do_not_return_are_named(fake: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """With how they were seen last."""
    cluster = await create(fake)
    Nodes(fake, [{**NOTHING, "returning": {WORKER: ["lost"]}}, NOTHING])
    monkeypatch.setattr(_snapshots, "USABLE_S", 0.3)

    with pytest.raises(NotReady, match="lost not seen"):
        await cluster.reset()


@pytest.mark.parametrize("failing", ["the program", "the kubelet"])
async def test_kubelets_are_woken_when_it_fails(fake: FakeEngine, failing: str) -> None:
    """Whatever did."""
    cluster = await create(fake)
    nodes = Nodes(fake, [RETURNING, ProgramResult(exit_code=1, stderr=b"etcdserver: request timed out")])
    if failing == "the kubelet":
        nodes.systemctl = ProgramResult(exit_code=1, stderr=b"Unit kubelet.service not loaded.")

    with pytest.raises(ClusterError, match="request timed out" if failing == "the program" else "not loaded"):
        await cluster.reset()

    assert nodes.of("start") == [f"{WORKER}: start kubelet"]


async def test_why_it_failed_is_told_where_kubelets_stay_stopped(fake: FakeEngine) -> None:
    """What keeps them so is a note."""
    cluster = await create(fake)
    nodes = Nodes(fake, [RETURNING, ProgramResult(exit_code=1, stderr=b"etcdserver: request timed out")])
    fake.node.programs["systemctl"] = lambda _, argv, __: ProgramResult(exit_code=argv[1] == "start", stderr=b"Job canceled.")

    with pytest.raises(ClusterError, match="request timed out") as raised:
        await cluster.reset()

    assert nodes
    assert "Job canceled." in "".join(raised.value.__notes__)


async def test_kubelets_are_woken_when_it_is_cancelled(fake: FakeEngine) -> None:
    """Here while the program works."""
    cluster = await create(fake)
    loop = asyncio.get_running_loop()

    with anyio.fail_after(10), anyio.CancelScope() as scope:

        def never() -> ProgramResult:
            loop.call_soon_threadsafe(scope.cancel)
            return ProgramResult(hangs=True)

        nodes = Nodes(fake, [RETURNING, never])
        await cluster.reset()

    assert scope.cancelled_caught
    assert nodes.of("stop", "start") == [f"{WORKER}: stop kubelet", f"{WORKER}: start kubelet"]


async def test_what_changes_again_and_again_is_an_error(fake: FakeEngine) -> None:
    """With what it is, and what it may come of."""
    cluster = await create(fake)
    nodes = Nodes(fake, [CHANGED])

    with pytest.raises(ClusterError, match="does not stay as it was") as raised:
        await cluster.reset()

    assert len(nodes.of("restore")) == PASSES
    assert "namespaces/mess" in raised.value.why
    assert "outside the cluster" in str(raised.value.hint)


@pytest.mark.parametrize(
    ("says", "hint"),
    [
        ('there is no snapshot "nope"', "those that there are: kindasync get snapshots --name demo"),
        ('snapshot "nope" is of other nodes: it has a, the cluster has b', "snapshot NAME --name demo"),
    ],
)
async def test_what_the_program_says_is_passed_on(fake: FakeEngine, says: str, hint: str) -> None:
    """Its error, and what to do."""
    cluster = await create(fake)
    Nodes(fake, [ProgramResult(exit_code=1, stderr=f"{says}\n".encode())])

    with pytest.raises(ClusterError, match=says) as raised:
        await cluster.restore("nope")

    assert hint in str(raised.value.hint)


async def test_any_control_plane_that_runs_will_do(fake: FakeEngine) -> None:
    """One that is stopped is not asked, and one that fails is not the last word."""
    cluster = await create(fake, control_planes=3, workers=0)
    nodes = Nodes(fake, [ProgramResult(exit_code=1, stderr=b"no leader"), KEPT])
    await stop(fake, FIRST)

    await cluster.snapshot("installed")

    assert nodes.ran == ["demo-control-plane2: take installed", "demo-control-plane3: take installed"]


async def test_without_a_control_plane_that_runs_there_is_an_error(fake: FakeEngine) -> None:
    """It says what would help."""
    cluster = await create(fake)
    await cluster.stop()

    with pytest.raises(ClusterError, match=f"{FIRST} is exited") as raised:
        await cluster.snapshots()

    assert raised.value.hint == "kindasync start --name demo starts them"


async def test_the_snapshot_of_the_create_stays(fake: FakeEngine) -> None:
    """It is what a reset restores."""
    cluster = await create(fake)

    for act in (cluster.snapshot, cluster.delete_snapshot):
        with pytest.raises(ClusterError, match='snapshot "created" stays as it is'):
            await act("created")


@pytest.mark.parametrize("name", ["", "Upper", "a/b", "-a", "a.", "a" * 64])
async def test_names_that_cannot_be(fake: FakeEngine, name: str) -> None:
    """Are refused before anything is asked."""
    cluster = await create(fake)
    nodes = Nodes(fake)

    for act in (cluster.snapshot, cluster.restore, cluster.delete_snapshot):
        with pytest.raises(ClusterError, match="there can be no snapshot"):
            await act(name)

    assert not nodes.ran


async def test_there_has_to_be_a_cluster(fake: FakeEngine) -> None:
    """As for all that is done with one but its deletion."""
    cluster = await create(fake)
    await cluster.delete()

    for act in (cluster.reset, cluster.snapshots):
        with pytest.raises(ClusterNotFound):
            await act()


def test_the_commands(fake: FakeEngine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is one of the methods."""
    anyio.run(create, fake)
    monkeypatch.setenv("DOCKER_HOST", fake.url)
    nodes = Nodes(fake, [KEPT, [KEPT], [KEPT], NOTHING, NOTHING, KEPT])

    def call(*argv: str) -> str:
        assert main([*argv, "--name", "demo"]) == 0
        return capsys.readouterr().out

    call("snapshot", "installed")
    row = {"name": "installed", "taken": "2026-11-26T12:00:00+00:00", "objects": 300}
    assert json.loads(call("get", "snapshots", "-o", "json")) == [row]
    assert call("get", "snapshots").split() == ["NAME", "TAKEN", "OBJECTS", *map(str, row.values())]
    call("restore", "installed")
    told = json.loads(call("reset", "--events", "json").splitlines()[-1])
    assert (told["event"], told["cluster"], told["snapshot"]) == ("ClusterRestored", "demo", "created")
    call("delete", "snapshot", "installed")

    assert nodes.of("take", "list", "restore", "drop") == [
        f"{FIRST}: take installed",
        f"{FIRST}: list",
        f"{FIRST}: list",
        f"{FIRST}: restore installed",
        f"{FIRST}: restore created",
        f"{FIRST}: drop installed",
    ]
