"""Relay: something in between us and an Engine: a proxy, with or without TLS, that can lose its connections."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

_CHUNK_BYTES = 64 * 1024


class Relay:
    """Hands on what comes to `upstream`, an Engine's UNIX socket, and back. The end of one direction is handed on alone."""

    def __init__(self, upstream: Path) -> None:
        self._upstream = upstream
        self._connections: dict[asyncio.Task[None], list[asyncio.StreamWriter]] = {}
        self._server: asyncio.Server
        self.taken = 0

    @property
    def port(self) -> int:
        return int(self._server.sockets[0].getsockname()[1])

    def drop(self) -> None:
        """Lose every connection there is."""
        for writers in self._connections.values():
            for writer in writers:
                writer.transport.abort()

    def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.taken += 1
        writers = [writer]
        task = asyncio.ensure_future(self._hand_on(reader, writers))
        self._connections[task] = writers
        task.add_done_callback(self._connections.pop)

    async def _hand_on(self, reader: asyncio.StreamReader, writers: list[asyncio.StreamWriter]) -> None:
        try:
            back, there = await asyncio.open_unix_connection(self._upstream)
            writers.append(there)
            await asyncio.gather(_pump(reader, there), _pump(back, writers[0]))
        finally:
            for writer in writers:
                writer.transport.abort()

    async def close(self) -> None:
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        for _ in range(3):  # the transports close themselves some turns of the loop later, those of TLS last
            await asyncio.sleep(0)


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(_CHUNK_BYTES):
            sink.write(data)
            await sink.drain()
        if sink.can_write_eof():
            sink.write_eof()
        else:
            sink.close()


@asynccontextmanager
async def unix_relay(upstream: Path, path: Path) -> AsyncIterator[Relay]:
    """A relay that listens on a UNIX socket."""
    relay = Relay(upstream)
    relay._server = await asyncio.start_unix_server(relay.take, path)
    try:
        yield relay
    finally:
        await relay.close()


@asynccontextmanager
async def tcp_relay(upstream: Path, tls: ssl.SSLContext | None = None) -> AsyncIterator[Relay]:
    """A relay that listens on a port of loopback."""
    relay = Relay(upstream)
    relay._server = await asyncio.start_server(relay.take, "127.0.0.1", 0, ssl=tls)
    try:
        yield relay
    finally:
        await relay.close()
