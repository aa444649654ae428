"""Store: containerd's store with the component images unpacked, made by a containerd in a container of the base image."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import anyio

from kindasync.build._oci import LayerWriter
from kindasync.build._workshop import Lines, OnLine, write_pieces
from kindasync.docker import Connection
from kindasync.docker.archives import get_archive, put_archive
from kindasync.docker.containers import (
    ContainerSpec,
    container_inspect,
    container_logs,
    container_start,
    container_temporary,
    container_wait,
)
from kindasync.errors import BuildFailed

STORE = "/var/lib/containerd"


async def make_store(connection: Connection, base: str, script: Path, components: Path, out: Path, *, on_line: OnLine) -> None:
    """Write the tar of a filled /var/lib/containerd to `out`. Raises: BuildFailed; EngineError."""
    spec = ContainerSpec(
        image=base,
        entrypoint=("/kindasync/store", "/kindasync/components.tar"),
        cmd=(),
        privileged=True,
        security_opt=("seccomp=unconfined", "apparmor=unconfined"),
        cgroupns_mode="private",
        tmpfs={"/run": "", "/tmp": ""},
        volumes=(STORE,),  # overlay cannot lie on overlay: unpacking needs a real file system
        labels={"kindasync.build": "store"},
    )
    async with container_temporary(connection, spec) as container:
        payload = out.with_name(out.name + ".payload")
        with LayerWriter(payload) as files:
            files.add_file("kindasync/store", script, mode=0o755)
            files.add_file("kindasync/components.tar", components)
        await put_archive(connection, container, "/", pieces(payload))
        payload.unlink()
        await container_start(connection, container, subject="the container of the store step")
        exit_code = await container_wait(connection, container)
        lines = Lines(on_line)
        async with container_logs(connection, await container_inspect(connection, container)) as chunks:
            async for chunk in chunks:
                lines.feed(chunk)
        if exit_code:
            raise BuildFailed("unpack the component images", f"containerd's container ended with exit code {exit_code}", lines.tail())
        async with get_archive(connection, container, STORE) as chunks:
            await write_pieces(out, chunks)


async def pieces(path: Path) -> AsyncIterator[bytes]:
    """A file, in pieces."""
    async with await anyio.open_file(path, "rb") as file:
        while piece := await file.read(1024 * 1024):
            yield piece
