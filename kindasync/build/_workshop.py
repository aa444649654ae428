"""Workshop: where build steps run: on this machine, or in a container of a given image."""

from __future__ import annotations

import io
import os
import signal
import tarfile
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import PIPE, STDOUT
from typing import Protocol

import anyio
import anyio.to_thread
from anyio.abc import Process

from kindasync.build._oci import LayerWriter, names_under
from kindasync.docker import Connection
from kindasync.docker._client_config import stored_auth, stored_proxies
from kindasync.docker.archives import get_archive, put_archive
from kindasync.docker.containers import ContainerSpec, container_export, container_start, container_temporary
from kindasync.docker.execs import container_exec
from kindasync.docker.images import ImageProgress, image_create, image_inspect
from kindasync.errors import BuildFailed, NotFound
from kindasync.proxy import node_env, proxies

OnLine = Callable[[str], None]
TAIL_LINES = 30
CLEANUP_S = 60
# What tells Go how to reach its registries; a container gets it from us.
_GO_VARIABLES = ("GOPROXY", "GOSUMDB", "GONOSUMDB", "GOPRIVATE")


class Workshop(Protocol):
    """Runs programs that make files."""

    async def run(self, step: str, argv: Sequence[str], *, env: Mapping[str, str], on_line: OnLine) -> None:
        """Run `argv` to its end; `{sources}` and `{out}` in it are this workshop's directories. Raises: BuildFailed."""

    async def take(self, out: Path) -> None:
        """Move what was made in `{out}` to a directory of this machine."""


