"""The console of a node: its container's log, line by line, as the source of what it says about its boot."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable

import anyio

from kindasync.docker import Connection
from kindasync.docker.containers import Container, container_inspect, container_logs, lines
from kindasync.errors import BootFailed, NotFound

TAIL_LINES = 20
_CONTROL = re.compile(r"\x1b\[[0-9;?!]*[A-Za-z]|\x1b\][^\x07]*\x07|\r")


class Console:
    """Follows the log of one container, of a node or (`noun`) of something else. One reader (`follow`), any number of waiters.

    The log's end is the container's end: it is noticed when it happens, without asking.
    """

    def __init__(self, connection: Connection, container: Container, *, noun: str = "node") -> None:
        self._connection = connection
        self._subject = f"{noun} {container.name}"
        self._container = container
        self._lines: list[str] = []
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._changed = anyio.Event()
        self._ended = False

    async def follow(self) -> None:
        """Read until the container ends. Raises: ConnectionLost; ApiError for a logging driver that cannot be read."""
        async with container_logs(self._connection, self._container, follow=True) as chunks:
            async for line in lines(chunks):
                self._add(_CONTROL.sub("", line).rstrip())
        self._ended = True  # a connection that is lost says nothing about the container
        self._notify()

    def _add(self, line: str) -> None:
        if line:
            self._lines.append(line)
            self._tail.append(line)
            self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    def saw(self, matches: Callable[[str], bool]) -> bool:
        """Whether a line that matches has come."""
        return any(matches(line) for line in self._lines)

    @property
    def tail(self) -> str:
        """The last lines."""
        return "\n".join(self._tail)

    async def wait_for(self, matches: Callable[[str], bool], awaited: str, *, fails: Callable[[str], bool] = lambda _: False) -> str:
        """The first line that matches, as soon as it is there. No timeout: the caller has one.

        Raises: BootFailed at once when a line comes that `fails` knows, or when the container ends before.
        """
        seen = 0
        while True:
            for line in self._lines[seen:]:
                if matches(line):
                    return line
                if fails(line):
                    raise BootFailed(f"{self._subject} failed before it was {awaited}", why=line, evidence=self.tail)
            seen = len(self._lines)
            if self._ended:
                raise await self._death(awaited)
            await self._changed.wait()

    async def wait_for_times(self, matches: Callable[[str], bool], times: int) -> None:
        """Wait until so many lines have come that match; without end, if the container ends before."""
        while sum(map(matches, self._lines)) < times:
            await self._changed.wait()

    async def wait_for_end(self, doing: str) -> None:
        """Wait until the container ends. Raises: BootFailed then: for nodes that have to live."""
        while not self._ended:
            await self._changed.wait()
        raise await self._death(doing)

    async def ends_within(self, seconds: float) -> bool:
        """Whether the container has ended, or ends this soon."""
        with anyio.move_on_after(seconds):
            while not self._ended:
                await self._changed.wait()
        return self._ended

    async def _death(self, awaited: str) -> BootFailed:
        """The error that says how the node died."""
        what = f"{self._subject} died before it was {awaited}"
        try:
            container = await container_inspect(self._connection, self._container.id)
        except NotFound:
            return BootFailed(what, why="its container was removed", hint="something else removes containers here", evidence=self.tail)
        why = f"its first process ended with exit code {container.exit_code}"
        hint = "its last lines say more; kindasync doctor looks at what usually is the cause"
        if container.oom_killed:
            why, hint = "the kernel killed it for want of memory", "give the Engine more memory, or make fewer nodes"
        elif container.error:
            why = container.error
        elif container.exit_code is None:
            why = "it ended, and the Engine has started it again"
        return BootFailed(what, why=why, hint=hint, evidence=self.tail)
