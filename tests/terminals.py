"""Programs on a terminal: what is typed there, and what they leave on its screen, by a terminal emulator."""

from __future__ import annotations

import os
import pty
import subprocess
import termios
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyte
from pyte.modes import LNM

ROWS = 24
WIDE = 1000
OTHERWISE = {"CI", "NO_COLOR", "COLUMNS", "LINES"}  # what would have programs take a terminal for another
# The first terminal that the leader of a session opens is its own: Ctrl-C reaches what runs there.
RUN = ["sh", "-c", ': <"$0" && exec "$@"']


class Screen:
    """What is on a terminal that has been sent some text; a line feed begins a line, as where a terminal's driver sees to that."""

    def __init__(self, columns: int) -> None:
        self._screen = pyte.HistoryScreen(columns, ROWS, history=10_000)
        self._screen.set_mode(LNM)
        self._stream = pyte.ByteStream(self._screen)

    def feed(self, output: bytes) -> None:
        """More of it, which may end within a character."""
        self._stream.feed(output)

    @property
    def lines(self) -> list[str]:
        """From the first, which may have scrolled away, to the cursor's."""
        gone = ["".join(line[column].data for column in range(self._screen.columns)) for line in self._screen.history.top]
        return [line.rstrip() for line in [*gone, *self._screen.display[: self._screen.cursor.y + 1]]]

    @property
    def has_cursor(self) -> bool:
        """Whether it is to be seen."""
        return not self._screen.cursor.hidden


@dataclass(frozen=True)
class Shown:
    """What a program that has ended left on its terminal."""

    code: int
    lines: Sequence[str]
    unwrapped: Sequence[str]  # as if there were many more columns: the same, if all that was written had room
    has_cursor: bool
    as_before: bool  # the terminal's settings


def _output(terminal: int) -> Iterator[bytes]:
    try:
        while output := os.read(terminal, 65536):
            yield output
    except OSError:  # Linux: the other end was closed
        pass


def on_terminal(
    *command: str, columns: int, environment: Mapping[str, str], cwd: Path | None = None, typed: Sequence[tuple[str, bytes]] = ()
) -> Shown:
    """Runs a program on a terminal of its own. Of `typed`, each is typed once its text has been on the screen, one after the other."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (ROWS, columns))
    before = termios.tcgetattr(theirs)
    screen, wide = Screen(columns), Screen(WIDE)
    left = list(typed)
    with subprocess.Popen(
        [*RUN, os.ttyname(theirs), *command],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={name: value for name, value in environment.items() if name not in OTHERWISE} | {"TERM": "xterm-256color"},
        cwd=cwd,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        try:
            for output in _output(ours):
                screen.feed(output)
                wide.feed(output)
                if left and left[0][0] in "\n".join(wide.lines):
                    os.write(ours, left.pop(0)[1])
            as_before = termios.tcgetattr(ours) == before
        finally:
            os.close(ours)  # which hangs up
    return Shown(process.returncode, screen.lines, wide.lines, screen.has_cursor, as_before)
