"""Hosted: work that goes on for as long as a context is open, whichever tasks enter and leave it.

Fixtures may enter a context in one task and leave it in another. A task group cannot be left so; a task that holds one can be.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from kindasync._shielded import answered

Value = TypeVar("Value")


@asynccontextmanager
async def hosted(work: Callable[[Callable[[Value], None]], Coroutine[Any, Any, None]]) -> AsyncIterator[Value]:
    """Run `work` in a task of its own, which is cancelled and awaited when the context is left. It gives the context's value when it is ready.

    Raises: what `work` raises; once it was ready, when the context is left, unless the body failed.
    """
    ready: asyncio.Future[Value] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(work(ready.set_result))
    either: list[asyncio.Future[Any]] = [task, ready]
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            await task
        yield ready.result()
    finally:
        task.cancel()
        failure = await answered(_failure_of(task))
    if failure:
        raise failure


async def _failure_of(task: asyncio.Task[None]) -> BaseException | None:
    """Why a task has failed, when it has ended, if not by being cancelled."""
    await asyncio.wait([task])
    return None if task.cancelled() else task.exception()
