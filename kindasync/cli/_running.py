"""Running: one coroutine to its end, with signals turned into cancellation, so that everything cleans up after itself."""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import nullcontext, suppress
from typing import TypeVar

import anyio
import click

from kindasync.errors import one_error

Result = TypeVar("Result")
# Windows has no loop that can hand signals to tasks; there Ctrl-C is Python's KeyboardInterrupt.
SIGNALS = () if sys.platform == "win32" else (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(operation: Callable[[], Awaitable[Result]]) -> Result:
    """Run `operation`. A signal cancels it, once: further ones change nothing about a clean-up that has begun.

    Signals that the caller has this process ignore, as nohup does, stay ignored.
    Raises: what `operation` raises; click's Exit with 128 + the signal's number if one ended it, after its notes were printed.
    """
    signals = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    received: list[int] = []
    results: list[Result] = []
    notes: list[str] = []

    async def main() -> None:
        scope = anyio.CancelScope()
        async with anyio.create_task_group() as tasks:
            with anyio.open_signal_receiver(*signals) if signals else nullcontext() as arriving:
                if arriving is not None:
                    tasks.start_soon(_listen, arriving, scope, received)
                with scope:
                    try:
                        results.append(await operation())
                    except anyio.get_cancelled_exc_class() as error:
                        notes.extend(getattr(error, "__notes__", ()))
                        raise
                tasks.cancel_scope.cancel()

    with one_error():
        anyio.run(main)
    if not results:
        for note in notes:
            _say(f"  note: {note}")
        raise click.exceptions.Exit(128 + received[0])
    return results[0]


async def _listen(signals: AsyncIterator[int], scope: anyio.CancelScope, received: list[int]) -> None:
    async for number in signals:
        received.append(number)
        scope.cancel()
        if len(received) == 1:
            with suppress(OSError):  # the terminal may be what has gone
                _say("\ninterrupted: ending what was begun; this takes a few seconds")


def _say(text: str) -> None:
    """Print on stderr: not by click, which writes past rich's live table into the midst of it."""
    sys.stderr.write(f"{text}\n")
