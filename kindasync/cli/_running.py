"""Running: one coroutine to its end, with signals turned into cancellation, so that everything cleans up after itself."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

import anyio
import click

from kindasync.errors import one_error

Result = TypeVar("Result")
# Windows has no loop that can hand signals to tasks; there Ctrl-C is Python's KeyboardInterrupt.
SIGNALS = () if sys.platform == "win32" else (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(operation: Callable[[], Awaitable[Result]], *, last: bool = False, silent: bool = False) -> Result:
    """Run `operation`. A signal cancels it, once: further ones change nothing about a clean-up that has begun.

    Signals that the caller has this process ignore, as nohup does, stay ignored. `last`: the command has done its work with it, so
    signals that come when it has succeeded are too late, and ignored; so are those after the one that has ended it. `silent`: what ends
    at once, as programs do, needs no word about it.
    Raises: what `operation` raises; click's Exit with 128 + the signal's number if one ended it, after its notes were printed.
    """
    before = {number: handler for number in SIGNALS if (handler := signal.getsignal(number)) is not signal.SIG_IGN}
    received: list[int] = []
    results: list[Result] = []
    notes: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with anyio.CancelScope() as scope:

            def interrupt(number: int) -> None:
                received.append(number)
                scope.cancel()
                if len(received) == 1 and not silent:
                    with suppress(OSError):  # the terminal may be what has gone
                        _say("\ninterrupted: ending what was begun; this takes a few seconds")

            for number in before:
                signal.signal(number, lambda number, _: loop.call_soon_threadsafe(interrupt, number))
            try:
                results.append(await operation())
            except anyio.get_cancelled_exc_class() as error:
                notes.extend(getattr(error, "__notes__", ()))
                raise
            finally:
                for number in before:
                    signal.signal(number, signal.SIG_IGN)  # also while the interpreter shuts down, where no other handler lasts

    try:
        with one_error():
            anyio.run(main)
    finally:
        if not (last if results else received):
            for number, handler in before.items():
                signal.signal(number, handler)
    if not results:
        for note in notes:
            _say(f"  note: {note}")
        raise click.exceptions.Exit(128 + received[0])
    return results[0]


@contextmanager
def signals_kept() -> Iterator[None]:
    """Leave this process's signal handlers as they were, for one that goes on after a command."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(text: str) -> None:
    """Print on stderr: not by click, which writes past rich's live table into the midst of it."""
    sys.stderr.write(f"{text}\n")
