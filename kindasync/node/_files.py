"""Files of a node, as tar streams."""

from __future__ import annotations

import io
import tarfile
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import anyio

_BLOCK_BYTES = 1024 * 1024
_RECORD_BYTES = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file to be put into a node, owned by root. Shape: `content` in bytes; `mode` its permissions, such as 0o600."""

    content: bytes
    mode: int = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A symbolic link to be put into a node."""

    target: str


def tar_of(files: Mapping[str, File | Link | bytes | str]) -> bytes:
    """One tar stream, relative to "/", of files by absolute path.

    It names no directories: the Engine makes those that are missing, and leaves alone the mode of those that are there.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, value in files.items():
            info = tarfile.TarInfo(path.lstrip("/"))
            if isinstance(value, Link):
                info.type, info.linkname = tarfile.SYMTYPE, value.target
                tar.addfile(info)
                continue
            file = value if isinstance(value, File) else File(content=value.encode() if isinstance(value, str) else value)
            info.size, info.mode = len(file.content), file.mode
            tar.addfile(info, io.BytesIO(file.content))
    return buffer.getvalue()


async def tar_stream(source: Path, name: str, *, report: Callable[[int], None]) -> AsyncIterator[bytes]:
    """One big file as a tar stream with this one member, read as it is sent; `report` gets the bytes that were read so far."""
    async with await anyio.open_file(source, "rb") as file:
        info = tarfile.TarInfo(name)
        info.size, info.mode = await file.seek(0, io.SEEK_END), 0o644
        await file.seek(0)
        yield info.tobuf(tarfile.PAX_FORMAT)
        sent = 0
        while block := await file.read(_BLOCK_BYTES):
            yield block
            sent += len(block)
            report(sent)
    # The Engine answers as soon as it has seen the end, and nobody reads on here then: the file has to be closed by now.
    yield bytes(-sent % _RECORD_BYTES + 2 * _RECORD_BYTES)


def only_file(tar: bytes) -> bytes:
    """The content of the first regular file of a small archive."""
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isreg() else None
            if file:
                return file.read()
    return b""
