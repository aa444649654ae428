"""Programs of the fake: what the first process of a container and those run in it by execs come to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from kindasync.testing._files import seen_by_programs
from kindasync.testing._state import FakeContainer


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramResult:
    """What a program in a container leaves: `exit_code`, `stdout` and `stderr`.

    `hangs`: it does not end by itself. `on_signal`: what comes of a signal, if it is the first process of the container: it
    prints, and ends unless that `hangs`, too; signals that are not here do nothing, but for SIGKILL.
    """

    exit_code: int = 0
    stdout: bytes = b""
    stderr: bytes = b""
    hangs: bool = False
    on_signal: Mapping[str, ProgramResult] = field(default_factory=dict)


Program = Callable[[FakeContainer, Sequence[str], bytes], ProgramResult]


def _cat(container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ProgramResult:
    if len(argv) == 1:
        return ProgramResult(stdout=stdin)
    content = seen_by_programs(container, argv[1])
    if content is None:
        return ProgramResult(exit_code=1, stderr=f"cat: {argv[1]}: No such file or directory\n".encode())
    return ProgramResult(stdout=content)


def _echo(container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ProgramResult:
    return ProgramResult(stdout=(" ".join(argv[1:]) + "\n").encode())


PROGRAMS: dict[str, Program] = {
    "cat": _cat,
    "echo": _echo,
    "false": lambda *_: ProgramResult(exit_code=1),
    "sleep": lambda *_: ProgramResult(hangs=True),
    "true": lambda *_: ProgramResult(),
}
