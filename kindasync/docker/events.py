"""Engine events: what happens to containers and networks, as the Engine tells it."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import anyio

from kindasync.docker._engine import Call, Connection, Labels, filters
from kindasync.docker._json_stream import messages
from kindasync.errors import ConnectionLost, EngineUnreachable, StreamFailed

if TYPE_CHECKING:
    from kindasync.transport._http import StreamedReply

RESUMES = 6
RESUME_PAUSE_S = 0.1  # doubled each time: 12 s in all, in which a daemon restarts
REMEMBERED = 1024
OUT_OF_ORDER_NS = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineEvent:
    """One event. Shape: `kind` such as "container", `action` such as "die"; `id` of the object; `time_ns` since 1970."""

    kind: str
    action: str
    id: str
    attributes: Mapping[str, str]
    time_ns: int


@asynccontextmanager
async def system_events(
    connection: Connection, *, labels: Labels | None = None, since_ns: int | None = None
) -> AsyncIterator[AsyncIterator[EngineEvent]]:
    """Events from now on (or since a time), while the context is open: it is subscribed when it opens, so what is done in it is told.

    Source: Docker Engine API, SystemEvents, GET /events. They are hints; inspect is the truth. Only objects that have labels
    pass a filter by labels: containers and images, not what the Engine tells of networks and volumes.
    A connection that ends is made again from the last event on; what the Engine then repeats is dropped. Before the first
    event it is made again from the second of the subscription on, so that what came just before may be told, too.
    Raises: EngineUnreachable; and from the iterator, ConnectionLost or StreamFailed or EngineUnreachable after RESUMES times without any event in between.
    """
    async with AsyncExitStack() as stack:
        subscription = _Subscription(connection, labels, since_ns, stack)
        await subscription.begin()
        yield subscription.events()


class _Subscription:
    """A stream of events and, when it has ended, the next one from there on. `stack` holds the one that is open."""

    def __init__(self, connection: Connection, labels: Labels | None, since_ns: int | None, stack: AsyncExitStack) -> None:
        self._connection = connection
        self._labels = labels
        self._last_ns = since_ns
        self._told: deque[tuple[int, str, str]] = deque(maxlen=REMEMBERED)
        self._stack = stack

    async def begin(self) -> None:
        since = self._last_ns - OUT_OF_ORDER_NS if self._last_ns and self._told else self._last_ns
        params = {"filters": filters(self._labels), "since": _timestamp(since)}
        call = Call("SystemEvents", "GET", "/events", params=params)
        self._reply: StreamedReply = await self._stack.enter_async_context(self._connection.stream(call))
        if self._last_ns is None:
            self._last_ns = _subscribed_ns(self._reply.headers)

    async def events(self) -> AsyncIterator[EngineEvent]:
        failures = 0
        while True:
            try:
                if failures:
                    await self.begin()
                async for message in messages("SystemEvents", self._reply.chunks()):
                    event = _event(message)
                    if self._is_new(event):
                        failures = 0
                        yield event
                raise ConnectionLost("the Engine ended its stream of events", hint="see whether the Engine is still running")
            except (ConnectionLost, StreamFailed, EngineUnreachable):
                failures += 1
                if failures > RESUMES:
                    raise
            await self._stack.aclose()
            await anyio.sleep(RESUME_PAUSE_S * 2**failures)

    def _is_new(self, event: EngineEvent) -> bool:
        """Whether it was not told before. Events may come a little out of order."""
        key = (event.time_ns, event.id, event.action)
        if key in self._told:
            return False
        self._told.append(key)
        self._last_ns = max(self._last_ns or 0, event.time_ns)
        return True


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
