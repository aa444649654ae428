"""Shielded: work that is awaited to its end, although whoever waits for it is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import anyio

from kindasync.errors import KindasyncError

Answer = TypeVar("Answer")
ATTEMPTS = 3  # at a clean-up that others cancel


async def answered(request: Coroutine[Any, Any, Answer]) -> Answer:
    """What `request` returns or raises, however often the waiting for it is cancelled.

    A shielded scope keeps anyio's cancellation out, but not asyncio's own (`Task.cancel`, as by Ctrl-C in `asyncio.run`, or
    `asyncio.timeout`): only another task is safe from that.
    Cancellation: takes effect at the caller's next await, or if `request` raises, instead of that, which is a note of it then.
    """
    waiting = asyncio.current_task()
    assert waiting is not None
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        task = asyncio.create_task(request)
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled and task.cancelled():
        raise cancelled
    if cancelled and (failure := task.exception()):
        cancelled.add_note(str(failure))
        raise cancelled
    if cancelled:
        waiting.uncancel()
        waiting.cancel(*cancelled.args)
    return task.result()


def is_cancelled() -> bool:
    """Whether it is the current task that is cancelled; a CancelledError that it sees is else of something that it awaited."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def carried_through(work: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
    """As `answered`, for work that may be begun again: also where every task of the loop is cancelled, the one that works included.

    That is what asyncio does at a second Ctrl-C; it waits for them all, then.
    """

    async def insist() -> Answer:
        for _ in range(ATTEMPTS):
            with suppress(asyncio.CancelledError):
                return await work()
        return await work()

    return await answered(insist())


async def attempted(work: Callable[[], Awaitable[object]], seconds: float) -> bool:
    """Whether `work`, shielded, has come to its end within so many seconds, and without a KindasyncError."""
    with anyio.move_on_after(seconds, shield=True), suppress(KindasyncError):
        await work()
        return True
    return False


@asynccontextmanager
async def undoing(undo: Callable[[], Coroutine[Any, Any, None]], left: str) -> AsyncIterator[None]:
    """Carry `undo` through when the context is left, however it is. If the body failed, that the undoing did, too, is a note of its error: `left`, and why."""
    try:
        yield
    except BaseException as error:
        try:
            await carried_through(undo)
        except KindasyncError as failure:
            error.add_note(f"{left}: {failure}")
        raise
    await carried_through(undo)
