"""Files of nodes, as tar streams."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from kindasync.node._files import File, only_file, tar_of, tar_stream

pytestmark = pytest.mark.anyio


def members(tar: bytes) -> list[tuple[str, str, int, bytes]]:
    """(name, type, mode, content) of each member."""
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        return [
            (info.name, "dir" if info.isdir() else "file", info.mode, file.read() if (file := archive.extractfile(info)) else b"")
            for info in archive
        ]


def test_files_and_nothing_else() -> None:
    """Relative to the root; texts are UTF-8. A directory that is named would get another mode: /root would be open to all."""
    tar = tar_of({"/kind/kubeadm.conf": "é", "/kind/manifests/a.yaml": b"a", "/etc/x": File(content=b"secret", mode=0o600)})

    assert members(tar) == [
        ("kind/kubeadm.conf", "file", 0o644, "é".encode()),
        ("kind/manifests/a.yaml", "file", 0o644, b"a"),
        ("etc/x", "file", 0o600, b"secret"),
    ]


def test_files_are_roots() -> None:
    """Whoever puts them there."""
    with tarfile.open(fileobj=io.BytesIO(tar_of({"/kind/x": "x"}))) as archive:
        assert {(info.uid, info.gid) for info in archive} == {(0, 0)}


def test_a_file_in_the_root() -> None:
    """There is no directory to make."""
    assert members(tar_of({"/x": ""})) == [("x", "file", 0o644, b"")]


def test_long_names() -> None:
    """Longer than a tar header has room for."""
    name = "/" + "/".join(["directory" * 5] * 6) + "/é"

    assert members(tar_of({name: "x"}))[-1] == (name[1:], "file", 0o644, b"x")


def test_no_files() -> None:
    """An archive that is empty, and valid."""
    assert members(tar_of({})) == []


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 1024 * 1024, 2 * 1024 * 1024 + 7])
async def test_one_big_file_as_a_stream(tmp_path: Path, size: int) -> None:
    """Read piece by piece, padded to whole records, with two empty ones at the end; progress is told in bytes, up to all of them."""
    source, reported = tmp_path / "images.tar", list[int]()
    source.write_bytes(b"x" * size)

    pieces = [piece async for piece in tar_stream(source, "images.tar", report=reported.append)]

    tar = b"".join(pieces)
    assert members(tar) == [("images.tar", "file", 0o644, b"x" * size)]
    assert len(tar) % 512 == 0
    assert tar.endswith(bytes(1024))
    assert max(map(len, pieces)) <= 1024 * 1024
    assert reported == sorted(reported)
    assert reported[-1:] == ([size] if size else [])


async def test_the_file_is_closed_when_the_streams_end_is_out(tmp_path: Path) -> None:
    """Who has the end of an archive need not ask for more."""
    (tmp_path / "images.tar").write_bytes(b"images")
    stream = tar_stream(tmp_path / "images.tar", "images.tar", report=lambda _: None)

    header, content, end = [await anext(stream) for _ in range(3)]

    assert (len(header), content, len(end)) == (512, b"images", 512 - 6 + 1024)
    assert stream.ag_frame.f_locals["file"].wrapped.closed  # type: ignore[attr-defined]
    await stream.aclose()  # type: ignore[attr-defined]


async def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """It is the operating system's error, before anything is sent."""
    with pytest.raises(FileNotFoundError):
        _ = [piece async for piece in tar_stream(tmp_path / "missing", "x", report=lambda _: None)]


def test_the_only_file_of_an_archive() -> None:
    """The first regular one; directories and links around it do not matter."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        link = tarfile.TarInfo("kind/link")
        link.type, link.linkname = tarfile.SYMTYPE, "version"
        archive.addfile(link)
        version = tarfile.TarInfo("kind/version")
        version.size = 8
        archive.addfile(version, io.BytesIO(b"v1.37.0\n"))

    assert only_file(buffer.getvalue()) == b"v1.37.0\n"
    assert only_file(tar_of({"/kind/version": "v1.37.0\n"})) == b"v1.37.0\n"
    assert only_file(tar_of({})) == b""
