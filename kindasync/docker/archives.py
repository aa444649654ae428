"""Archives: files into and out of a container, as tar streams."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import quote

import anyio

from kindasync.docker._engine import Call, Connection, required
from kindasync.errors import EngineTimeout

# ModeDir, ModeSymlink, ModeDevice, ModeNamedPipe, ModeSocket, ModeCharDevice, ModeIrregular
_GO_TYPE_BITS = 1 << 31 | 1 << 27 | 1 << 26 | 1 << 25 | 1 << 24 | 1 << 21 | 1 << 19


@dataclass(frozen=True, slots=True, kw_only=True)
class PathStat:
    """A path in a container. `mode` as Go's os.FileMode writes it; `link_target` of a symbolic link."""

    name: str
    size_bytes: int
    mode: int
    link_target: str

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file: none of Go's type bits (fs.ModeType) is set."""
        return not self.mode & _GO_TYPE_BITS


async def put_archive(
    connection: Connection, container: str, directory: str, tar: bytes | AsyncIterable[bytes], *, timeout_s: float = 600
) -> None:
    """Unpack a tar stream into a directory of a container, whatever its state.

    Source: Docker Engine API, PutContainerArchive, PUT /containers/{id}/archive.
    The directory must be there. The Engine writes *under* tmpfs mounts and says 200 (moby#22020): never target those of a
    node (/tmp, /run). A directory is never replaced by a file.
    Raises: NotFound for container or directory; ApiError (disk full); EngineTimeout.
    """
    call = Call(
        "PutContainerArchive",
        "PUT",
        _path(container),
        f"container {container}",
        {"path": directory, "noOverwriteDirNonDir": "1"},
        body=tar,
        headers={"Content-Type": "application/x-tar"},
    )
    await connection.request(call, timeout_s=timeout_s)


@asynccontextmanager
async def get_archive(connection: Connection, container: str, path: str) -> AsyncIterator[AsyncIterator[bytes]]:
    """A file or directory of a container, as the pieces of a tar stream; its first member has the path's last component as name.

    Source: Docker Engine API, GetContainerArchive, GET /containers/{id}/archive. Raises: NotFound for container or path; ConnectionLost.
    """
    call = Call("GetContainerArchive", "GET", _path(container), f"container {container}: {path}", {"path": path})
    async with connection.stream(call) as reply:
        yield reply.chunks()


async def read_archive(connection: Connection, container: str, path: str, *, timeout_s: float = 60) -> bytes:
    """As `get_archive`, whole: for small files. Raises also: EngineTimeout."""
    try:
        with anyio.fail_after(timeout_s):
            async with get_archive(connection, container, path) as chunks:
                return b"".join([chunk async for chunk in chunks])
    except TimeoutError as error:
        raise EngineTimeout(
            f"the Docker Engine did not send {path} of container {container}", why=f"not whole within {timeout_s:g} s"
        ) from error


async def path_stat(connection: Connection, container: str, path: str) -> PathStat:
    """What a path in a container is.

    Source: Docker Engine API, ContainerArchiveInfo, HEAD /containers/{id}/archive. Raises: NotFound.
    """
    call = Call("ContainerArchiveInfo", "HEAD", _path(container), f"container {container}: {path}", {"path": path})
    reply = await connection.request(call)
    stat = json.loads(base64.b64decode(required("ContainerArchiveInfo", reply.headers, "X-Docker-Container-Path-Stat")))
    name, size, mode, target = (required("ContainerArchiveInfo", stat, field) for field in ("name", "size", "mode", "linkTarget"))
    return PathStat(name=name, size_bytes=size, mode=mode, link_target=target)


def _path(container: str) -> str:
    return f"/containers/{quote(container, safe='')}/archive"
