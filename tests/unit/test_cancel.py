"""Cancelling: a create that is cancelled, at whatever moment and in whichever way, leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from kindasync import Cluster
from kindasync import events as told
from kindasync.events import Event
from kindasync.node import PausedNode
from kindasync.testing import FakeEngine
from tests.unit.leftovers import nothing_left
from tests.unit.recording import Recording

pytestmark = pytest.mark.anyio

NODE = "demo-control-plane"
EVENTS = [
    "NetworkCreated",
    "ContainerCreated",
    "NodeStarted",
    "NodePaused",
    "HookEnded",
    "FilesPut",
    "BootSignalled",
    "NodeBooted",
    "RuntimeReady",
    "ApiServerUp",
    "ControlPlaneUp",
    "ManifestApplied",
    "NetworkPolicyNotEnforced",
    "ReadinessObserved",
    "NodeRegistered",
    "NodeReady",
    "ClusterReady",
]
REQUESTS = [
    ("SystemPing", 1),
    ("ContainerList", 1),
    ("SystemInfo", 1),
    ("ImageList", 1),
    ("ImageInspect", 1),
    ("ImageInspect", 2),
    ("NetworkList", 1),
    ("NetworkList", 2),
    ("NetworkCreate", 1),
    ("NetworkList", 3),
    ("ContainerList", 2),
    ("ContainerCreate", 1),
    ("ContainerCreate", 2),
    ("ContainerList", 3),
    ("ContainerArchiveInfo", 1),
    ("ContainerStart", 1),
    ("ContainerInspect", 1),
    ("ContainerLogs", 1),
    ("GetContainerArchive", 1),
    ("PutContainerArchive", 1),
    *(
        (operation, nth) for nth in (1, 2, 3, 4) for operation in ("ContainerExec", "ExecStart", "ExecInspect")
    ),  # of the disk, and kubeadm's
    ("GetContainerArchive", 2),
    ("PutContainerArchive", 2),  # of the kubelet's certificate
    ("GetContainerArchive", 3),
    ("ContainerKill", 1),
    ("ContainerExec", 5),  # of the API server's roles
    ("ExecStart", 5),
    *((operation, nth) for nth in (6, 7, 8) for operation in ("ContainerExec", "ExecStart")),  # kubeadm's, when the API server answers
    *(("ExecInspect", nth) for nth in (5, 6, 7)),
    ("GetContainerArchive", 4),
    ("ContainerExec", 9),  # the snapshot
    ("ExecStart", 9),
    ("ContainerList", 4),
    ("PutContainerArchive", 3),  # the mark of what is finished
]
MAKES = [("NetworkCreate", 1), ("ContainerCreate", 2), ("ContainerStart", 1)]
WAYS = ["scope", "task"]


class Creation:
    """A create that can be cancelled: by anyio's scope, or as a task, as `asyncio.timeout` and Ctrl-C in `asyncio.run` do."""

    def __init__(self, fake: FakeEngine, way: str) -> None:
        self._fake = fake
        self._loop = asyncio.get_running_loop()
        self._scope = anyio.CancelScope()
        self._task: asyncio.Task[Cluster] | None = None
        self._way = way
        self._cancelled_at: datetime | None = None
        self.seen = Recording()
        self.cluster: Cluster | None = None

    async def run(self, *, on_event: Callable[[Event], Any] | None = None, **options: Any) -> None:
        """Create, until the end or until cancelled. `cluster` is there if it was not in vain."""

        async def listen(event: Event) -> None:
            await self.seen.keep(event)
            if on_event:
                await on_event(event)

        def create() -> Coroutine[Any, Any, Cluster]:
            return Cluster.create("demo", engine=self._fake.url, on_event=listen, **options)

        with self._scope, anyio.fail_after(15):
            self._task = asyncio.ensure_future(create()) if self._way == "task" else None
            try:
                self.cluster = await (self._task or create())
            except asyncio.CancelledError:
                if not self._task:
                    raise

    def cancel(self) -> None:
        self._cancelled_at = self._cancelled_at or datetime.now(UTC)
        (self._task or self._scope).cancel()

    def was_told_at_once(self) -> bool:
        """Once, within 2 s, and before anything was taken back."""
        assert self._cancelled_at
        since = (self.seen.only(told.Interrupted).time - self._cancelled_at).total_seconds()
        return 0 <= since < 2 and "NodeRemoved" not in self.seen.names[: self.seen.names.index("Interrupted")]

    def cancel_from_thread(self) -> None:
        """As `cancel`, from the fake's thread."""
        self._loop.call_soon_threadsafe(self.cancel)


