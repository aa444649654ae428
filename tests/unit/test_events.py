"""Events: what they look like as JSON, and how the bus carries them to listeners."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import anyio
import anyio.to_thread
import pytest
import structlog.testing

from kindasync import events
from kindasync._delivering import delivering
from kindasync.errors import one_error
from kindasync.events import (
    BootSignalled,
    BuildStepEnded,
    Bus,
    ClusterReady,
    Event,
    ImagePullProgress,
    Interrupted,
    NodeBooted,
    NodeRemoved,
    PreloadProgress,
    Progress,
    RolledBack,
    StepFailed,
    Timed,
    Warned,
    structlog_listener,
)

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 1, 2, 3, 4, 5, 678912, tzinfo=UTC)


def ticking() -> Callable[[], float]:
    """A clock that is a second further each time it is read."""
    seconds: Iterator[int] = iter(range(1000))
    return lambda: 100.0 + next(seconds)


def bus() -> Bus:
    return Bus(clock=ticking(), now=lambda: NOW)


def booted(node: str) -> NodeBooted:
    return NodeBooted(cluster="demo", node=node, duration_s=1.0)


def preloaded(current: int, *, node: str = "n", subject: str = "app.tar") -> PreloadProgress:
    return PreloadProgress(cluster="demo", node=node, subject=subject, current=current, total=100)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (
            booted("demo-worker"),
            (
                '{"event": "NodeBooted", "cluster": "demo", "node": "demo-worker", "stage": "boot", "time": "2026-01-02T03:04:05.678Z", '
                '"monotonic_s": 1.0, "duration_s": 1.0}'
            ),
        ),
        (
            preloaded(5),
            (
                '{"event": "PreloadProgress", "cluster": "demo", "node": "n", "stage": "preload", "time": "2026-01-02T03:04:05.678Z", '
                '"monotonic_s": 1.0, "subject": "app.tar", "current": 5, "total": 100, "unit": "bytes"}'
            ),
        ),
        (
            ImagePullProgress(current=0),
            (
                '{"event": "ImagePullProgress", "cluster": "", "node": "", "stage": "image", "time": "2026-01-02T03:04:05.678Z", '
                '"monotonic_s": 1.0, "current": 0, "unit": "bytes"}'
            ),  # no total, no subject
        ),
        (
            ClusterReady(cluster="demo", duration_s=12.34567),
            (
                '{"event": "ClusterReady", "cluster": "demo", "node": "", "stage": "readiness", "time": "2026-01-02T03:04:05.678Z", '
                '"monotonic_s": 1.0, "duration_s": 12.346}'
            ),
        ),
        (
            BuildStepEnded(step="fetch", duration_s=0.0),
            (
                '{"event": "BuildStepEnded", "cluster": "", "node": "", "stage": "build", "time": "2026-01-02T03:04:05.678Z", '
                '"monotonic_s": 1.0, "duration_s": 0.0, "step": "fetch", "cached": false}'
            ),
        ),
    ],
)
async def test_an_event_as_json(event: Event, expected: str) -> None:
    """Common fields first, always; then those of the class that have a value; seconds to the millisecond."""
    assert json.dumps((await emitted(event)).to_json()) == expected


async def emitted(event: Event) -> Event:
    channel = bus()
    stream = aiter(channel)
    channel.emit(event)
    return await anext(stream)


def test_times_are_utc() -> None:
    """RFC 3339, whatever zone the clock has."""
    tokyo = NOW.astimezone(timezone(timedelta(hours=9)))

    assert Event(time=tokyo).to_json()["time"] == "2026-01-02T03:04:05.678Z"


FACTS = [
    each for each in vars(events).values() if isinstance(each, type) and issubclass(each, Event) and each not in (Event, Timed, Progress)
]


@pytest.mark.parametrize("kind", FACTS)
def test_every_event_says_its_stage(kind: type[Event]) -> None:
    """Events are grouped by it; it is part of the public API, as is the name of the class. None hides a field that all have."""
    assert kind.stage
    assert kind.__doc__
    assert "event" not in kind.__dataclass_fields__


SURFACE = """
ApiServerUp (control plane): duration_s, server
BalancerReloaded (control plane): duration_s, control_planes
BootSignalled (boot): attempt
BuildOutput (build): subject, current, total, unit, line
BuildStepEnded (build): duration_s, step, cached
BuildStepStarted (build): step
ClusterClaimed (pool): duration_s, pool
ClusterDeleted (delete): duration_s, existed
ClusterParked (pool): duration_s, pool
ClusterReady (readiness): duration_s
ClusterRestored (snapshot): duration_s, snapshot
ClusterStopped (stop): duration_s
ContainerCreated (container): duration_s, image, address
ControlPlaneUp (control plane): duration_s
EtcdMemberRemoved (control plane): duration_s
FilesPut (files): duration_s
HookEnded (hooks): duration_s, hook
ImagePullProgress (image): subject, current, total, unit
ImagePulled (image): duration_s, image
Interrupted (failure):
KubeadmPhase (kubeadm): duration_s, phase
LoadProgress (load): subject, current, total, unit
LogsExported (logs): duration_s
ManifestApplied (addons): duration_s, manifest
NetworkCreated (network): duration_s, network, subnets
NetworkPolicyNotEnforced (network): message
NetworkRemoved (network): network
NodeBooted (boot): duration_s
NodeCordoned (drain):
NodeDrained (drain): duration_s
NodeJoined (join): duration_s
NodeLoaded (load): duration_s, images, skipped
NodePaused (paused): duration_s
NodeReady (readiness): duration_s
NodeRegistered (readiness): duration_s
NodeRemoved (delete): duration_s
NodeStarted (container): duration_s
NodeStopped (stop): duration_s
PodEvicted (drain): pod
PreloadProgress (preload): subject, current, total, unit
ReadinessObserved (readiness): subject, state
RegistryStarted (registry): duration_s, host, mirrors
RolledBack (failure): duration_s, left_behind
RuntimeReady (runtime): duration_s
StepFailed (failure): step, error
Warned (warning): message
"""


def test_names_and_fields_are_what_users_rely_on() -> None:
    """They are part of the public API: one may be added, none changed or removed. Each class with its stage, and its fields beside the common ones."""
    common = Event.__dataclass_fields__
    lines = [
        f"{kind.__name__} ({kind.stage}): {', '.join(name for name in kind.__dataclass_fields__ if name not in common)}" for kind in FACTS
    ]

    assert sorted(line.rstrip() for line in lines) == SURFACE.strip().splitlines()


async def test_events_come_in_order_and_stamped() -> None:
    """With the time, and the seconds since the operation began, by the clock given."""
    received: list[Event] = []

    async def listen(event: Event) -> None:
        received.append(event)

    async with delivering(bus(), listen) as channel:
        for node in ("a", "b", "c"):
            channel.emit(booted(node))

    assert [(event.node, event.time, event.monotonic_s) for event in received] == [("a", NOW, 1.0), ("b", NOW, 2.0), ("c", NOW, 3.0)]


async def test_every_listener_gets_every_event() -> None:
    """A coroutine function, a plain one in a worker thread, one that returns something to await, and another bus."""
    received: dict[str, list[str]] = {"coroutine": [], "plain": [], "awaited": [], "relayed": []}
    threads: list[int] = []
    outer = bus()
    stream = aiter(outer)

    async def coroutine(event: Event) -> None:
        received["coroutine"].append(event.node)

    def plain(event: Event) -> None:
        received["plain"].append(event.node)
        threads.append(threading.get_ident())

    class Awaited:
        async def __call__(self, event: Event) -> None:
            received["awaited"].append(event.node)

    async with delivering(bus(), coroutine, plain, Awaited(), outer, None) as channel:
        channel.emit(booted("a"))
        channel.emit(booted("b"))
    outer.close()
    received["relayed"] += [event.node async for event in stream]

    assert received == {listener: ["a", "b"] for listener in received}
    assert threading.get_ident() not in threads


async def test_a_relayed_event_keeps_its_stamp() -> None:
    """The bus that it came to first says when it happened."""
    outer = Bus(clock=lambda: 0.0, now=lambda: NOW + timedelta(days=1))
    stream = aiter(outer)

    async with delivering(bus(), outer) as inner:
        inner.emit(booted("a"))
    event = await anext(stream)

    assert (event.time, event.monotonic_s) == (NOW, 1.0)


async def test_iterating_from_now_on_until_the_end() -> None:
    """Events before the iteration are not seen; those that were emitted before the bus was closed are."""
    channel = bus()
    channel.emit(booted("before"))
    stream = aiter(channel)
    channel.emit(booted("a"))
    channel.emit(booted("b"))
    channel.close()

    assert [event.node async for event in stream] == ["a", "b"]
    assert [event.node async for event in channel] == []


async def test_iterating_waits_for_the_next_event() -> None:
    """It is told; nothing polls."""
    channel = bus()
    received: list[str] = []

    async def iterate() -> None:
        received.extend([event.node async for event in channel])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(iterate)
        for node in ("a", "b"):
            await anyio.wait_all_tasks_blocked()
            channel.emit(booted(node))
        await anyio.wait_all_tasks_blocked()
        assert received == []  # the list is complete only at the end
        channel.close()

    assert received == ["a", "b"]


@pytest.mark.parametrize(
    ("emissions", "delivered"),
    [
        ([preloaded(1), preloaded(2), preloaded(3)], [preloaded(3)]),
        ([preloaded(1), preloaded(1, node="m"), preloaded(2)], [preloaded(1, node="m"), preloaded(2)]),  # another node
        (
            [ImagePullProgress(cluster="a", subject="x", current=9), ImagePullProgress(cluster="b", subject="x", current=1)],
            [
                ImagePullProgress(cluster="a", subject="x", current=9),
                ImagePullProgress(cluster="b", subject="x", current=1),
            ],  # another cluster
        ),
        ([preloaded(1), preloaded(1, subject="b.tar"), preloaded(2)], [preloaded(1, subject="b.tar"), preloaded(2)]),  # another subject
        (
            [preloaded(1), ImagePullProgress(node="n", subject="app.tar", current=9), preloaded(2)],
            [ImagePullProgress(node="n", subject="app.tar", current=9), preloaded(2)],  # another class
        ),
        ([preloaded(1), booted("n"), preloaded(2)], [booted("n"), preloaded(2)]),  # the order is that of the newest
        ([booted("n"), booted("n")], [booted("n"), booted("n")]),  # facts are never dropped, even if they are alike
        (
            [BootSignalled(node="n", attempt=1), BootSignalled(node="n", attempt=2)],
            [BootSignalled(node="n", attempt=1), BootSignalled(node="n", attempt=2)],
        ),
    ],
)
async def test_progress_is_coalesced_and_nothing_else(emissions: list[Event], delivered: list[Event]) -> None:
    """Of what a listener has not got yet, only the newest progress of each class, cluster, node and subject is kept: the last one is never lost."""
    channel = Bus(clock=lambda: 0.0, now=lambda: datetime.min.replace(tzinfo=UTC))
    stream = aiter(channel)
    for event in emissions:
        channel.emit(event)
    channel.close()

    assert [event async for event in stream] == delivered


async def test_progress_that_was_delivered_is_not_taken_back() -> None:
    """A listener that keeps up sees every step."""
    received: list[int] = []

    async def listen(event: Event) -> None:
        assert isinstance(event, Progress)
        received.append(event.current)

    async with delivering(bus(), listen) as channel:
        for current in range(3):
            channel.emit(preloaded(current))
            await anyio.wait_all_tasks_blocked()

    assert received == [0, 1, 2]


async def test_a_slow_listener_slows_nobody() -> None:
    """Emitting never waits; other listeners get their events meanwhile; and the slow one gets all of its own in the end."""
    slow: list[str] = []
    fast: list[str] = []
    gate = anyio.Event()

    async def slow_listener(event: Event) -> None:
        await gate.wait()
        slow.append(event.node)

    async def fast_listener(event: Event) -> None:
        fast.append(event.node)

    async with delivering(bus(), slow_listener, fast_listener) as channel:
        for node in ("a", "b", "c"):
            channel.emit(booted(node))
        await anyio.wait_all_tasks_blocked()
        while_waiting = (list(slow), list(fast))
        gate.set()

    assert while_waiting == ([], ["a", "b", "c"])
    assert slow == ["a", "b", "c"]


@pytest.mark.parametrize("in_thread", [True, False])
async def test_a_listener_that_hangs_is_given_up(in_thread: bool) -> None:
    """After the grace: an operation comes to its end, whatever those who watch do."""
    never, hanging = anyio.Event(), threading.Event()

    async def hang(_: Event) -> None:
        await never.wait()

    def hang_thread(_: Event) -> None:
        hanging.wait()

    try:
        with anyio.fail_after(5):
            async with delivering(bus(), hang_thread if in_thread else hang, grace_s=0.01) as channel:
                channel.emit(booted("a"))
    finally:
        hanging.set()


@pytest.mark.parametrize("in_thread", [True, False])
async def test_a_failing_listener_is_a_bug_to_be_seen(in_thread: bool) -> None:
    """What it raises ends the operation: the body is cancelled, and the error comes out of it."""
    ended: list[str] = []

    def fail(event: Event) -> None:
        raise ZeroDivisionError(event.node)

    async def fail_async(event: Event) -> None:
        fail(event)

    async def operation() -> None:
        async with delivering(bus(), fail if in_thread else fail_async) as channel:
            channel.emit(booted("a"))
            try:
                await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class():
                ended.append("cancelled")
                raise

    with pytest.raises(ZeroDivisionError, match="a"), one_error():
        await operation()

    assert ended == ["cancelled"]


async def test_events_of_a_rollback_are_delivered_after_cancellation() -> None:
    """The body was cancelled, and takes back what it made: its listeners hear of that, in order and to the end."""
    received: list[str] = []

    async def listen(event: Event) -> None:
        await anyio.lowlevel.checkpoint()
        received.append(type(event).__name__)

    with anyio.CancelScope() as scope:
        async with delivering(bus(), listen) as channel:
            channel.emit(booted("a"))
            scope.cancel()
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    channel.emit(NodeRemoved(node="a", duration_s=1.0))
                    await anyio.wait_all_tasks_blocked()
                    channel.emit(RolledBack(duration_s=1.0))

    assert scope.cancelled_caught
    assert received == ["NodeBooted", "NodeRemoved", "RolledBack"]


async def test_an_error_of_the_body_comes_after_its_events() -> None:
    """Everything that led to it was delivered; it is the one that is raised."""
    received: list[str] = []

    async def listen(event: Event) -> None:
        received.append(type(event).__name__)

    async def operation() -> None:
        async with delivering(bus(), listen) as channel:
            channel.emit(StepFailed(step="boot", error="died"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), one_error():
        await operation()

    assert received == ["StepFailed"]


async def test_elapsed_seconds() -> None:
    """By the same clock as the stamps, so that durations fit them."""
    channel = bus()

    assert [channel.elapsed_s(), channel.elapsed_s()] == [1.0, 2.0]


@pytest.mark.parametrize(
    ("event", "level", "fields"),
    [
        (booted("a"), "info", {"event": "NodeBooted", "cluster": "demo", "node": "a", "stage": "boot", "duration_s": 1.0}),
        (Warned(message="slow disk"), "warning", {"event": "Warned", "stage": "warning", "message": "slow disk"}),
        (Interrupted(), "warning", {"event": "Interrupted", "stage": "failure"}),
        (StepFailed(step="boot", error="died"), "error", {"event": "StepFailed", "step": "boot", "error": "died"}),
    ],
)
def test_events_as_structlog_records(event: Event, level: str, fields: dict[str, Any]) -> None:
    """The name is the message, the fields are the context; warnings and failures have their levels."""
    with structlog.testing.capture_logs() as records:
        structlog_listener()(event)

    assert [record["log_level"] for record in records] == [level]
    assert fields.items() <= records[0].items()


def test_structlog_with_a_logger_of_ones_own() -> None:
    """Nothing is configured: the one given is used, with whatever it is bound to."""
    with structlog.testing.capture_logs() as records:
        structlog_listener(structlog.get_logger().bind(test="mine"))(booted("a"))

    assert records[0]["test"] == "mine"
