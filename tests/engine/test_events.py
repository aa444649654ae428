"""Events: what the Engine tells of containers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from kindasync.docker import Connection, Engine, events
from kindasync.docker._engine import Call
from kindasync.docker.containers import container_kill, container_remove
from kindasync.docker.events import EngineEvent, system_events
from kindasync.errors import EngineUnreachable
from kindasync.testing import FakeEngine
from kindasync.transport._http import StreamedReply
from tests.engine.lab import Lab
from tests.engine.scripted import PING, http, scripted

pytestmark = pytest.mark.anyio


async def test_what_happens_is_told_in_its_order(lab: Lab) -> None:
    """From the moment of the subscription on; with the object's id, labels and time."""
    async with system_events(lab.connection, labels=dict(lab.labels)) as told:
        container = await lab.running()
        await container_kill(lab.connection, container.id, "SIGKILL")
        seen: list[EngineEvent] = []
        with anyio.fail_after(20):
            async for event in told:
                seen.append(event)
                if event.action == "die":
                    break

    assert [event.action for event in seen if event.action in ("create", "start", "die")] == ["create", "start", "die"]
    assert {(event.kind, event.id) for event in seen} == {("container", container.id)}
    assert seen[0].attributes["name"] == container.name
    assert [event.time_ns for event in seen] == sorted(event.time_ns for event in seen)


async def test_only_what_has_the_labels_is_told(lab: Lab) -> None:
    """Of another container nothing is heard."""
    async with system_events(lab.connection, labels={**lab.labels, "kept": None}) as told:
        other = await lab.running(name="other")
        kept = await lab.running(lab.spec(labels={**lab.labels, "kept": "yes"}), name="kept")
        await container_remove(lab.connection, other.id)
        with anyio.fail_after(20):
            async for event in told:
                assert event.id == kept.id
                if event.action == "start":
                    break


async def test_a_lost_connection_is_made_again_where_it_ended(fake: FakeEngine, connection: Connection) -> None:
    """Nothing is missed, and nothing is told twice."""
    fake.cut("SystemEvents", after_bytes=700)
    async with system_events(connection) as told:
        for number in range(8):
            fake.add_container(f"c{number}", "kindasync/node:v1.37.2")
        created: list[str] = []
        with anyio.fail_after(10):
            async for event in told:
                if event.action == "create":
                    created.append(event.attributes["name"])
                if len(created) == 8:
                    break

    assert created == [f"c{number}" for number in range(8)]
    assert len(fake.requests_of("SystemEvents")) == 2


# -- what an Engine does seldom


SECOND = 10**9


def told_at(time_ns: int, name: str) -> bytes:
    return json.dumps({"Type": "container", "Action": "start", "Actor": {"ID": name}, "timeNano": time_ns}).encode() + b"\n"


def stream_of(*events: bytes, ends: bool = True) -> list[bytes | None]:
    return [http(200, "Connection: close"), *events, *([None] if ends else [])]


async def heard(socket: Path, count: int, *answers: Sequence[bytes | None]) -> tuple[list[str], list[str]]:
    """The IDs of so many events, and from when on they were asked for each time."""
    ids: list[str] = []
    async with scripted(socket, PING, *answers) as script, Engine.of(f"unix://{socket}").connect() as connection:
        with anyio.fail_after(10):
            async with system_events(connection, since_ns=100 * SECOND) as told:
                async for event in told:
                    ids.append(event.id)
                    if len(ids) == count:
                        break
    return ids, [head.params["since"][0] for head in script.heads[1:]]


async def test_events_that_are_slightly_out_of_order_are_told(tmp_path: Path) -> None:
    """The Engine takes the time before it takes its turn; one that comes again is told once, whenever that is."""
    late = 105 * SECOND - 1000

    ids, _ = await heard(
        tmp_path / "s",
        3,
        stream_of(
            told_at(105 * SECOND, "a"), told_at(late, "b"), told_at(105 * SECOND, "a"), told_at(late, "b"), told_at(106 * SECOND, "c")
        ),
    )

    assert ids == ["a", "b", "c"]


async def test_what_was_late_when_the_connection_was_lost_is_told_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for from a second before the newest on; of that, what was told is dropped."""
    monkeypatch.setattr(events, "RESUME_PAUSE_S", 0.0)
    first, late, new = (told_at(105 * SECOND, "a"), told_at(104 * SECOND + 1, "late"), told_at(107 * SECOND, "new"))

    ids, since = await heard(tmp_path / "s", 3, stream_of(first), stream_of(late, first, new))

    assert ids == ["a", "late", "new"]
    assert since == ["100.000000000", "104.000000000"]


async def test_before_any_event_the_subscription_is_made_again_from_its_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was told that could be told twice."""
    monkeypatch.setattr(events, "RESUME_PAUSE_S", 0.0)

    ids, since = await heard(tmp_path / "s", 1, stream_of(), stream_of(told_at(101 * SECOND, "a")))

    assert ids == ["a"]
    assert since == ["100.000000000", "100.000000000"]


class Watched(Connection):
    """A connection that says when a stream could not be opened because nothing listens."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection.engine, connection.http)
        self.api_version = connection.api_version
        self.refused = anyio.Event()

    @asynccontextmanager
    async def stream(self, call: Call) -> AsyncIterator[StreamedReply]:
        try:
            async with super().stream(call) as reply:
                yield reply
        except EngineUnreachable:
            self.refused.set()
            raise


async def test_an_engine_that_is_away_for_a_moment_is_awaited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As while its daemon restarts: nothing listens, then something does, and events go on."""
    monkeypatch.setattr(events, "RESUME_PAUSE_S", 0.01)
    socket = tmp_path / "docker.sock"
    created: list[str] = []
    heard = {"before": anyio.Event(), "after": anyio.Event()}

    async def listen(told: AsyncIterator[EngineEvent]) -> None:
        async for event in told:
            created.append(event.attributes["name"])
            heard[created[-1]].set()
            if created[-1] == "after":
                return

    with anyio.fail_after(10), FakeEngine(socket=socket) as before:
        async with Engine.of(before.url).connect() as connected:
            connection = Watched(connected)
            async with system_events(connection) as told, anyio.create_task_group() as tasks:
                tasks.start_soon(listen, told)
                before.add_container("before", "kindasync/node:v1.37.2")
                await heard["before"].wait()
                before.vanish()
                await connection.refused.wait()
                with FakeEngine(socket=socket) as after:
                    after.add_container("after", "kindasync/node:v1.37.2")
                    await heard["after"].wait()

    assert created == ["before", "after"]


async def test_an_engine_that_stays_away_is_an_error(fake: FakeEngine, connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """After RESUMES attempts, the one that the last attempt met."""
    monkeypatch.setattr(events, "RESUME_PAUSE_S", 0.0)

    async with system_events(connection) as told:
        fake.vanish()
        with anyio.fail_after(10), pytest.raises(EngineUnreachable):
            await anext(told)
