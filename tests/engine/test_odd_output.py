"""Odd output: what programs print arrives in pieces of any size, or stops within a frame, because of a closed connection or without a word."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import pytest

from kindasync.docker import Connection
from kindasync.docker.containers import Container, container_inspect, container_logs
from kindasync.docker.execs import OnOutput, container_exec
from kindasync.errors import ConnectionLost, EngineError, StreamFailed
from kindasync.testing import FakeEngine
from tests.engine.lab import Lab

pytestmark = pytest.mark.anyio

PRINTED = b"one\ntwo\n"
WITHIN_HEADER, WITHIN_DATA = 5, 8 + 3  # bytes

Read = Callable[[Connection, Container, OnOutput], Awaitable[None]]


@pytest.fixture
def lab(fake: FakeEngine, connection: Connection) -> Lab:
    """Only a fake does this when it is asked to."""
    return Lab(connection, fake, "docker-26")


@pytest.fixture
async def container(lab: Lab) -> Container:
    """One that runs, and has printed PRINTED, as does `cat /printed` in it."""
    container = await lab.running(lab.spec(*lab.bash("printf 'one\\ntwo\\n'; sleep infinity", stdout=PRINTED, hangs=True)))
    assert lab.fake
    lab.fake.containers[container.name].files["/printed"] = PRINTED
    return container


async def read_exec(connection: Connection, container: Container, take: OnOutput) -> None:
    await container_exec(connection, container.id, ["cat", "/printed"], on_output=take)


async def read_upgraded_exec(connection: Connection, container: Container, take: OnOutput) -> None:
    await container_exec(connection, container.id, ["cat", "/printed"], stdin=b"", on_output=take)


async def read_log(connection: Connection, container: Container, take: OnOutput) -> None:
    async with container_logs(connection, container) as chunks:
        async for chunk in chunks:
            take(chunk)


async def follow_log(connection: Connection, container: Container, take: OnOutput) -> None:
    async with container_logs(connection, container, follow=True) as chunks:
        async for chunk in chunks:
            take(chunk)


OPERATIONS: dict[Read, str] = {
    read_exec: "ExecStart",
    read_upgraded_exec: "ExecStart",
    read_log: "ContainerLogs",
    follow_log: "ContainerLogs",
}


@pytest.mark.parametrize("chunk_bytes", [1, 3, 7, 8, 9])
@pytest.mark.parametrize("read", [read_exec, read_upgraded_exec, read_log])
async def test_borders_of_pieces_mean_nothing(fake: FakeEngine, lab: Lab, container: Container, read: Read, chunk_bytes: int) -> None:
    """Those of all answers: within a header, between frames, within the JSON that says how the program ended."""
    fake.chunk_bytes = chunk_bytes
    seen: list[bytes] = []

    await read(lab.connection, await container_inspect(lab.connection, container.id), seen.append)

    assert b"".join(seen) == PRINTED


@pytest.mark.parametrize("after_bytes", [WITHIN_HEADER, WITHIN_DATA])
@pytest.mark.parametrize(
    ("read", "kind"),
    [(read_exec, ConnectionLost), (read_upgraded_exec, StreamFailed), (read_log, ConnectionLost), (follow_log, ConnectionLost)],
)
async def test_a_connection_that_is_closed_within_a_frame(
    fake: FakeEngine, lab: Lab, container: Container, read: Read, kind: type[EngineError], after_bytes: int
) -> None:
    """Is no end of the output, but an error, whatever came before."""
    fake.cut(OPERATIONS[read], after_bytes=after_bytes)
    seen: list[bytes] = []

    with anyio.fail_after(10), pytest.raises(kind) as raised:
        await read(lab.connection, container, seen.append)

    assert PRINTED[: max(after_bytes - 8, 0)].startswith(b"".join(seen))
    assert "Engine is still running" in raised.value.hint


@pytest.mark.parametrize("read", [read_exec, read_upgraded_exec, read_log, follow_log])
async def test_a_connection_that_goes_silent_within_a_frame(fake: FakeEngine, lab: Lab, container: Container, read: Read) -> None:
    """Is waited for as long as the caller wants; what came is handed on before. Then the connection is closed, and others work."""
    fake.hang(OPERATIONS[read], after_bytes=WITHIN_DATA)
    seen: list[bytes] = []

    with anyio.fail_after(10), anyio.CancelScope() as scope:

        def take(data: bytes) -> None:
            seen.append(data)
            scope.cancel()

        await read(lab.connection, container, take)

    assert scope.cancelled_caught
    assert seen == [b"one"]
    await anyio.to_thread.run_sync(fake.wait_idle)
    assert await lab.output(container) == PRINTED
