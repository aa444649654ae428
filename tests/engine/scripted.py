"""Scripted: something on a socket that sends given bytes, for what neither the fake nor a real Engine says when it is asked to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from anyio.lowlevel import checkpoint

from kindasync.testing._protocol import Head, read_body, read_head

PACKET_BORDER = 10  # turns of the loop after which the other side, in the same loop, has read what was sent


class Scripted:
    """Answers each request, on a connection of its own, with the next of `answers`, and leaves the connection open.

    An answer is a sequence of pieces, each of which arrives alone; None closes the connection. `hasty`: it does not wait for
    the requests' bodies.
    """

    def __init__(self, answers: Sequence[Sequence[bytes | None]], *, hasty: bool = False) -> None:
        self._answers = list(answers)
        self._hasty = hasty
        self._tasks: set[asyncio.Task[None]] = set()
        self.heads: list[Head] = []

    def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._answer(reader, writer))
        self._tasks.add(task)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await read_head(reader)
            assert head
            if not self._hasty:
                await read_body(reader, head.headers)
            self.heads.append(head)
            for piece in self._answers.pop(0):
                if piece is None:
                    return
                writer.write(piece)
                for _ in range(PACKET_BORDER):
                    await checkpoint()
            await reader.read()  # until the client gives up
        finally:
            writer.close()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        for failure in results:
            if isinstance(failure, Exception):
                raise failure


@asynccontextmanager
async def scripted(socket: Path, *answers: Sequence[bytes | None], hasty: bool = False) -> AsyncIterator[Scripted]:
    """It listens on a UNIX socket while the context is open."""
    script = Scripted(answers, hasty=hasty)
    server = await asyncio.start_unix_server(script.take, socket)
    try:
        yield script
    finally:
        server.close()
        with suppress(FileNotFoundError):
            socket.unlink()
        await script.close()
        for _ in range(3):  # the transports close themselves some turns of the loop later
            await asyncio.sleep(0)


def http(status: int, *headers: str, body: bytes = b"") -> bytes:
    """An answer, or the beginning of one; no header but these."""
    return "\r\n".join([f"HTTP/1.1 {status} Status", *headers, "", ""]).encode() + body


PING = [http(200, "Api-Version: 1.45", "Content-Length: 2", body=b"OK"), None]
"""The answer to the first request of every connection."""
