"""Execs: programs run in a running container."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

import anyio

from kindasync.docker._engine import Call, Connection, required
from kindasync.docker._frames import STDERR, demultiplexed
from kindasync.errors import ApiError, ConnectionLost, EngineError, ExecFailed, NotReady, one_error
from kindasync.transport._source import end

if TYPE_CHECKING:
    from kindasync.transport._upgrade import Upgraded

EXIT_CODE_S = 10.0
RUN_S = 120.0
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


ANY_CODE = range(256)  # of programs whose output counts, however they end
OnOutput = Callable[[bytes], None]
Sizes = AsyncIterator[tuple[int, int]]
"""The rows and columns of a terminal: at first, and whenever they change."""


async def container_exec(
    connection: Connection,
    container: str,
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    working_dir: str = "",
    stdin: AsyncIterator[bytes] | bytes | None = None,
    on_output: OnOutput | None = None,
    on_error: OnOutput | None = None,
    sizes: Sizes | None = None,
) -> ExecResult:
    """Run `argv` (no shell) in a running container to its end. Its exit code is a result, not an error.

    Source: Docker Engine API, ContainerExec, ExecStart, ExecResize, ExecInspect. Without `stdin` nothing is upgraded: the output is
    the body of ExecStart's answer. With it, the connection is upgraded, and closed in our direction after the last byte;
    a program may end without having read all of it.
    Shape: `on_output` gets each piece of output as it comes, of stderr too, unless `on_error` gets those: then nothing is kept for the
    result. With `sizes` the program has a terminal: all output is one stream, the input's end is what is typed (Ctrl-D). A program that is not there is exit code 126 or 127, with the Engine's words as output.
    Raises: NotFound; Conflict if the container does not run; StreamFailed; ConnectionLost; what `stdin` raises.
    Cancellation: ends the waiting; the Engine has no way to stop an exec, and the program runs on.
    """
    check_argv(argv)
    if not isinstance(stdin, bytes | AsyncIterator | None):
        raise TypeError(f"stdin is bytes, or an asynchronous iterator of bytes; it is of {type(stdin).__name__}")
    subject = f"container {container}"
    create = {
        "AttachStdin": stdin is not None or sizes is not None,
        "AttachStdout": True,
        "AttachStderr": True,
        "Tty": sizes is not None,
        "Cmd": list(argv),
        "Env": [f"{name}={value}" for name, value in (env or {}).items()],
        "WorkingDir": working_dir,
    }
    exec_id = await _created(connection, container, create)
    start = _start(exec_id, subject, tty=sizes is not None)
    output = _Output(on_output, on_error, framed=sizes is None)
    if stdin is None and sizes is None:
        async with connection.stream(start) as reply:
            await output.read(reply.chunks())
    else:
        async with connection.upgrade(start) as upgraded:
            with one_error():
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(partial(_feed, upgraded, stdin or b"", ends=sizes is None))
                    if sizes is not None:
                        tasks.start_soon(_resize, connection, exec_id, sizes)
                    await output.read(upgraded.chunks())
                    tasks.cancel_scope.cancel()  # the program has ended, whatever of its input is still to come
    return ExecResult(
        exit_code=await _exit_code(connection, exec_id, subject), stdout=b"".join(output.stdout), stderr=b"".join(output.stderr)
    )


async def container_run(
    connection: Connection,
    container: str,
    argv: Sequence[str],
    *,
    passing: Collection[int] = (0,),
    working_dir: str = "",
    timeout_s: float = RUN_S,
) -> ExecResult:
    """As `container_exec`, of a program that has to succeed, and to end within `timeout_s` seconds. Raises, too: ExecFailed for an exit code that is not `passing`; NotReady."""
    try:
        with anyio.fail_after(timeout_s):
            result = await container_exec(connection, container, argv, working_dir=working_dir)
    except TimeoutError as error:
        raise NotReady(f'"{" ".join(argv)}" in {container}', "it has not ended", after_s=timeout_s) from error
    if result.exit_code not in passing:
        lines = [line for line in result.tail().splitlines() if "level=warning" not in line]  # containerd's, of the host's cgroups
        raise ExecFailed(container, argv, result.exit_code, "\n".join(lines))
    return result


def check_argv(argv: Sequence[str]) -> None:
    """Raises: TypeError for a text, of which each letter would be a word."""
    if isinstance(argv, str | bytes):
        raise TypeError(f'argv is a list of words, such as ["ls", "/"]; it is {argv!r}')


@asynccontextmanager
async def container_output(connection: Connection, container: str, argv: Sequence[str]) -> AsyncIterator[AsyncIterator[bytes]]:
    """What `argv` (no shell) writes to stdout, piece by piece, and no faster than that is read.

    Source: Docker Engine API, ContainerExec, ExecStart, ExecInspect.
    Raises: as `container_exec`; and at the end of what is read ExecFailed for another exit code than 0.
    Cancellation: as `container_exec`; so it is for a reader that ends early.
    """
    subject = f"container {container}"
    exec_id = await _created(connection, container, {"AttachStdout": True, "AttachStderr": True, "Cmd": list(argv)})
    async with connection.stream(_start(exec_id, subject)) as reply:

        async def stdout() -> AsyncGenerator[bytes, None]:
            errors: list[bytes] = []
            async for stream, data in demultiplexed(reply.chunks()):
                if stream == STDERR:
                    errors.append(data)
                else:
                    yield data
            result = ExecResult(exit_code=await _exit_code(connection, exec_id, subject), stdout=b"", stderr=b"".join(errors))
            if result.exit_code:
                raise ExecFailed(container, argv, result.exit_code, result.tail())

        async with aclosing(stdout()) as output:
            yield output


async def _created(connection: Connection, container: str, document: Mapping[str, object]) -> str:
    """The ID of a new exec."""
    call = Call("ContainerExec", "POST", f"/containers/{quote(container, safe='')}/exec", f"container {container}", json=document)
    return str(required("ContainerExec", await connection.request_json(call), "Id"))


def _start(exec_id: str, subject: str, *, tty: bool = False, detach: bool = False) -> Call:
    return Call("ExecStart", "POST", f"/exec/{exec_id}/start", subject, json={"Detach": detach, "Tty": tty})


async def exec_start_detached(connection: Connection, container: str, argv: Sequence[str]) -> None:
    """Start `argv` (no shell) in a running container, and leave it to itself: nothing of it is seen here.

    Source: Docker Engine API, ContainerExec, ExecStart. Raises: NotFound; Conflict if the container does not run; ApiError, from some
    Engines, for a program that is not there.
    """
    exec_id = await _created(connection, container, {"Cmd": list(argv)})
    await connection.request(_start(exec_id, f"container {container}", detach=True))


class _Output:
    def __init__(self, on_output: OnOutput | None, on_error: OnOutput | None, *, framed: bool) -> None:
        self.stdout: list[bytes] = []
        self.stderr: list[bytes] = []
        self._on_output = on_output
        self._on_error = on_error
        self._framed = framed

    async def read(self, chunks: AsyncIterator[bytes]) -> None:
        if self._framed:
            async for stream, data in demultiplexed(chunks):
                self._take(data, is_error=stream == STDERR)
        else:
            async for data in chunks:
                self._take(data, is_error=False)

    def _take(self, data: bytes, *, is_error: bool) -> None:
        if not self._on_error:
            (self.stderr if is_error else self.stdout).append(data)
        listener = self._on_error if is_error and self._on_error else self._on_output
        if listener:
            listener(data)


async def _resize(connection: Connection, exec_id: str, sizes: Sizes) -> None:
    async for rows, columns in sizes:
        with suppress(ApiError):  # it has ended
            await connection.request(Call("ExecResize", "POST", f"/exec/{exec_id}/resize", params={"h": str(rows), "w": str(columns)}))


async def _feed(upgraded: Upgraded, stdin: AsyncIterator[bytes] | bytes, *, ends: bool) -> None:
    """Send all of `stdin`, unless the far side closes before: whether the program has ended then, or the connection, its output tells."""
    try:
        async for data in pieces(stdin):
            try:
                await upgraded.send(data)
            except ConnectionLost:
                return
        if ends:
            with suppress(ConnectionLost):
                await upgraded.send_eof()
    finally:
        if not isinstance(stdin, bytes):
            await end(stdin)


async def pieces(stdin: AsyncIterator[bytes] | bytes) -> AsyncIterator[bytes]:
    """What a program is to read, piece by piece."""
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
