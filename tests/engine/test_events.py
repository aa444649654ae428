"""Events: what the Engine tells of containers."""

from __future__ import annotations

import anyio
import pytest

from kindasync.docker import Connection
from kindasync.docker.containers import container_kill, container_remove
from kindasync.docker.events import EngineEvent, system_events
from kindasync.testing import FakeEngine
from tests.engine.lab import Lab

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
