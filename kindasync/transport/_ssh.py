"""ssh endpoints: the system's ssh carries each connection to `docker system dial-stdio` on the Engine's host, as the docker client has it."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream, Process

from kindasync._hosted import hosted
from kindasync.errors import ConnectionLost, EngineUnreachable, one_error
from kindasync.transport._endpoint import Endpoint

CONNECT_S = 30
END_S = 5.0
_TOLD_BYTES = 4096
_PIECE = 64 * 1024


@asynccontextmanager
async def dialled(endpoint: Endpoint) -> AsyncIterator[Endpoint]:
    """The endpoint, if it is an ssh one with a socket of this machine behind which it is; else as it is.

    One ssh keeps the line open, which all others use: they need no handshake of their own. All end with the context.
    Raises: EngineUnreachable with what ssh said, instead of a connection that was lost before anything came over it.
    """
    if not endpoint.ssh:
        yield endpoint
        return
    line = _Line(endpoint)
    async with hosted(line.serve) as path:
        try:
            yield replace(endpoint, socket_path=path)
        except ConnectionLost as error:
            if line.refusal:
                raise EngineUnreachable(
                    f"cannot connect to the Docker Engine at {endpoint}",
                    why=line.refusal,
                    hint=f"see that this works, without a question: docker --host {endpoint.url} version",
                ) from error
            raise


def dial_argv(endpoint: Endpoint, directory: str) -> list[str]:
    """What carries one connection."""
    socket = ["--host", shlex.quote(f"unix://{endpoint.remote_path}")] if endpoint.remote_path else []  # for the shell at the far side
    return [*_ssh(endpoint, directory), "--", endpoint.host, "docker", *socket, "system", "dial-stdio"]


def hold_argv(endpoint: Endpoint, directory: str) -> list[str]:
    """What keeps the line open for the others."""
    return [*_ssh(endpoint, directory), "-M", "-N", "--", endpoint.host]


def _ssh(endpoint: Endpoint, directory: str) -> list[str]:
    user = ["-l", endpoint.user] if endpoint.user else []
    port = ["-p", str(endpoint.port)] if endpoint.port else []
    return ["ssh", "-T", "-o", f"ConnectTimeout={CONNECT_S}", "-o", "BatchMode=yes", "-S", f"{directory}/line", *user, *port]


class _Line:
    """The ssh programs of one connection to an Engine.

    `refusal`: what one said that ended before anything had come over it.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self.refusal = ""

    async def serve(self, ready: Callable[[Path], None]) -> None:
        """Carry connections to a socket, whose path is told, until cancelled."""
        with TemporaryDirectory(prefix="kindasync-ssh-") as directory, socket.socket(socket.AF_UNIX) as listener, one_error():
            path = Path(directory) / "docker.sock"
            listener.bind(str(path))
            listener.listen()
            listener.setblocking(False)
            ready(path)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.hold, directory)
                while True:
                    client, _ = await asyncio.get_running_loop().sock_accept(listener)
                    tasks.start_soon(self.carry, directory, client)

    async def hold(self, directory: str) -> None:
        """Keep the line open; where that is not to be, the others do without."""
        with suppress(OSError):
            async with _running(await _start(hold_argv(self._endpoint, directory), subprocess.DEVNULL)) as process:
                await process.wait()

    async def carry(self, directory: str, client: socket.socket) -> None:
        """Carry one connection, in both directions, until the far side ends it."""
        with client:
            try:
                process = await _start(dial_argv(self._endpoint, directory), subprocess.PIPE)
            except OSError as error:
                self.refusal = f"ssh cannot be started: {error.strerror or error}"
                return
            assert process.stdin
            assert process.stdout
            assert process.stderr
            told = _Told()
            async with _running(process), anyio.create_task_group() as tasks:
                tasks.start_soon(_send_on, client, process.stdin)
                tasks.start_soon(told.read, process.stderr)
                came = await _hand_back(process.stdout, client)
                if await process.wait() and not came:
                    await told.all.wait()
                    self.refusal = told.text or f"ssh ended with exit code {process.returncode}"
                tasks.cancel_scope.cancel()


class _Told:
    """What a program says on stderr: the end of it."""

    def __init__(self) -> None:
        self.text = ""
        self.all = anyio.Event()

    async def read(self, stream: ByteReceiveStream) -> None:
        data = b""
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            while True:
                data = (data + await stream.receive())[-_TOLD_BYTES:]
                self.text = data.decode(errors="replace").strip()
        self.all.set()


async def _send_on(client: socket.socket, stdin: ByteSendStream) -> None:
    """What the client sends, then that nothing more comes."""
    loop = asyncio.get_running_loop()
    with suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
        while data := await loop.sock_recv(client, _PIECE):
            await stdin.send(data)
    await stdin.aclose()


async def _hand_back(stdout: ByteReceiveStream, client: socket.socket) -> int:
    """What the far side sends, then that nothing more comes; how many bytes came."""
    loop = asyncio.get_running_loop()
    came = 0
    with suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
        async for data in stdout:
            came += len(data)
            await loop.sock_sendall(client, data)
        client.shutdown(socket.SHUT_WR)
    return came


async def _start(argv: Sequence[str], streams: int) -> Process:
    """In a session of its own: a Ctrl-C is for us alone, and what cleans up afterwards needs its connections. Cancellation: takes effect afterwards."""
    with anyio.CancelScope(shield=True):
        process = await anyio.open_process(argv, stdin=streams, stdout=streams, stderr=streams, start_new_session=True)
    return process  # noqa: RET504 (a scope may swallow its body's cancellation, mypy says)


@asynccontextmanager
async def _running(process: Process) -> AsyncIterator[Process]:
    """A program that ends with the context."""
    try:
        yield process
    finally:
        with anyio.move_on_after(END_S, shield=True):
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.kill(
                        process.pid, signal.SIGTERM
                    )  # not terminate(), which asks whether it has ended, and so takes asyncio's answer away
            await process.aclose()