async def nothing(node: PausedNode) -> None:
    """A hook."""


def at(name: str, action: Callable[[], object]) -> Callable[[Event], Any]:
    """A listener that does something at the first event of a class."""
    seen: set[str] = set()

    async def listen(event: Event) -> None:
        if type(event).__name__ == name and name not in seen:
            seen.add(name)
            action()

    return listen


async def test_the_lists_here_are_those_of_a_create(fake: FakeEngine) -> None:
    """All events, and all requests, of one that succeeds."""
    seen = Recording()

    await Cluster.create("demo", engine=fake.url, before_boot=[nothing], on_event=seen.keep)

    numbers: dict[str, int] = {}
    for request in fake.requests:
        numbers[request.operation] = numbers.get(request.operation, 0) + 1
    assert set(seen.names) == set(EVENTS)
    assert numbers == {operation: max(nth for each, nth in REQUESTS if each == operation) for operation, _ in REQUESTS}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("event", EVENTS)
async def test_cancelled_at_an_event(fake: FakeEngine, home: Path, event: str, way: str) -> None:
    """Nothing is left, and it is told at once; the last event comes when there is a cluster, which is deleted."""
    with nothing_left(fake, home):
        creation = Creation(fake, way)
        await creation.run(on_event=at(event, creation.cancel), before_boot=[nothing])

    assert creation.cluster is None
    assert creation.seen.names[-1] == "ClusterDeleted" if event == "ClusterReady" else creation.was_told_at_once()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("operation", "nth"), REQUESTS)
async def test_cancelled_at_a_request(fake: FakeEngine, home: Path, operation: str, nth: int, way: str) -> None:
    """Nothing is left, whether it was done or not."""
    with nothing_left(fake, home):
        creation = Creation(fake, way)
        fake.on(operation, creation.cancel_from_thread, nth)
        await creation.run()
        if creation.cluster:  # the last ones come when everything else is there
            await creation.cluster.delete()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("operation", "nth"), [each for each in REQUESTS if each not in [*MAKES, ("ContainerCreate", 1)]])
async def test_cancelled_while_the_engine_is_silent(fake: FakeEngine, home: Path, operation: str, nth: int, way: str) -> None:
    """What only asks is given up at once, and that is told, once there is an Engine."""
    with nothing_left(fake, home):
        creation = Creation(fake, way)
        fake.on(operation, creation.cancel_from_thread, nth)
        fake.hang(operation, nth)
        await creation.run()

    assert creation.cluster is None
    assert operation == "SystemPing" or creation.was_told_at_once()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("operation", "nth"), MAKES)
async def test_what_makes_something_is_never_abandoned(fake: FakeEngine, home: Path, operation: str, nth: int, way: str) -> None:
    """Its answer is awaited: else it could come to be after everything was removed."""
    with nothing_left(fake, home):
        creation = Creation(fake, way)
        answer = fake.hold(operation, nth)
        ended = anyio.Event()

        async def run() -> None:
            await creation.run()
            ended.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await anyio.to_thread.run_sync(fake.wait_request, operation, nth)
            creation.cancel()
            for _ in range(20):
                await checkpoint()
            assert not ended.is_set()
            assert fake.requests_of("ContainerDelete") == []
            answer()

    assert creation.cluster is None


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("operation", ["ContainerList", "ContainerDelete", "NetworkList", "NetworkDelete"])
async def test_cancelled_again_during_the_clean_up(fake: FakeEngine, home: Path, operation: str, way: str) -> None:
    """It changes nothing: what has begun goes on to its end."""
    seen = Recording()

    with nothing_left(fake, home):
        creation = Creation(fake, way)

        async def listen(event: Event) -> None:
            await seen.keep(event)
            if isinstance(event, told.NodePaused):
                fake.on(operation, creation.cancel_from_thread)
                creation.cancel()

        await creation.run(on_event=listen)

    assert creation.cluster is None
    assert seen.names[-1] == "RolledBack"


