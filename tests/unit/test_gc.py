"""gc: what crashed runs have left is found and removed; nothing else is, whatever lies beside it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from kindasync import Cluster
from kindasync import events as told
from kindasync.cli._main import main
from kindasync.cluster import _leases, gc
from kindasync.cluster._leftovers import Seen, left_containers, left_networks
from kindasync.cluster._owner import Fate, owner
from kindasync.config import Role
from kindasync.docker.containers import Attachment, Container
from kindasync.docker.networks import Network
from kindasync.errors import KindasyncError, LeftBehind
from kindasync.testing import FakeEngine
from tests.unit.leftovers import look, nothing_left
from tests.unit.recording import Recording
from tests.unit.test_nodes_together import FIRST, WORKER, WORKER2, shape

pytestmark = pytest.mark.anyio

DEAD, ALIVE, FAR = "host/boot/ns/7/50", "host/boot/ns/8/60", "other/boot/ns/7/50"
FATES = {DEAD: Fate.ENDED, ALIVE: Fate.LIVES, FAR: Fate.UNKNOWN}


# -- what is a leftover


def container(name: str, run: str | None, owner: str = DEAD, *, role: Role | None = Role.WORKER, at: int = 0) -> Container:
    labels = {"io.x-k8s.kind.cluster": "demo"} | ({"io.x-k8s.kind.role": str(role)} if role else {})
    ours = {"kindasync.run": run, "kindasync.owner": owner} if run else {}
    attachments = (Attachment(network="kind", network_id="n"),)
    return Container(id=name, name=name, image="i", labels={**labels, **ours}, state="running", created=at, attachments=attachments)


def control_plane(run: str | None, owner: str = DEAD, *, at: int = 0) -> Container:
    return container("control-plane", run, owner, role=Role.CONTROL_PLANE, at=at)


BALANCER = container("balancer", "a", role=Role.LOAD_BALANCER)


@pytest.mark.parametrize(
    ("containers", "finished", "expected"),
    [
        pytest.param([control_plane("a"), container("worker", "a"), BALANCER], "", "balancer control-plane worker", id="crashed"),
        pytest.param([control_plane("a"), container("worker", "a"), BALANCER], "a", "", id="finished"),
        pytest.param([control_plane("a", ALIVE), container("worker", "a", ALIVE)], "", "", id="being made"),
        pytest.param([control_plane("a", FAR)], "", "", id="made elsewhere"),
        pytest.param([control_plane("a", "")], "", "", id="kept by retain"),
        pytest.param([control_plane(None), container("worker", None)], "", "", id="kind's"),
        pytest.param([container("worker", "a"), BALANCER], "", "balancer worker", id="crashed while it rolled back"),
        pytest.param([BALANCER], "a", "balancer", id="without nodes there is no cluster"),
        pytest.param([control_plane("a"), container("worker", "b", at=9)], "a", "worker", id="crashed while it added a node"),
        pytest.param([control_plane(None), container("worker", "b", at=9)], "", "worker", id="the same, to kind's"),
        pytest.param([control_plane("a", ALIVE), container("worker", "b", at=9)], "", "worker", id="the same, inside running"),
        pytest.param([control_plane("a"), container("worker", "b", at=9)], "ab", "", id="added"),
        pytest.param([control_plane("a"), container("worker", "b", at=9)], "b", "control-plane worker", id="added inside running"),
        pytest.param([container("worker", "b", at=9), BALANCER], "b", "", id="all its first nodes were removed"),
        pytest.param([control_plane("c", at=9), container("worker", "a")], "a", "control-plane", id="a node in a first one's place"),
    ],
)
def test_leftovers(containers: list[Container], finished: str, expected: str) -> None:
    """Runs are letters, of which some have finished; who made them has ended, unless it says otherwise."""
    left = left_containers(Seen(containers=tuple(containers), finished=finished, fates=FATES))

    assert sorted(each.name for each, _ in left) == expected.split()


@pytest.mark.parametrize(("older_than_s", "expected"), [(None, []), (7200.0, []), (3600.0, ["it was never finished, and is 1.5 h old"])])
def test_what_is_old(older_than_s: float | None, expected: list[str]) -> None:
    """Counts where it cannot be told whether the owner lives; one that lives may take its time."""
    far, alive = control_plane("a", FAR), container("worker", "b", ALIVE)
    seen = Seen(containers=(far, alive), fates=FATES, now_s=5400, older_than_s=older_than_s)

    assert [leftover.why for _, leftover in left_containers(seen)] == expected


def network(labels: dict[str, str], created: str = "") -> Network:
    return Network(id="n", name="kind", driver="bridge", labels=labels, options={}, subnets=(), enable_ipv6=False, created=created)


@pytest.mark.parametrize(
    ("labels", "users", "is_left"),
    [
        ({"kindasync.network": "demo", "kindasync.owner": DEAD}, [], True),
        ({"kindasync.network": "demo", "kindasync.owner": ALIVE}, [], False),  # of a create that has come so far
        ({"kindasync.network": "demo", "kindasync.owner": FAR}, [], False),  # it may be of such a one
        ({"kindasync.network": "demo"}, [], False),
        ({"kindasync.network": "demo", "kindasync.owner": ALIVE}, [BALANCER], True),
        ({"kindasync.network": "demo", "kindasync.owner": FAR}, [BALANCER], True),
        ({"kindasync.network": "demo", "kindasync.owner": DEAD}, [BALANCER, control_plane(None)], False),
        ({}, [], False),
    ],
)
def test_networks(labels: dict[str, str], users: list[Container], is_left: bool) -> None:
    """Ours, when no container stays in it; BALANCER is one that goes."""
    seen = Seen(containers=tuple(users), networks=(network(labels),), fates=FATES)

    assert bool([*left_networks(seen, [each for each in users if each is BALANCER])]) is is_left


@pytest.mark.parametrize(
    ("owner", "created", "is_left"),
    [
        (FAR, "1970-01-01T00:00:00.123456789Z", True),
        (FAR, "1970-01-01T02:00:00.123456789+02:00", True),
        (FAR, "1970-01-01T01:00:00Z", False),
        (FAR, "", False),
        ("", "1970-01-01T00:00:00Z", True),
        (ALIVE, "1970-01-01T00:00:00Z", False),
    ],
)
def test_networks_that_are_old(owner: str, created: str, is_left: bool) -> None:
    """Count as containers do: where it cannot be told whether the owner lives. 1.5 h after the epoch, it is one hour that makes old."""
    labels = {"kindasync.network": "demo", "kindasync.owner": owner}
    seen = Seen(containers=(), networks=(network(labels, created),), fates=FATES, now_s=5400, older_than_s=3600)

    assert bool([*left_networks(seen, [])]) is is_left


# -- runs that crash


def crash(fake: FakeEngine, *arguments: str, at: str, nth: int = 1) -> None:
    """Run the command, in a process that is killed when it waits for the nth answer to an operation, which never comes."""
    before = len(fake.requests_of(at))
    fake.hang(at, nth)
    process = subprocess.Popen([sys.executable, "-m", "kindasync", *arguments], stderr=subprocess.PIPE)
    try:
        fake.wait_request(at, before + nth)
    finally:
        process.kill()
        process.communicate()
    fake.wait_idle()


@pytest.fixture
def docker_host(fake: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake is the environment's Engine, also that of other processes."""
    monkeypatch.setenv("DOCKER_HOST", fake.url)


