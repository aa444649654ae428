"""Upgraded connections: one HTTP request after which the connection carries raw bytes, in both directions.

The Docker Engine does this for exec and attach with stdin. aiohttp offers no public way to it, so the request is written here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import ByteStream, SocketStream

from kindasync.errors import ConnectionLost
from kindasync.transport._endpoint import Endpoint
from kindasync.transport._http import CONNECT_S, Reply, Request, unreachable
from kindasync.transport._tls import context

MAX_HEADER_BYTES = 64 * 1024
_CHUNK_BYTES = 64 * 1024


class Upgraded:
    """The raw bytes after an upgrade."""

    def __init__(self, endpoint: Endpoint, stream: ByteStream, leftover: bytes) -> None:
        self._endpoint = endpoint
        self._stream = stream
        self._leftover = leftover

    @property
    def can_half_close(self) -> bool:
        """Whether `send_eof` ends our direction only. Not over TLS: there the far side must know when it has got all."""
        return isinstance(self._stream, SocketStream)

    async def send(self, data: bytes) -> None:
        """Send all of `data`. Raises: ConnectionLost."""
        try:
            await self._stream.send(data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise _lost(self._endpoint, "it was closed while we were sending") from error

    async def send_eof(self) -> None:
        """Say that nothing more comes, and go on receiving. Only where `can_half_close`."""
        await self._stream.send_eof()

    async def chunks(self) -> AsyncIterator[bytes]:
        """What the far side sends, until it closes."""
        if self._leftover:
            yield self._leftover
            self._leftover = b""
        while True:
            try:
                yield await self._stream.receive(_CHUNK_BYTES)
            except anyio.EndOfStream:
                return
            except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
                raise _lost(self._endpoint, "it was reset") from error


@asynccontextmanager
async def upgrade(endpoint: Endpoint, request: Request) -> AsyncIterator[Upgraded | Reply]:
    """Send `request` with an offer to upgrade. Yields the raw connection after 101 (or 200, as older Engines say), else the Reply that refuses.

    Raises: EngineUnreachable; ConnectionLost. Cancellation, or leaving the context: closes the connection.
    """
    assert isinstance(request.body, bytes)
    async with await _connect(endpoint) as stream:
        lines = [f"{request.method} {request.target} HTTP/1.1", "Host: docker", "Connection: Upgrade", "Upgrade: tcp"]
        lines += [f"{name}: {value}" for name, value in request.headers.items()]
        lines += [f"Content-Length: {len(request.body)}", "", ""]
        await stream.send("\r\n".join(lines).encode() + request.body)
        head, leftover = await _read_head(endpoint, stream)
        status_line, *header_lines = head.decode("latin-1").split("\r\n")
        status = int(status_line.split(" ", 2)[1])
        headers = {name.strip().title(): value.strip() for name, _, value in (line.partition(":") for line in header_lines)}
        if status in (101, 200):
            yield Upgraded(endpoint, stream, leftover)
        else:
            body = leftover
            length = int(headers.get("Content-Length", len(body)))
            while len(body) < length:
                try:
                    body += await stream.receive()
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    break
            yield Reply(status=status, headers=headers, body=body)


async def _connect(endpoint: Endpoint) -> ByteStream:
    try:
        with anyio.fail_after(CONNECT_S):
            if endpoint.socket_path:
                return await anyio.connect_unix(endpoint.socket_path)
            tls = context(endpoint)
            if tls:
                return await anyio.connect_tcp(endpoint.host, endpoint.port, ssl_context=tls, tls_standard_compatible=False)
            return await anyio.connect_tcp(endpoint.host, endpoint.port)
    except OSError as error:  # TimeoutError is one
        raise unreachable(endpoint, error.__cause__ if isinstance(error.__cause__, OSError) else error) from error


async def _read_head(endpoint: Endpoint, stream: ByteStream) -> tuple[bytes, bytes]:
    buffered = b""
    while b"\r\n\r\n" not in buffered:
        try:
            buffered += await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError) as error:
            raise _lost(endpoint, "it was closed before an answer") from error
        if len(buffered) > MAX_HEADER_BYTES:
            raise _lost(endpoint, f"the answer's header is longer than {MAX_HEADER_BYTES} bytes")
    head, _, leftover = buffered.partition(b"\r\n\r\n")
    return head, leftover


def _lost(endpoint: Endpoint, why: str) -> ConnectionLost:
    return ConnectionLost(
        f"the connection to the Docker Engine at {endpoint} was lost", why=why, hint="see whether the Engine is still running"
    )
