"""The blocking API: the same members, the same results and errors, also where an event loop runs; and Ctrl-C leaves nothing behind."""

from __future__ import annotations

import ast
import inspect
import os
import pickle
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import kindasync
from kindasync import AlreadyExists, ClusterNotFound, ConfigInvalid
from kindasync import events as told
from kindasync.config import ClusterConfig, NodeConfig, Role
from kindasync.docker import Connection
from kindasync.errors import KindasyncError, StepFailed
from kindasync.events import Event
from kindasync.node import PausedNode
from kindasync.sync import Cluster, Node
from kindasync.testing import FakeEngine, ProgramResult
from tests.sync_stub import PATH, WITHOUT, stub
from tests.unit.leftovers import nothing_left
from tests.unit.test_nodes_together import FIRST, WORKER, shape

pytestmark = pytest.mark.usefixtures("heeds_interrupts")
TWO = shape(1, 1)


@pytest.fixture(autouse=True)
def docker_host(fake: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake is the environment's Engine."""
    monkeypatch.setenv("DOCKER_HOST", fake.url)


# -- how it ends

SUSPENDED = """
from kindasync.sync import Cluster

def running():
    with Cluster.running(name="demo") as cluster:
        yield cluster

clusters = running()
cluster = next(clusters)
lines = cluster.nodes[0].logs(follow=True)
next(lines)
"""
LATE = """
from kindasync.sync import Cluster

class Late:
    def __del__(self, get=Cluster.get):
        get("demo")

late = Late()
"""


@pytest.mark.parametrize(
    ("program", "says"), [(SUSPENDED, ""), (LATE, "kindasync.sync cannot be used any more")], ids=["suspended", "late"]
)
def test_what_is_open_when_the_interpreter_ends(fake: FakeEngine, home: Path, program: str, says: str) -> None:
    """Is ended: contexts and generators that nobody has left. What is begun later is an error: nothing hangs."""
    with nothing_left(fake, home):
        ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)

    assert says in ran.stderr
    assert bool(says) is bool(ran.stderr)


# -- what there is


@pytest.mark.parametrize(("blocking", "asynchronous"), [(Cluster, kindasync.Cluster), (Node, kindasync.Node)])
def test_the_members_are_those_of_the_asynchronous_api(blocking: type, asynchronous: type) -> None:
    """With their documentation and parameters; none of them is asynchronous."""
    names = {name for name in dir(asynchronous) if not name.startswith("_")} - WITHOUT

    assert {name for name in dir(blocking) if not name.startswith("_")} == names
    for name in names:
        member, original = getattr(blocking, name), getattr(asynchronous, name)
        if inspect.isroutine(original):
            assert inspect.signature(member) == inspect.signature(original)
            assert member.__doc__ == original.__doc__
        assert not inspect.iscoroutinefunction(member)


def test_a_cluster_is_not_made_by_its_class() -> None:
    """As pytest-kind's is: what to call instead is said."""
    with pytest.raises(TypeError, match=r"Cluster\.create\(\), get\(\) and running\(\)"):
        Cluster("demo")  # type: ignore[call-arg]


def test_type_checkers_know_it() -> None:
    """The stub is what `python -m tests.sync_stub` makes of the asynchronous API: run that where this fails."""

    def parts(text: str) -> tuple[set[tuple[str | None, str]], list[str]]:
        body = ast.parse(text).body
        imports = {(node.module, alias.name) for node in body if isinstance(node, ast.ImportFrom) for alias in node.names}
        return imports, [ast.unparse(node) for node in body if not isinstance(node, ast.ImportFrom)]

    assert parts(PATH.read_text()) == parts(stub())


# -- what it does


def test_a_cluster_from_its_beginning_to_its_end(fake: FakeEngine, home: Path) -> None:
    """Handles are values: equal to those found again, and they can be pickled."""
    with nothing_left(fake, home):
        cluster = Cluster.create("demo", config=TWO)
        assert Cluster.list() == ["demo"]
        assert Cluster.get("demo") == cluster == pickle.loads(pickle.dumps(cluster))
        assert {cluster} == {Cluster.get("demo")}
        assert [(node.name, type(node)) for node in cluster.nodes] == [(FIRST, Node), (WORKER, Node)]
        assert cluster.kubeconfig["current-context"] == "kind-demo"
        added = cluster.add_node(config={"role": "worker"})
        assert (type(added), added.name, added.asynchronous.role) == (Node, "demo-worker2", Role.WORKER)
        cluster.stop()
        cluster.start()
        cluster.delete()

    assert repr(cluster).startswith("sync.Cluster(name='demo'")


def test_errors_are_the_same() -> None:
    """By class and content."""
    Cluster.create("demo")

    with pytest.raises(AlreadyExists, match='cluster "demo" exists already'):
        Cluster.create("demo")
    with pytest.raises(ClusterNotFound):
        Cluster.get("other")
    with pytest.raises(ConfigInvalid):
        Cluster.create(config={"kind": "Cluster"})


def test_results_in_lists(fake: FakeEngine) -> None:
    """Are blocking ones, too."""
    bad = ClusterConfig(name="b", nodes=(NodeConfig(role=Role.WORKER),))

    first, second = Cluster.create_many([ClusterConfig(name="a"), bad])

    assert isinstance(first, Cluster)
    assert isinstance(second, KindasyncError)


def test_nodes(fake: FakeEngine) -> None:
    """Programs run in them, and their results are values."""
    fake.node.programs["uname"] = lambda *_: ProgramResult(stdout=b"6.1.0\n")
    (node,) = Cluster.create("demo").nodes

    assert node.exec(["uname", "-r"]).text == "6.1.0\n"
    assert "kindasync: runtime ready" in node.logs()