@pytest.mark.parametrize("way", WAYS)
async def test_cancelled_again_while_the_clean_up_is_held_up(fake: FakeEngine, home: Path, way: str) -> None:
    """However often."""
    with nothing_left(fake, home):
        creation = Creation(fake, way)
        answer = fake.hold("ContainerDelete")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: creation.run(on_event=at("NodePaused", creation.cancel)))
            await anyio.to_thread.run_sync(fake.wait_request, "ContainerDelete")
            for _ in range(5):
                creation.cancel()
                await checkpoint()
            answer()

    assert creation.cluster is None


@pytest.mark.parametrize("way", WAYS)
async def test_cancelled_during_a_hook(fake: FakeEngine, home: Path, way: str) -> None:
    """The hook ends first, then its node goes."""
    order: list[str] = []

    with nothing_left(fake, home):
        creation = Creation(fake, way)

        async def hook(node: PausedNode) -> None:
            try:
                creation.cancel()
                await anyio.sleep_forever()
            finally:
                order.append("hook ended")

        fake.on("ContainerDelete", lambda: order.append("node removed"))
        await creation.run(before_boot=[hook])

    assert order == ["hook ended", "node removed"]


async def test_cancelled_with_retain(fake: FakeEngine) -> None:
    """Everything is kept, and that is told, as there is no error to say it."""
    seen = Recording()
    creation = Creation(fake, "scope")

    async def listen(event: Event) -> None:
        await seen.keep(event)
        if isinstance(event, told.NodePaused):
            creation.cancel()

    await creation.run(retain=True, on_event=listen)

    assert list(fake.containers) == [NODE]
    assert "docker exec" in seen.only(told.Warned).message


async def test_a_timeout_of_asyncio_cancels_as_well(fake: FakeEngine, home: Path) -> None:
    """`asyncio.timeout` around it, as suites that know no anyio have it."""
    fake.node.becomes_ready = False
    timeout = asyncio.timeout(None)
    expire = at("ManifestApplied", lambda: timeout.reschedule(asyncio.get_running_loop().time()))

    with nothing_left(fake, home), pytest.raises(TimeoutError):
        async with timeout:
            await Cluster.create("demo", engine=fake.url, on_event=expire)


@pytest.mark.parametrize("way", WAYS)
async def test_the_end_of_running_is_not_cancelled(fake: FakeEngine, home: Path, way: str) -> None:
    """A body that is cancelled still has its cluster deleted."""
    with nothing_left(fake, home):
        scope = anyio.CancelScope()
        loop = asyncio.get_running_loop()

        async def body() -> None:
            async with Cluster.running(name="demo", engine=fake.url):
                fake.on("ContainerDelete", lambda: loop.call_soon_threadsafe(cancel))
                cancel()
                await anyio.sleep_forever()

        task = asyncio.ensure_future(body()) if way == "task" else None

        def cancel() -> None:
            (task or scope).cancel()

        with scope:
            await asyncio.wait([task]) if task else await body()


async def test_a_delete_that_is_cancelled_can_be_repeated(fake: FakeEngine, home: Path) -> None:
    """What is left of the cluster is found by its name again."""
    with nothing_left(fake, home):
        cluster = await Cluster.create("demo", engine=fake.url)
        loop = asyncio.get_running_loop()
        with anyio.CancelScope() as scope:
            fake.on("ContainerDelete", lambda: loop.call_soon_threadsafe(scope.cancel))
            await cluster.delete()
        await cluster.delete()
