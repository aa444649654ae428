"""Many clusters in one call: each with its own outcome, or all of them gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from kindasync import Cluster, ConfigInvalid
from kindasync import events as told
from kindasync.cluster._requests import requests_of
from kindasync.cluster._shares import share_argv
from kindasync.config import ClusterConfig, NodeConfig, Role
from kindasync.errors import AlreadyExists, BootFailed, ClusterError, EngineMissing, KindasyncError, StepFailed
from kindasync.events import Event
from kindasync.node import PausedNode
from kindasync.testing import FakeContainer, FakeEngine, ProgramResult
from tests.unit.leftovers import nothing_left
from tests.unit.recording import Recording

pytestmark = pytest.mark.anyio

NAMES = [f"many-{number}" for number in range(6)]
BAD = ClusterConfig(name="many-2", nodes=(NodeConfig(role=Role.WORKER),))


def configs(names: Sequence[str] = NAMES) -> list[ClusterConfig]:
    return [ClusterConfig(name=name) for name in names]


def at(event: type[Event], node: str, act: Callable[[], Any]) -> Callable[[Event], Any]:
    """A listener that does something at one node's event."""

    async def listen(seen: Event) -> None:
        if isinstance(seen, event) and seen.node == node:
            act()

    return listen


# -- what is asked for


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([None, None], ["", ""]),
        (configs(["a", "b"]), ["", ""]),
        (configs(["a", "b", "a"]), ["", "", 'name: "a" is that of configuration 0, too']),
        ([BAD, None], ["nodes: at least one must have role control-plane", ""]),
        (
            [ClusterConfig(name="many-2"), BAD],
            ["", 'nodes: at least one must have role control-plane\nname: "many-2" is that of configuration 0, too'],
        ),
        (["kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnode: []", None], ["node: ", ""]),
        ([Path("/nowhere/kind.yaml")], ["it cannot be read: "]),
    ],
)
def test_problems(given: list[Any], expected: list[str]) -> None:
    """All of each configuration, with it; of several that have one name the first has it."""
    why = ["" if not isinstance(each, ConfigInvalid) else each.why for each in requests_of(given)]

    assert [text[: len(wanted)] for text, wanted in zip(why, expected, strict=True)] == expected
    assert [bool(text) for text in why] == [bool(wanted) for wanted in expected]


# -- what comes of it


async def test_each_has_its_own_outcome(fake: FakeEngine, home: Path) -> None:
    """Six, of which one cannot be, and a node of one is killed midway: four are there, and nothing of the two."""
    given = configs()
    given[2] = BAD
    killed = "many-4-control-plane"

    results = await Cluster.create_many(given, limit=6, on_event=at(told.NodePaused, killed, lambda: fake.die(killed)), engine=fake.url)

    errors = {index: each for index, each in enumerate(results) if isinstance(each, KindasyncError)}
    assert {index: type(each) for index, each in errors.items()} == {2: ConfigInvalid, 4: StepFailed}
    assert any(isinstance(each, BootFailed) for each in getattr(errors[4], "failures", ()))
    there = [name for name in NAMES if name not in ("many-2", "many-4")]
    assert [each.name for each in results if isinstance(each, Cluster)] == there
    assert await Cluster.list(engine=fake.url) == there
    assert sorted(path.name for path in (home / ".local/state/kindasync").glob("*/*")) == there
    for name in there:
        assert await Cluster.get(name, engine=fake.url) in results


async def test_a_name_that_is_taken(fake: FakeEngine) -> None:
    """Is the failure of the one that wants it."""
    await Cluster.create("many-1", engine=fake.url)

    first, second = await Cluster.create_many(configs(NAMES[:2]), engine=fake.url)

    assert isinstance(first, Cluster)
    assert isinstance(second, AlreadyExists)


@pytest.mark.parametrize(("limit", "expected"), [(None, 8), (1, 1), (2, 2)])
async def test_not_all_at_once(fake: FakeEngine, limit: int | None, expected: int) -> None:
    """As many as the limit says, or twice as many as the Engine's host has processors (4)."""
    paused: set[str] = set()
    most: list[int] = []
    enough = anyio.Event()

    async def wait(node: PausedNode) -> None:
        paused.add(node.cluster)
        most.append(len(paused))
        if len(paused) == expected:
            enough.set()
        await enough.wait()
        paused.discard(node.cluster)

    with anyio.fail_after(30):
        await Cluster.create_many(configs([f"many-{number}" for number in range(9)]), limit=limit, before_boot=[wait], engine=fake.url)

    assert max(most) == expected


async def test_events_are_those_of_each(fake: FakeEngine) -> None:
    """In order for each cluster, with times since its own beginning."""
    seen = Recording()

    await Cluster.create_many(configs(NAMES[:2]), limit=1, on_event=seen.keep, engine=fake.url)

    for name in NAMES[:2]:
        own = [event for event in seen if event.cluster == name]
        ready = own[-1]
        assert isinstance(ready, told.ClusterReady)
        assert ready.duration_s == pytest.approx(ready.monotonic_s, abs=0.01)