class Lines:
    """Cuts output into lines, and keeps the last ones."""

    def __init__(self, on_line: OnLine) -> None:
        self._on_line = on_line
        self._rest = b""
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)

    def feed(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            text = line.decode(errors="replace").rstrip()
            if text:
                self._tail.append(text)
                self._on_line(text)

    def tail(self) -> str:
        self.feed(b"\n")
        return "\n".join(self._tail)


class Here:
    """This machine. `scratch` is where `{out}` is made."""

    def __init__(self, sources: Path, scratch: Path) -> None:
        self._sources = sources
        self._out = scratch

    async def run(self, step: str, argv: Sequence[str], *, env: Mapping[str, str], on_line: OnLine) -> None:
        self._out.mkdir(parents=True, exist_ok=True)
        command = [part.format(sources=self._sources, out=self._out) for part in argv]
        lines = Lines(on_line)
        try:
            # A session of its own: Ctrl-C reaches us alone, and ending its group ends all that it started.
            process = await anyio.open_process(command, env={**os.environ, **env}, stdout=PIPE, stderr=STDOUT, start_new_session=True)
        except FileNotFoundError as error:
            hint = f"install {command[0]}, or build in containers: --base-image and --go-image"
            raise BuildFailed(step, f"the program {command[0]} is not there", "", hint=hint) from error
        try:
            assert process.stdout is not None
            async for data in process.stdout:
                lines.feed(data)
            await process.wait()
        finally:
            with anyio.CancelScope(shield=True):
                await _end_group(process)
        if process.returncode:
            raise BuildFailed(step, f"{command[0]} ended with exit code {process.returncode}", lines.tail())

    async def take(self, out: Path) -> None:
        os.replace(self._out, out)


async def _end_group(process: Process) -> None:
    """End what is left of a process's group: kindly, then not."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is None:
            os.killpg(process.pid, number)
            with anyio.move_on_after(CLEANUP_S / 4):
                await process.wait()
    await process.aclose()


class InContainer:
    """A running container: the sources are put into it, what it made is taken out."""

    def __init__(self, connection: Connection, container: str) -> None:
        self._connection = connection
        self._container = container

    @classmethod
    @asynccontextmanager
    async def opened(
        cls, connection: Connection, image: str, sources: Path, *, labels: Mapping[str, str], on_line: OnLine
    ) -> AsyncIterator[InContainer]:
        """A container of `image`, pulled if it is not there, for as long as the context is open. The image needs a shell, no entrypoint."""
        await pull_missing(connection, image, on_line=on_line)
        env = container_env(os.environ, stored_proxies(connection.engine.url))
        spec = ContainerSpec(
            image=image,
            entrypoint=("sleep", "infinity"),
            cmd=(),
            labels=labels,
            env=env,
            init=False,  # Docker's init would be a file of the root that is taken
            network_mode="host",  # builds need nothing but to reach registries, as this machine does
        )
        async with container_temporary(connection, spec) as container:
            await container_start(connection, container, subject=f"a container of {image}")
            await put_archive(connection, container, "/", await anyio.to_thread.run_sync(_tar_of, sources))
            yield cls(connection, container)

    async def run(self, step: str, argv: Sequence[str], *, env: Mapping[str, str], on_line: OnLine) -> None:
        command = [part.format(sources="/kindasync/sources", out="/kindasync/out") for part in argv]
        lines = Lines(on_line)
        result = await container_exec(self._connection, self._container, command, env=env, on_output=lines.feed)
        if result.exit_code:
            raise BuildFailed(step, f"{command[0]} ended with exit code {result.exit_code}", lines.tail())

    async def take_root(self, out: Path) -> None:
        """The container's own file system as a tar file, without what it has only as a container."""
        exported = out.with_name(out.name + ".export")
        async with container_export(self._connection, self._container) as chunks:
            await write_pieces(exported, chunks)
        await anyio.to_thread.run_sync(_filter_root, exported, out)

    async def take(self, out: Path) -> None:
        archive = out.with_name(out.name + ".tar")
        async with get_archive(self._connection, self._container, "/kindasync/out") as chunks:
            await write_pieces(archive, chunks)
        await anyio.to_thread.run_sync(_unpack, archive, out)


def container_env(env: Mapping[str, str], stored: Mapping[str, str]) -> dict[str, str]:
    """How programs in a container reach registries, as this machine's do: Go's own settings, and the proxies that count."""
    go = {name: env[name] for name in _GO_VARIABLES if env.get(name)}
    return go | node_env(proxies(env, stored), subnets=(), nodes=())


async def pull_missing(connection: Connection, image: str, *, on_line: OnLine) -> None:
    """Pull an image, unless it is there. Raises: ApiError or StreamFailed if it cannot be pulled."""

    def report(progress: ImageProgress) -> None:
        if progress.current is None:  # not of each piece
            on_line(f"{progress.layer}: {progress.status}" if progress.layer else progress.status)

    try:
        await image_inspect(connection, image)
    except NotFound:
        on_line(f"pulling {image}")
        await image_create(connection, image, auth=stored_auth(image), report=report)


async def write_pieces(path: Path, pieces: AsyncIterator[bytes]) -> None:
    """Write a file from what arrives."""
    async with await anyio.open_file(path, "wb") as file:
        async for piece in pieces:
            await file.write(piece)


def _filter_root(exported: Path, out: Path) -> None:
    dropped = names_under(("kindasync", "proc", "sys", "dev", ".dockerenv", "etc/hostname", "etc/hosts", "etc/resolv.conf", "etc/mtab"))
    with LayerWriter(out) as layer:
        layer.add_tar(exported, keep=lambda name: not dropped(name))
        for directory in ("proc", "sys", "dev"):
            layer.add_directory(directory)
    exported.unlink()


def _tar_of(sources: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in ("kindasync", "kindasync/out"):
            info = tarfile.TarInfo(name)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(info)
        tar.add(sources, "kindasync/sources")
    return buffer.getvalue()


def _unpack(archive: Path, out: Path) -> None:
    """The members of `out/…` as `out`. What a container gives is not trusted: nothing is written outside."""
    with tarfile.open(archive) as tar:
        for member in tar:
            member.name = member.name.removeprefix("out").lstrip("/")
            if member.name:
                tar.extract(member, out, filter="data")
    archive.unlink()
