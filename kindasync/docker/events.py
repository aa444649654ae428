"""Engine events: what happens to containers and networks, as the Engine tells it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import anyio

from kindasync.docker._engine import Call, Connection, Labels, filters
from kindasync.docker._json_stream import messages
from kindasync.errors import ConnectionLost, StreamFailed

RESUMES = 5
RESUME_PAUSE_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineEvent:
    """One event. Shape: `kind` such as "container", `action` such as "die"; `id` of the object; `time_ns` since 1970."""

    kind: str
    action: str
    id: str
    attributes: Mapping[str, str]
    time_ns: int


async def system_events(connection: Connection, *, labels: Labels | None = None, since_ns: int | None = None) -> AsyncIterator[EngineEvent]:
    """Events from now on (or since a time), until the caller stops. They are hints; inspect is the truth.

    Source: Docker Engine API, SystemEvents, GET /events. A connection that ends is made again from the last event on;
    what the Engine then repeats is dropped.
    Raises: ConnectionLost or StreamFailed after RESUMES times without any event in between; EngineUnreachable.
    """
    last_ns, seen_at_last = since_ns, set[tuple[str, str]]()
    failures = 0
    while True:
        params = {"filters": filters(labels), "since": _timestamp(last_ns)}
        try:
            async with connection.stream(Call("SystemEvents", "GET", "/events", params=params)) as reply:
                if last_ns is None:
                    last_ns = _subscribed_ns(reply.headers)
                async for message in messages("SystemEvents", reply.chunks()):
                    event = _event(message)
                    key = (event.id, event.action)
                    if last_ns is not None and (event.time_ns < last_ns or (event.time_ns == last_ns and key in seen_at_last)):
                        continue
                    if event.time_ns != last_ns:
                        last_ns, seen_at_last = event.time_ns, set()
                    seen_at_last.add(key)
                    failures = 0
                    yield event
            raise ConnectionLost("the Engine ended its stream of events", hint="see whether the Engine is still running")
        except (ConnectionLost, StreamFailed):
            failures += 1
            if failures > RESUMES:
                raise
        await anyio.sleep(RESUME_PAUSE_S)


def _subscribed_ns(headers: Mapping[str, str]) -> int | None:
    """The Engine's clock at the subscription, from which to resume before any event has come."""
    try:
        return int(parsedate_to_datetime(headers["Date"]).timestamp()) * 10**9
    except (KeyError, ValueError):
        return None


def _timestamp(time_ns: int | None) -> str | None:
    return None if time_ns is None else f"{time_ns // 10**9}.{time_ns % 10**9:09d}"


def _event(message: Mapping[str, Any]) -> EngineEvent:
    actor = message.get("Actor") or {}
    return EngineEvent(
        kind=str(message.get("Type", "")),
        action=str(message.get("Action", "")),
        id=str(actor.get("ID", "")),
        attributes=dict(actor.get("Attributes") or {}),
        time_ns=int(message.get("timeNano") or int(message.get("time") or 0) * 10**9),
    )
