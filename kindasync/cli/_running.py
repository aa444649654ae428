"""Running: one coroutine to its end, with signals turned into cancellation, so that everything cleans up after itself."""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import nullcontext
from typing import TypeVar

import anyio
import click

from kindasync.errors import one_error

Result = TypeVar("Result")
# Windows has no loop that can hand signals to tasks; there Ctrl-C is Python's KeyboardInterrupt.
SIGNALS = () if sys.platform == "win32" else (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(operation: Callable[[], Awaitable[Result]]) -> Result:
    """Run `operation`. A signal cancels it, once: further ones change nothing about a clean-up that has begun.

    Raises: what `operation` raises; click's Exit with 128 + the signal's number if one ended it.
    """
    received: list[int] = []
    results: list[Result] = []

    async def main() -> None:
        scope = anyio.CancelScope()
        async with anyio.create_task_group() as tasks:
            with anyio.open_signal_receiver(*SIGNALS) if SIGNALS else nullcontext() as signals:
                if signals is not None:
                    tasks.start_soon(_listen, signals, scope, received)
                with scope:
                    results.append(await operation())
                tasks.cancel_scope.cancel()

    with one_error():
        anyio.run(main)
    if not results:
        raise click.exceptions.Exit(128 + received[0])
    return results[0]


async def _listen(signals: AsyncIterator[int], scope: anyio.CancelScope, received: list[int]) -> None:
    async for number in signals:
        if not received:
            click.echo("\ninterrupted: ending what was begun; this takes a few seconds", err=True)
        received.append(number)
        scope.cancel()
