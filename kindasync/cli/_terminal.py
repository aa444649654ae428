"""The user's terminal, or what stands in for it: what comes in, how large it is, and handing every key on."""

from __future__ import annotations

import os
import signal
import stat
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

import anyio

if TYPE_CHECKING:
    from kindasync.docker.execs import OnOutput

_PIECE = 64 * 1024


def has_terminal() -> bool:
    """Whether both stdin and stdout are a terminal, of which every key can be handed on."""
    return sys.platform != "win32" and sys.stdin.isatty() and sys.stdout.isatty()


@contextmanager
def raw() -> Iterator[None]:
    """Let no key have a meaning for this side: Ctrl-C, too, goes where the others go."""
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setraw(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


async def sizes() -> AsyncIterator[tuple[int, int]]:
    """Rows and columns: now, and whenever they change."""
    with anyio.open_signal_receiver(signal.SIGWINCH) as changes:
        yield _size()
        async for _ in changes:
            yield _size()


def _size() -> tuple[int, int]:
    columns, rows = os.get_terminal_size(sys.stdout.fileno())
    return rows, columns


async def incoming() -> AsyncIterator[bytes]:
    """What comes on stdin, until it ends. Cancellation: at any moment."""
    descriptor = sys.stdin.fileno()
    mode = os.fstat(descriptor).st_mode
    may_block = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(descriptor)
    while True:
        if may_block:
            await anyio.wait_readable(descriptor)
        data = os.read(descriptor, _PIECE)
        if not data:
            return
        yield data


def written_to(stream: BinaryIO) -> OnOutput:
    """A listener that writes at once."""

    def write(data: bytes) -> None:
        stream.write(data)
        stream.flush()

    return write
