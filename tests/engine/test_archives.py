"""Contract: files into and out of a container, as tar streams."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path

import anyio
import pytest
from anyio.lowlevel import checkpoint

from kindasync.docker import Engine
from kindasync.docker.archives import get_archive, path_stat, put_archive, read_archive
from kindasync.docker.containers import container_start
from kindasync.docker.execs import container_exec
from kindasync.errors import ApiError, EngineError, NotFound
from tests.engine.lab import Lab, pieces, tar, untar
from tests.engine.scripted import PING, http, scripted

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("runs", [True, False], ids=["running", "created"])
async def test_what_was_put_can_be_got(lab: Lab, runs: bool) -> None:
    """In any state of the container; the directory must be there, those in the archive are made."""
    container = (await lab.running()).id if runs else await lab.created()

    await put_archive(lab.connection, container, "/kind", tar({"top": b"1", "deep/er/file": b"\0\xff"}, directories=("empty",)))

    assert untar(await read_archive(lab.connection, container, "/kind/top")) == {"top": b"1"}
    assert untar(await read_archive(lab.connection, container, "/kind/deep")) == {"deep/er/file": b"\0\xff"}
    assert not (await path_stat(lab.connection, container, "/kind/empty")).is_file


async def test_programs_see_what_was_put(lab: Lab) -> None:
    """Before the start, and while the container runs."""
    container = await lab.created()
    await put_archive(lab.connection, container, "/kind", tar({"before": b"before"}))
    await container_start(lab.connection, container)
    await put_archive(lab.connection, container, "/kind", tar({"after": b"after"}))

    assert (await container_exec(lab.connection, container, ["cat", "/kind/before"])).text == "before"
    assert (await container_exec(lab.connection, container, ["cat", "/kind/after"])).text == "after"


async def test_a_file_is_overwritten(lab: Lab) -> None:
    """By the one in the archive."""
    container = await lab.created()

    await put_archive(lab.connection, container, "/kind", tar({"version": b"v0.0.0\n"}))

    assert untar(await read_archive(lab.connection, container, "/kind/version")) == {"version": b"v0.0.0\n"}


async def test_archives_stream_both_ways(lab: Lab) -> None:
    """A source of pieces goes in, pieces come out; nothing needs the whole."""
    container = await lab.created()
    content = bytes(range(256)) * 16 * 1024

    await put_archive(lab.connection, container, "/kind", pieces(tar({"big": content}), 10_000))
    async with get_archive(lab.connection, container, "/kind/big") as chunks:
        received = [chunk async for chunk in chunks]

    assert untar(b"".join(received)) == {"big": content}
    assert max(map(len, received)) < len(content)


async def test_put_into_a_directory_that_is_not_there(lab: Lab) -> None:
    """NotFound; also while a big archive is still on its way."""
    container = await lab.created()

    with pytest.raises(NotFound, match="/none"):
        await put_archive(lab.connection, container, "/none", tar({"file": b"1"}))
    with pytest.raises(NotFound, match="/none"):
        await put_archive(lab.connection, container, "/none", pieces(tar({"file": b"x" * 8_000_000})))


async def test_put_onto_a_file(lab: Lab) -> None:
    """A file is no directory to unpack in."""
    with pytest.raises(ApiError, match="not a directory"):
        await put_archive(lab.connection, await lab.created(), "/kind/version", tar({"file": b"1"}))


async def test_a_directory_is_never_replaced_by_a_file(lab: Lab) -> None:
    """Nor a file by a directory."""
    container = await lab.created()

    with pytest.raises(ApiError, match="cannot overwrite directory"):
        await put_archive(lab.connection, container, "/", tar({"kind": b"1"}))
    with pytest.raises(ApiError, match="cannot overwrite non-directory"):
        await put_archive(lab.connection, container, "/kind", tar({}, directories=("version",)))

    assert untar(await read_archive(lab.connection, container, "/kind/version")) == {"version": b"v1.37.2\n"}


async def test_put_of_what_is_no_archive(lab: Lab) -> None:
    """The Engine's words for it."""
    with pytest.raises(ApiError, match="archive/tar"):
        await put_archive(lab.connection, await lab.created(), "/kind", b"junk" * 500)


async def test_put_from_a_source_that_breaks(lab: Lab) -> None:
    """Its error is raised as it is: it is not the Engine's."""

    async def broken() -> AsyncIterator[bytes]:
        yield tar({"file": b"1"})[:512]
        raise RuntimeError("the source is broken")

    with pytest.raises(RuntimeError, match="the source is broken"):
        await put_archive(lab.connection, await lab.created(), "/kind", broken())


