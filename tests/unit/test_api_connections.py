"""Connections to the API server: none outlives its session, and one that is lost makes no noise."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import struct

import aiohttp
import pytest

from kindasync.cluster._api import _Connector

pytestmark = pytest.mark.anyio
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@pytest.mark.parametrize("resets", [False, True], ids=["kept", "reset"])
async def test_a_connection_that_was_used(resets: bool) -> None:
    """It is closed with the session; if the other side was faster, nobody has to look why."""
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    may_reset, ended = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ANSWER)
        await writer.drain()
        if resets:
            await may_reset.wait()
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            assert await reader.read() == b""
        writer.close()
        ended.set()

    connector = _Connector(ssl.create_default_context())
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server, aiohttp.ClientSession(connector=connector) as http:
        async with http.get("http://{}:{}".format(*server.sockets[0].getsockname())) as response:
            assert await response.json(content_type=None) == {}
        if resets:
            (closed,) = connector._open
            may_reset.set()
            await asyncio.wait([closed])
            del closed
        await connector.end()
        await ended.wait()

    gc.collect()
    assert told == []
    assert connector._open == {}