MOMENTS = [
    ("ContainerCreate", 1),  # its probe of the file system
    ("ContainerCreate", 2),  # it has a directory, and the network
    ("ContainerStart", 1),
    ("PutContainerArchive", 1),
    ("GetContainerArchive", 2),
]


@pytest.mark.parametrize(("operation", "nth"), MOMENTS)
async def test_a_create_that_was_killed(fake: FakeEngine, home: Path, docker_host: None, operation: str, nth: int) -> None:
    """At any moment: nothing of it is left, on the Engine and on this machine."""
    with nothing_left(fake, home):
        await anyio.to_thread.run_sync(lambda: crash(fake, "create", "cluster", "--name", "demo", at=operation, nth=nth))
        left = look(fake, home)
        would = await gc(dry_run=True)
        assert look(fake, home) == left

        assert await gc() == would != []

    assert await gc() == []


async def test_it_is_told(fake: FakeEngine, docker_host: None) -> None:
    """What was removed and why; and each removal as an event."""
    await anyio.to_thread.run_sync(lambda: crash(fake, "create", "cluster", "--name", "demo", at="PutContainerArchive"))
    seen = Recording()

    node, network, directory = await gc(on_event=seen.keep)

    assert (node.kind, node.name, node.cluster) == ("container", FIRST, "demo")
    assert node.why.startswith("process ")
    assert node.why.endswith(f" on {socket.gethostname()}, which made it, has ended")
    assert (network.kind, network.name) == ("network", "kind")
    assert (directory.kind, Path(directory.name).name) == ("directory", "demo")
    assert seen.names == ["NodeRemoved", "NetworkRemoved"]
    assert seen.only(told.NodeRemoved).cluster == "demo"


async def test_clusters_of_processes_that_have_ended(fake: FakeEngine, home: Path, docker_host: None) -> None:
    """The command ends as soon as its cluster is there, with a node more or less, and stopped: it stays."""

    def run(*arguments: str) -> None:
        subprocess.run([sys.executable, "-m", "kindasync", *arguments], check=True, stderr=subprocess.PIPE)

    def others() -> None:
        run("create", "cluster", "--name", "demo")
        run("add", "node", "--name", "demo")
        run("stop", "--name", "demo")

    await anyio.to_thread.run_sync(others)
    before = look(fake, home)

    assert await gc(older_than_s=0) == []
    assert look(fake, home) == before


