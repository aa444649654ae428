"""Contract: what a container printed, and its file system as a whole."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from kindasync.docker.archives import put_archive
from kindasync.docker.containers import (
    ContainerSpec,
    container_create,
    container_export,
    container_inspect,
    container_kill,
    container_list,
    container_logs,
    container_remove,
    container_start,
    container_wait,
)
from kindasync.docker.images import image_load
from kindasync.errors import NotFound
from tests.engine.lab import Lab, tar, untar

pytestmark = pytest.mark.anyio


async def test_logs_of_a_container_with_a_terminal_are_raw(lab: Lab) -> None:
    """One stream, with the ends of lines of a terminal, and what was printed to stderr at its place."""
    argv = lab.bash("echo one; echo two >&2; printf three", stdout=b"one\ntwo\nthree")
    container = await lab.running(lab.spec(*argv, tty=True))
    await container_wait(lab.connection, container.id)

    assert await lab.output(container) == b"one\r\ntwo\r\nthree"


async def test_logs_of_a_container_without_a_terminal_are_unframed(lab: Lab) -> None:
    """Both streams are there, without the frames that they are sent in; between them there is no order."""
    argv = lab.bash("echo one; echo two >&2; printf three", stdout=b"one\nthree", stderr=b"two\n")
    container = await lab.running(lab.spec(*argv))
    await container_wait(lab.connection, container.id)

    output = await lab.output(container)

    assert sorted(output.replace(b"three", b"three\n").splitlines()) == [b"one", b"three", b"two"]


@pytest.mark.parametrize(("tty", "expected"), [(True, b"one\r\ntwo\r\n"), (False, b"one\ntwo\n")], ids=["raw", "framed"])
async def test_logs_of_a_container_from_the_list(lab: Lab, tty: bool, expected: bytes) -> None:
    """The list does not say whether it has a terminal: that is asked."""
    argv = lab.bash("echo one; echo two", stdout=b"one\ntwo\n")
    container = await lab.running(lab.spec(*argv, tty=tty))
    await container_wait(lab.connection, container.id)
    (listed,) = await container_list(lab.connection, labels=lab.labels)

    assert (listed.tty, container.tty) == (None, tty)
    assert await lab.output(listed) == expected


async def test_logs_of_a_container_that_was_never_started_are_empty(lab: Lab) -> None:
    """Also when they are followed: there is nothing to wait for."""
    container = await container_inspect(lab.connection, await lab.created())

    with anyio.fail_after(5):
        assert await lab.output(container, follow=True) == b""


@pytest.mark.parametrize("tty", [True, False], ids=["raw", "framed"])
async def test_followed_logs_come_as_they_are_printed_and_end_with_the_container(lab: Lab, tty: bool) -> None:
    """From the beginning, line by line; its end is theirs."""
    argv = lab.bash("echo begun; sleep infinity", stdout=b"begun\n", hangs=True)
    container = await lab.running(lab.spec(*argv, tty=tty))

    with anyio.fail_after(10):
        async with container_logs(lab.connection, container, follow=True) as chunks:
            first = await anext(chunks)
            await container_kill(lab.connection, container.id, "SIGKILL")
            rest = [chunk async for chunk in chunks]

    assert (first.rstrip(), rest) == (b"begun", [])


async def test_followed_logs_end_when_the_container_is_removed(lab: Lab) -> None:
    """Nobody waits for a container that is gone."""
    container = await lab.running(lab.spec(*lab.bash("echo begun; sleep infinity", stdout=b"begun\n", hangs=True)))

    with anyio.fail_after(10):
        async with container_logs(lab.connection, container, follow=True) as chunks:
            await anext(chunks)
            await container_remove(lab.connection, container.id)
            assert [chunk async for chunk in chunks] == []


async def test_logs_go_on_over_a_second_start(lab: Lab) -> None:
    """They are the container's, not those of one run."""
    container = await lab.running(lab.spec("echo", "again"))
    await container_wait(lab.connection, container.id)
    await container_start(lab.connection, container.id)
    await container_wait(lab.connection, container.id)

    assert await lab.output(container) == b"again\nagain\n"


@pytest.mark.parametrize(
    ("tail", "expected"), [("2", b"two\r\nthree\r\n"), ("0", b""), ("9", b"one\r\ntwo\r\nthree\r\n"), ("all", b"one\r\ntwo\r\nthree\r\n")]
)
async def test_tail_is_the_number_of_the_last_lines(lab: Lab, tail: str, expected: bytes) -> None:
    """All of them where there are fewer."""
    argv = lab.bash("echo one; echo two; echo three", stdout=b"one\ntwo\nthree\n")
    container = await lab.running(lab.spec(*argv, tty=True))
    await container_wait(lab.connection, container.id)

    assert await lab.output(container, tail=tail) == expected


async def test_logs_of_a_container_that_is_gone(lab: Lab) -> None:
    """NotFound, with its name."""
    container = await container_inspect(lab.connection, await lab.created())
    await container_remove(lab.connection, container.id)

    with pytest.raises(NotFound) as caught:
        await lab.output(container)

    assert (caught.value.operation, caught.value.subject) == ("ContainerLogs", f"container {lab.name('a')}")


async def test_big_output_is_whole(lab: Lab) -> None:
    """However many pieces it comes in."""
    argv = lab.bash("head -c 2000000 /dev/zero | tr '\\0' x", stdout=b"x" * 2_000_000)
    container = await lab.running(lab.spec(*argv))
    await container_wait(lab.connection, container.id)

    output = await lab.output(container)

    assert len(output) == 2_000_000
    assert set(output) == {ord("x")}


async def test_export_is_the_file_system_of_image_and_container(lab: Lab, tmp_path: Path) -> None:
    """As a tar stream, of a container in any state."""
    archive = lab.archive(tmp_path, "image", files={"data/of-image": b"image"})
    await image_load(lab.connection, aiter(archive))
    container = await container_create(lab.connection, lab.name("a"), ContainerSpec(image=archive.references[0], labels=lab.labels))
    await put_archive(lab.connection, container, "/data", tar({"of-container": b"container"}))

    async with container_export(lab.connection, container) as chunks:
        files = untar(b"".join([chunk async for chunk in chunks]))

    assert (files["data/of-image"], files["data/of-container"]) == (b"image", b"container")


async def test_export_of_a_container_that_is_gone(lab: Lab) -> None:
    """NotFound."""
    with pytest.raises(NotFound):
        async with container_export(lab.connection, lab.name("none")):
            pass
