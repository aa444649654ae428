"""Execs: programs run in a running container."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

import anyio

from kindasync.docker._engine import Call, Connection, required
from kindasync.docker._frames import STDERR, demultiplexed
from kindasync.errors import ConnectionLost, EngineError, one_error
from kindasync.transport._source import end

if TYPE_CHECKING:
    from kindasync.transport._upgrade import Upgraded

EXIT_CODE_S = 10.0
_EXIT_CODE_POLL_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecResult:
    """What a program left. Shape: `stdout` and `stderr` are its whole output, in bytes."""

    exit_code: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """`stdout` as text."""
        return self.stdout.decode(errors="replace")

    def tail(self, lines: int = 20) -> str:
        """The last lines of stderr, or of stdout if stderr is empty: what to show when the program failed."""
        text = (self.stderr.strip() or self.stdout.strip()).decode(errors="replace")
        return "\n".join(text.splitlines()[-lines:])


OnOutput = Callable[[bytes], None]


async def container_exec(
    connection: Connection,
    container: str,
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    working_dir: str = "",
    stdin: AsyncIterator[bytes] | bytes | None = None,
    on_output: OnOutput | None = None,
) -> ExecResult:
    """Run `argv` (no shell) in a running container to its end. Its exit code is a result, not an error.

    Source: Docker Engine API, ContainerExec, ExecStart, ExecInspect. Without `stdin` nothing is upgraded: the output is
    the body of ExecStart's answer. With it, the connection is upgraded, and closed in our direction after the last byte;
    a program may end without having read all of it.
    Shape: `on_output` gets each piece of output as it comes. A program that is not there is exit code 126 or 127, with the Engine's words as output.
    Raises: NotFound; Conflict if the container does not run; EngineError for stdin over TLS, where there is no half-close
    (put a file instead; nothing is run); StreamFailed; ConnectionLost; what `stdin` raises.
    Cancellation: ends the waiting; the Engine has no way to stop an exec, and the program runs on.
    """
    subject = f"container {container}"
    if stdin is not None and connection.engine.endpoint.tls:
        raise EngineError(
            f"cannot give a program in {subject} its input over TLS",
            why="a TLS connection has no way to end one direction only",
            hint="put the input into the container as a file",
        )
    create = {
        "AttachStdin": stdin is not None,
        "AttachStdout": True,
        "AttachStderr": True,
        "Tty": False,
        "Cmd": list(argv),
        "Env": [f"{name}={value}" for name, value in (env or {}).items()],
        "WorkingDir": working_dir,
    }
    call = Call("ContainerExec", "POST", f"/containers/{quote(container, safe='')}/exec", subject, json=create)
    exec_id = str(required("ContainerExec", await connection.request_json(call), "Id"))
    start = Call("ExecStart", "POST", f"/exec/{exec_id}/start", subject, json={"Detach": False, "Tty": False})
    output = _Output(on_output)
    if stdin is None:
        async with connection.stream(start) as reply:
            await output.read(reply.chunks())
    else:
        async with connection.upgrade(start) as upgraded:
            with one_error():
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(_feed, upgraded, stdin)
                    await output.read(upgraded.chunks())
                    tasks.cancel_scope.cancel()  # the program has ended, whatever of its input is still to come
    return ExecResult(
        exit_code=await _exit_code(connection, exec_id, subject), stdout=b"".join(output.stdout), stderr=b"".join(output.stderr)
    )


class _Output:
    def __init__(self, on_output: OnOutput | None) -> None:
        self.stdout: list[bytes] = []
        self.stderr: list[bytes] = []
        self._on_output = on_output

    async def read(self, chunks: AsyncIterator[bytes]) -> None:
        async for stream, data in demultiplexed(chunks):
            (self.stderr if stream == STDERR else self.stdout).append(data)
            if self._on_output:
                self._on_output(data)


async def _feed(upgraded: Upgraded, stdin: AsyncIterator[bytes] | bytes) -> None:
    """Send all of `stdin`, unless the far side closes before: whether the program has ended then, or the connection, its output tells."""
    try:
        async for data in _pieces(stdin):
            try:
                await upgraded.send(data)
            except ConnectionLost:
                return
        with suppress(ConnectionLost):
            await upgraded.send_eof()
    finally:
        if not isinstance(stdin, bytes):
            await end(stdin)


async def _pieces(stdin: AsyncIterator[bytes] | bytes) -> AsyncIterator[bytes]:
    if isinstance(stdin, bytes):
        yield stdin
    else:
        async for data in stdin:
            yield data


async def _exit_code(connection: Connection, exec_id: str, subject: str) -> int:
    """The exit code. The output's end comes a moment before the Engine has it: nothing tells, so this asks until it has."""
    call = Call("ExecInspect", "GET", f"/exec/{exec_id}/json", subject)
    with anyio.move_on_after(EXIT_CODE_S):
        while True:
            state = await connection.request_json(call)
            if not required("ExecInspect", state, "Running") and state.get("ExitCode") is not None:
                return int(state["ExitCode"])
            await anyio.sleep(_EXIT_CODE_POLL_S)
    raise EngineError(
        f"the Engine does not know how a program in {subject} ended",
        why=f"its output ended, and {EXIT_CODE_S:g} s later it still counts as running",
        hint="see the Engine's log",
    )