async def test_a_name_that_a_killed_run_of_pytest_had(fake: FakeEngine, docker_host: None) -> None:
    """Its lease says that its cluster was to be deleted, not that another one of that name is."""
    with subprocess.Popen(["sleep", "60"]) as child:
        ended = owner(child.pid)
        child.kill()
    lease = _leases.Lease(cluster="demo", engine=fake.url, holder=_leases.Holder(run="r", process=ended), maker=ended, ready=True)
    _leases._write(_leases._path(fake.url, "demo"), lease)
    argv = [sys.executable, "-m", "kindasync", "create", "cluster", "--name", "demo"]
    await anyio.to_thread.run_sync(lambda: subprocess.run(argv, check=True, stderr=subprocess.PIPE))

    assert await gc() == []

    assert [*fake.containers] == [FIRST]


async def test_a_cluster_that_is_being_made(fake: FakeEngine, home: Path, docker_host: None) -> None:
    """Its process lives: at no event of it gc finds anything."""
    found: list[str] = []

    async def look_for(event: told.Event) -> None:
        found.extend(each.kind for each in await gc(dry_run=True, older_than_s=0))

    await Cluster.create("demo", on_event=look_for)

    assert {*found} <= {"directory"}  # for a moment, before the first container: that is a cache, and made again


async def test_nodes_that_were_retained(fake: FakeEngine, home: Path, docker_host: None) -> None:
    """They were kept on purpose, however old they are."""

    def create() -> None:
        fake.fail("ContainerArchiveInfo", status=500)
        subprocess.run(
            [sys.executable, "-m", "kindasync", "create", "cluster", "--name", "demo", "--retain"], check=False, stderr=subprocess.PIPE
        )

    await anyio.to_thread.run_sync(create)

    assert await gc(older_than_s=0) == []
    assert [*fake.containers] == [FIRST]


RUNNING = """
import asyncio
from kindasync import Cluster
async def main():
    async with Cluster.running(name="demo"):
        print("there", flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


async def test_a_cluster_that_runs_for_a_context(fake: FakeEngine, home: Path, docker_host: None) -> None:
    """Nobody will leave the context of a process that was killed; while it lives, so does the cluster."""

    def run() -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "-c", RUNNING], stdout=subprocess.PIPE)
        assert process.stdout
        assert process.stdout.readline() == b"there\n"
        return process

    with nothing_left(fake, home):
        process = await anyio.to_thread.run_sync(run)
        assert await gc() == []
        process.kill()
        process.communicate()

        assert {each.name for each in await gc()} >= {FIRST, "kind"}


async def test_a_node_whose_adding_was_killed(fake: FakeEngine, home: Path, docker_host: None) -> None:
    """It is taken out of its cluster, which goes on, with all that the cluster knows of it."""
    cluster = await Cluster.create("demo", config=shape(1, 1))
    await anyio.to_thread.run_sync(lambda: crash(fake, "add", "node", "--name", "demo", at="PutContainerArchive"))
    assert WORKER2 in fake.containers

    (left,) = await gc()

    assert (left.kind, left.name) == ("node", WORKER2)
    assert [*fake.containers] == [FIRST, WORKER]
    assert f"DELETE /api/v1/nodes/{WORKER2}" in fake.api_requests(FIRST)
    assert cluster.kubeconfig_path.exists()


async def test_what_cannot_be_removed(fake: FakeEngine, docker_host: None) -> None:
    """Is named; the rest is removed, and the same again does what is left."""
    await anyio.to_thread.run_sync(lambda: crash(fake, "create", "cluster", "--name", "demo", at="PutContainerArchive"))
    fake.fail("ContainerDelete", message="device or resource busy")

    with pytest.raises(LeftBehind, match="device or resource busy") as raised:
        await gc()

    assert raised.value.objects == (f"container {FIRST}",)
    assert isinstance(raised.value, KindasyncError)
    assert [each.name for each in await gc() if each.kind != "directory"] == [FIRST, "kind"]
    assert (fake.containers, fake.networks) == ({}, {})


# -- the command


def test_the_command(fake: FakeEngine, docker_host: None, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Says what would be, or was, removed; in JSON for programs; on stderr that there was nothing."""

    def run(*arguments: str) -> tuple[int, str, str]:
        return main(["gc", *arguments]), *capsys.readouterr()

    crash(fake, "create", "cluster", "--name", "demo", at="PutContainerArchive")
    (_, dry, _), (_, document, _), (code, done, _) = run("--dry-run"), run("--dry-run", "-o", "json"), run("--older-than", "24h")
    nothing = run()

    assert dry.splitlines()[0].startswith(f"would remove container {FIRST} of cluster demo: process ")
    assert [(each["kind"], each["cluster"]) for each in json.loads(document)] == [
        (kind, "demo") for kind in ("container", "network", "directory")
    ]
    assert code == 0
    assert done == dry.replace("would remove", "removed")
    assert nothing == (0, "", "nothing was left by crashed runs\n")