@pytest.mark.parametrize(
    "answer",
    [
        [http(200, "Content-Length: 0")],
        [http(200, "Content-Length: 0", "Connection: close"), None],
        [http(500, "Content-Length: 2", body=b"no")],
        [None],  # the connection is lost
    ],
)
async def test_a_source_that_is_not_read_to_its_end_is_closed(tmp_path: Path, answer: Sequence[bytes | None]) -> None:
    """An Engine may have had enough before: what the source holds open is closed when the call is through, however it ends."""
    ended: list[str] = []

    async def source() -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(1024 * 1024)
        finally:
            await checkpoint()  # as the closing of a file is: in a worker thread
            ended.append("closed")

    async with scripted(tmp_path / "s", PING, answer, hasty=True), Engine.of(f"unix://{tmp_path}/s").connect() as connection:
        with anyio.fail_after(10), suppress(EngineError):
            await put_archive(connection, "any", "/", source())

        assert ended == ["closed"]


async def test_a_source_is_closed_when_the_call_is_cancelled(tmp_path: Path) -> None:
    """Also while it is waited for, itself or the Engine."""
    ended: list[str] = []

    async def source(*, slow: bool) -> AsyncIterator[bytes]:
        try:
            yield b"x"
            scope.cancel()
            while not slow:
                yield bytes(1024 * 1024)
            await anyio.sleep_forever()
        finally:
            ended.append("closed")

    for slow in (True, False):
        async with scripted(tmp_path / "s", PING, [], hasty=True), Engine.of(f"unix://{tmp_path}/s").connect() as connection:
            with anyio.fail_after(10), anyio.CancelScope() as scope:
                await put_archive(connection, "any", "/", source(slow=slow))

    assert ended == ["closed"] * 2


@pytest.mark.parametrize("runs", [True, False], ids=["running", "created"])
async def test_what_is_put_under_a_tmpfs_is_lost_to_programs(lab: Lab, runs: bool) -> None:
    """The Engine says 200, and writes under the mount (moby#22020)."""
    container = await lab.created(lab.spec(tmpfs={"/run": ""}))
    if runs:
        await container_start(lab.connection, container)

    await put_archive(lab.connection, container, "/run", tar({"lost": b"1"}))

    await container_start(lab.connection, container)
    seen = await container_exec(lab.connection, container, ["cat", "/run/lost"])
    assert (seen.exit_code, seen.stderr) == (1, b"cat: /run/lost: No such file or directory\n")
    assert untar(await read_archive(lab.connection, container, "/run/lost")) == {"lost": b"1"}


async def test_get_of_a_path_that_is_not_there(lab: Lab) -> None:
    """NotFound, with the path."""
    container = await lab.created()

    with pytest.raises(NotFound) as caught:
        await read_archive(lab.connection, container, "/none")

    assert caught.value.subject == f"container {container}: /none"


async def test_a_container_that_is_not_there(lab: Lab) -> None:
    """NotFound, in every direction."""
    with pytest.raises(NotFound):
        await put_archive(lab.connection, lab.name("none"), "/", tar({}))
    with pytest.raises(NotFound):
        await read_archive(lab.connection, lab.name("none"), "/")
    with pytest.raises(NotFound):
        await path_stat(lab.connection, lab.name("none"), "/")


async def test_stat_of_file_directory_and_link(lab: Lab) -> None:
    """Size, mode and kind; a link's target as a path in the container. It is not followed, links above it are."""
    container = await lab.created()
    await put_archive(
        lab.connection, container, "/kind", tar({"dir/file": b"12345"}, links={"to-file": "dir/file", "to-dir": "dir"}, mode=0o640)
    )

    file = await path_stat(lab.connection, container, "/kind/dir/file")
    directory = await path_stat(lab.connection, container, "/kind/dir/")
    link = await path_stat(lab.connection, container, "/kind/to-file")
    through = await path_stat(lab.connection, container, "/kind/to-dir/file")

    assert (file.name, file.size_bytes, file.mode, file.is_file, file.link_target) == ("file", 5, 0o640, True, "")
    assert (directory.name, directory.is_file) == ("dir", False)
    assert (link.name, link.is_file, link.link_target) == ("to-file", False, "/kind/dir/file")
    assert through == file


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("one", "/kind/dir/file"),
        ("two", "/kind/dir/file"),  # by way of "one"
        ("absolute", "/kind/version"),
        ("through", "/kind/dir/file"),  # by way of a directory that is a link
        ("outside", "/kind/version"),  # ".." ends at the root
        ("dangling", "/kind/none"),
    ],
)
async def test_the_target_of_a_link_is_the_end_of_its_chain(lab: Lab, link: str, target: str) -> None:
    """As a path in the container, be it there or not."""
    container = await lab.created()
    links = {
        "one": "dir/file",
        "two": "./one",
        "absolute": "/kind/version",
        "to-dir": "dir",
        "through": "to-dir/file",
        "outside": "../../../kind/version",
        "dangling": "none",
    }
    await put_archive(lab.connection, container, "/kind", tar({"dir/file": b"12345"}, links=links))

    assert (await path_stat(lab.connection, container, f"/kind/{link}")).link_target == target


async def test_stat_of_a_path_that_is_not_there(lab: Lab) -> None:
    """NotFound, with the path."""
    container = await lab.created()

    with pytest.raises(NotFound) as caught:
        await path_stat(lab.connection, container, "/none")

    assert caught.value.subject == f"container {container}: /none"
