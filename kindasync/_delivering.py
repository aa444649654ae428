"""How the events of an operation get to those who listen, while it runs."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.to_thread

from kindasync.events import Bus, Callback, Event


@asynccontextmanager
async def delivering(bus: Bus, *listeners: Callback | Bus | None, grace_s: float = 1.0) -> AsyncIterator[Bus]:
    """Deliver the events of `bus` to `listeners` while the body runs, then the rest of them, for at most `grace_s` seconds. Closes the bus.

    Raises: what a listener raised, after cancelling the body: a listener that fails is a bug to be seen; RuntimeError if it was cancelled.
    Cancellation: what was emitted is still delivered, within `grace_s`.
    """
    # Shielded: what happens while a cancelled body cleans up is delivered too. Closing the bus ends them.
    scopes: list[anyio.CancelScope] = []
    done = False
    async with anyio.create_task_group() as tasks:
        for listener in listeners:
            if listener is not None:
                scopes.append(anyio.CancelScope(shield=True))
                tasks.start_soon(_deliver, aiter(bus), listener, scopes[-1])
        try:
            yield bus
            done = True
        finally:
            bus.close()
            for scope in scopes:
                scope.deadline = anyio.current_time() + grace_s
    if not done:  # else the body raises: who was cancelled is the task of a listener, and with it the others of its group
        raise RuntimeError("a listener of events was cancelled, by itself or by what it awaited, and with it what it listened to")


async def _deliver(events: AsyncIterator[Event], listener: Callback | Bus, scope: anyio.CancelScope) -> None:
    with scope:
        async for event in events:
            if isinstance(listener, Bus):
                listener.relay(event)
            elif inspect.iscoroutinefunction(listener):
                await listener(event)
            else:
                result = await anyio.to_thread.run_sync(listener, event, abandon_on_cancel=True)
                if inspect.isawaitable(result):
                    await result