def test_what_comes_piece_by_piece(fake: FakeEngine) -> None:
    """Can be iterated over, to its end or not."""
    (node,) = Cluster.create("demo").nodes

    first = next(iter(node.logs(follow=True)))
    fake.die(FIRST)

    assert first == "kindasync: paused"
    assert [*node.logs(follow=True)] == ["kindasync: paused", "kindasync: booting", "kindasync: runtime ready"]


def test_listeners_and_hooks(fake: FakeEngine) -> None:
    """As in the asynchronous API: a plain listener may use the blocking one."""
    seen: list[str] = []
    listed: list[list[str]] = []

    def listen(event: Event) -> None:
        seen.append(type(event).__name__)
        if isinstance(event, told.NodePaused):
            listed.append(Cluster.list())

    async def hook(node: PausedNode) -> None:
        await node.put({"/etc/motd": "hello"})

    Cluster.create("demo", on_event=listen, before_boot=[hook])

    assert seen[-1] == "ClusterReady"
    assert listed == [["demo"]]
    assert fake.containers[FIRST].files["/etc/motd"] == b"hello"


def test_a_listener_in_its_own_loop(fake: FakeEngine, home: Path) -> None:
    """Would wait for itself: it is told what to do."""

    async def listen(event: Event) -> None:
        Cluster.list()

    with nothing_left(fake, home), pytest.raises(KindasyncError, match="cannot be used by what runs in its own event loop"):
        Cluster.create("demo", on_event=listen)


# -- contexts


def test_a_cluster_for_a_block(fake: FakeEngine, home: Path) -> None:
    """Deleted at its end, also if the body fails; contexts may be inside each other."""
    with nothing_left(fake, home):
        with Cluster.running(name="demo") as cluster, Cluster.running(name="other"):
            assert cluster.nodes[0].name == FIRST
            assert Cluster.list() == ["demo", "other"]
            with cluster.nodes[0].paused():
                assert fake.containers[FIRST].paused
            assert not fake.containers[FIRST].paused
        with pytest.raises(ZeroDivisionError), Cluster.running(name="demo"):
            raise ZeroDivisionError


def test_a_block_that_is_not_entered(fake: FakeEngine, home: Path) -> None:
    """Its error is that of the create."""
    fake.fail("ContainerStart", message="OCI runtime create failed")

    with nothing_left(fake, home), pytest.raises(StepFailed, match="OCI runtime"), Cluster.running(name="demo"):
        pytest.fail("it was not to begin")


def test_a_body_that_fails_and_a_delete_that_does(fake: FakeEngine) -> None:
    """The first error is what is raised; what was left is a note of it."""

    def block() -> None:
        with Cluster.running(name="demo"):
            fake.fail("ContainerDelete", message="device or resource busy")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as raised:
        block()

    assert "left behind" in raised.value.__notes__[0]


def test_no_thread_is_left() -> None:
    """The loop's is there while something runs in it."""
    with Cluster.running(name="demo"):
        pass

    assert [thread.name for thread in threading.enumerate() if "Portal" in thread.name or "asyncio" in thread.name] == []


# -- where a loop runs


@pytest.mark.anyio
async def test_inside_a_running_loop(fake: FakeEngine, home: Path) -> None:
    """As in a notebook's cell: it blocks that loop."""
    with nothing_left(fake, home):
        cluster = Cluster.create("demo")
        assert Cluster.list() == ["demo"]
        cluster.delete()
        with Cluster.running(name="demo") as other:
            assert other.nodes


# -- Ctrl-C


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("operation", ["NetworkCreate", "ContainerStart", "ContainerKill", "ExecStart"])
def test_ctrl_c_during_a_create(fake: FakeEngine, home: Path, operation: str) -> None:
    """Is raised when nothing is left."""
    fake.on(operation, interrupt)

    with nothing_left(fake, home), pytest.raises(KeyboardInterrupt):
        Cluster.create("demo")


@pytest.mark.parametrize("operation", ["ContainerList", "ContainerDelete", "NetworkDelete"])
def test_a_second_one_during_the_clean_up(fake: FakeEngine, home: Path, operation: str) -> None:
    """Changes nothing about it."""

    def listen(event: Event) -> None:
        if isinstance(event, told.NodePaused):
            fake.on(operation, interrupt)
            interrupt()

    with nothing_left(fake, home), pytest.raises(KeyboardInterrupt):
        Cluster.create("demo", on_event=listen)


def test_what_it_leaves_behind_is_told(fake: FakeEngine) -> None:
    """As a note of the interrupt."""
    fake.fail("ContainerDelete", message="device or resource busy")
    fake.on("ContainerKill", interrupt)

    with pytest.raises(KeyboardInterrupt) as raised:
        Cluster.create("demo")

    assert "device or resource busy" in "\n".join(raised.value.__notes__)


@pytest.mark.parametrize("moment", ["entering", "body", "leaving"])
def test_ctrl_c_around_a_block(fake: FakeEngine, home: Path, moment: str) -> None:
    """At whatever moment, the cluster is gone."""
    if moment == "entering":
        fake.on("ContainerKill", interrupt)

    def block() -> Any:
        with Cluster.running(name="demo"):
            if moment == "body":
                interrupt()
            fake.on("ContainerDelete", interrupt)

    with nothing_left(fake, home), pytest.raises(KeyboardInterrupt):
        block()


def test_a_handle_holds_no_connection() -> None:
    """It can be used from any thread."""
    cluster = Cluster.create("demo")
    results: list[Cluster] = []

    thread = threading.Thread(target=lambda: results.append(Cluster.get("demo")))
    thread.start()
    thread.join()

    assert results == [cluster]
    assert not any(isinstance(value, Connection) for value in vars(cluster).values())