@pytest.mark.parametrize("way", ["scope", "task"])
async def test_cancelling_removes_all(fake: FakeEngine, home: Path, way: str) -> None:
    """Those that are finished, those that are being made, and those that had not begun."""
    second = anyio.Event()

    with nothing_left(fake, home):
        creating = Cluster.create_many(
            configs(), limit=2, on_event=at(told.NodePaused, "many-3-control-plane", second.set), engine=fake.url
        )
        if way == "task":
            task = asyncio.ensure_future(creating)
            await second.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lambda: creating)
                await second.wait()
                tasks.cancel_scope.cancel()


async def test_a_hook_with_a_bug(fake: FakeEngine, home: Path) -> None:
    """Is seen: the call ends with what it raised, and nothing is left."""

    async def hook(node: PausedNode) -> None:
        if node.cluster == "many-3":
            raise ZeroDivisionError

    with nothing_left(fake, home), pytest.raises(ZeroDivisionError):
        await Cluster.create_many(configs(), limit=2, before_boot=[hook], engine=fake.url)


async def test_what_cannot_be_removed_is_named(fake: FakeEngine) -> None:
    """In a note of what ended the call."""

    async def hook(node: PausedNode) -> None:
        if node.cluster == "many-1":
            fake.fail("ContainerDelete", 2, message="device or resource busy")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as raised:
        await Cluster.create_many(configs(NAMES[:2]), limit=1, before_boot=[hook], engine=fake.url)

    assert "container many-0-control-plane" in "\n".join(raised.value.__notes__)


async def test_none(fake: FakeEngine) -> None:
    """Of nothing come no clusters."""
    assert await Cluster.create_many([], engine=fake.url) == []


async def test_bad_calls(fake: FakeEngine, tmp_path: Path) -> None:
    """Are errors of the call, not of each cluster."""
    with pytest.raises(ClusterError, match="cannot create 0 clusters at the same time"):
        await Cluster.create_many(configs(), limit=0, engine=fake.url)
    with pytest.raises(EngineMissing):
        await Cluster.create_many(configs(), engine=f"unix://{tmp_path}/nowhere.sock")


# -- shares of the processors


@pytest.mark.parametrize(
    ("cgroup_version", "few", "value", "path"),
    [
        (1, True, "64", "/sys/fs/cgroup/cpu/cpu.shares"),
        (1, False, "1024", "/sys/fs/cgroup/cpu/cpu.shares"),
        (2, True, "6", "/sys/fs/cgroup/cpu.weight"),
        (2, False, "100", "/sys/fs/cgroup/cpu.weight"),
    ],
)
def test_what_says_how_much_a_node_gets(cgroup_version: int, few: bool, value: str, path: str) -> None:
    """The kernel's own words; usual is what any container has."""
    assert share_argv(cgroup_version, few=few)[-2:] == [value, path]


class Shares:
    """What nodes of a fake were given, in order: node and value."""

    def __init__(self, fake: FakeEngine) -> None:
        self.given: list[tuple[str, str]] = []
        fake.node.programs["sh"] = self._sh

    def _sh(self, container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ProgramResult:
        if argv[-1].startswith("/sys/fs/cgroup/"):
            self.given.append((container.name, argv[-2]))
        return ProgramResult()


async def test_those_that_are_ready_give_way_until_the_last_is(fake: FakeEngine) -> None:
    """Then all are as any other."""
    shares = Shares(fake)

    await Cluster.create_many(configs(NAMES[:3]), limit=1, engine=fake.url)

    nodes = [f"{name}-control-plane" for name in NAMES[:2]]
    (few, usual) = (share_argv(2, few=few)[-2] for few in (True, False))
    assert shares.given[:2] == [(node, few) for node in nodes]
    assert sorted(shares.given[2:]) == [(node, usual) for node in nodes]


async def test_those_that_are_kept_when_the_call_is_cancelled_do_not_give_way_for_ever(fake: FakeEngine) -> None:
    """However it ends."""
    shares = Shares(fake)

    with anyio.CancelScope() as scope:
        listen = at(told.NodePaused, "many-1-control-plane", scope.cancel)
        await Cluster.create_many(configs(NAMES[:2]), limit=1, retain=True, on_event=listen, engine=fake.url)

    assert [node for node, _ in shares.given] == ["many-0-control-plane"] * 2
    assert len({value for _, value in shares.given}) == 2


async def test_a_node_that_cannot_be_told_is_left_as_it_is(fake: FakeEngine) -> None:
    """It has no such program."""
    results = await Cluster.create_many(configs(NAMES[:2]), limit=1, engine=fake.url)

    assert all(isinstance(each, Cluster) for each in results)
