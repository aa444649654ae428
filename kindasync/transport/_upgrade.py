"""Upgraded connections: one HTTP request after which the connection carries raw bytes, in both directions.

The Docker Engine does this for exec and attach with stdin. aiohttp offers no public way to it, so the request is written here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import anyio
from anyio.abc import ByteStream

from kindasync.errors import ConnectionLost
from kindasync.transport._endpoint import Endpoint
from kindasync.transport._http import CONNECT_S, Reply, Request, unreachable
from kindasync.transport._tls import context
from kindasync.transport._tls_stream import TlsStream

MAX_HEADER_BYTES = 64 * 1024
ANSWER_S = 60.0
REFUSAL_S = 1.0
_CHUNK_BYTES = 64 * 1024


class Upgraded:
    """The raw bytes after an upgrade."""

    def __init__(self, endpoint: Endpoint, stream: ByteStream, leftover: bytes) -> None:
        self._endpoint = endpoint
        self._stream = stream
        self._leftover = leftover
        self._sent_all = False

    async def send(self, data: bytes) -> None:
        """Send all of `data`. Raises: ConnectionLost."""
        with _translated(self._endpoint, "it was closed while we were sending"):
            await self._stream.send(data)

    async def send_eof(self) -> None:
        """Say that nothing more comes, and go on receiving. Raises: ConnectionLost."""
        with _translated(self._endpoint, "it was closed while we were sending"):
            await self._stream.send_eof()
        self._sent_all = True

    async def chunks(self) -> AsyncIterator[bytes]:
        """What the far side sends, until it closes. Raises: ConnectionLost if the connection ends otherwise."""
        if self._leftover:
            yield self._leftover
            self._leftover = b""
        while True:
            try:
                with _translated(self._endpoint, "it was reset"):
                    chunk = await self._stream.receive(_CHUNK_BYTES)
            except anyio.EndOfStream:
                return
            except ConnectionLost:
                if self._far_side_may_have_enough:
                    return
                raise
            yield chunk

    @property
    def _far_side_may_have_enough(self) -> bool:
        """Whether a reset can mean that the far side closed in order, without having read all that we sent.

        Linux reports that on a UNIX socket, after all that the far side had sent (unix(7)). On TCP a reset may have destroyed some of that.
        """
        return bool(self._endpoint.socket_path) and not self._sent_all


@asynccontextmanager
async def upgrade(endpoint: Endpoint, request: Request) -> AsyncIterator[Upgraded | Reply]:
    """Send `request` with an offer to upgrade. Yields the raw connection after 101 (or 200, as older Engines say), else the Reply that refuses.

    Raises: EngineUnreachable; ConnectionLost. Cancellation, or leaving the context: closes the connection.
    """
    assert isinstance(request.body, bytes)
    async with await _connect(endpoint) as transport:
        stream = await _secured(transport, endpoint)
        lines = [f"{request.method} {request.target} HTTP/1.1", "Host: docker", "Connection: Upgrade", "Upgrade: tcp"]
        lines += [f"{name}: {value}" for name, value in request.headers.items()]
        lines += [f"Content-Length: {len(request.body)}", "", ""]
        with _translated(endpoint, "it was closed before an answer"):
            await stream.send("\r\n".join(lines).encode() + request.body)
        try:
            with anyio.fail_after(ANSWER_S):
                status, headers, leftover = await _read_head(endpoint, stream)
        except TimeoutError as error:
            raise _lost(endpoint, f"no answer within {ANSWER_S:g} s") from error
        if status in (101, 200):
            yield Upgraded(endpoint, stream, leftover)
        else:
            yield Reply(status=status, headers=headers, body=await _read_body(headers, stream, leftover))


async def _connect(endpoint: Endpoint) -> ByteStream:
    with _connecting(endpoint):
        if endpoint.socket_path:
            return await anyio.connect_unix(endpoint.socket_path)
        return await anyio.connect_tcp(endpoint.host, endpoint.port)


async def _secured(transport: ByteStream, endpoint: Endpoint) -> ByteStream:
    """TLS over `transport` where the endpoint wants it."""
    tls = context(endpoint)
    if tls is None:
        return transport
    stream = TlsStream(transport, tls, server_hostname=endpoint.host)
    with _connecting(endpoint):
        await stream.handshake()
    return stream


@contextmanager
def _connecting(endpoint: Endpoint) -> Iterator[None]:
    try:
        with anyio.fail_after(CONNECT_S):
            yield
    except (OSError, anyio.BrokenResourceError) as error:  # TimeoutError and ssl.SSLError are OSErrors
        raise unreachable(endpoint, error.__cause__ if isinstance(error.__cause__, OSError) else error) from error


async def _read_head(endpoint: Endpoint, stream: ByteStream) -> tuple[int, dict[str, str], bytes]:
    """Status, headers, and what came after them."""
    buffered = b""
    while b"\r\n\r\n" not in buffered:
        try:
            with _translated(endpoint, "it was reset before an answer"):
                buffered += await stream.receive()
        except anyio.EndOfStream as error:
            raise _lost(endpoint, "it was closed before an answer") from error
        if len(buffered) > MAX_HEADER_BYTES:
            raise _lost(endpoint, f"the answer's header is longer than {MAX_HEADER_BYTES} bytes")
    head, _, leftover = buffered.partition(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").split("\r\n")
    protocol, _, status = status_line.partition(" ")
    if not protocol.startswith("HTTP/1.") or not status[:3].isdecimal():
        raise _lost(endpoint, f"what answered does not speak HTTP: {status_line[:100]}")
    return int(status[:3]), {name.strip().title(): value.strip() for name, _, value in (line.partition(":") for line in lines)}, leftover


async def _read_body(headers: dict[str, str], stream: ByteStream, leftover: bytes) -> bytes:
    """The body of a refusal, as far as it comes. Without a length: what comes until the connection ends, or nothing more does."""
    body = leftover
    length = headers.get("Content-Length", "")
    wanted = int(length) if length.isdecimal() else MAX_HEADER_BYTES
    with anyio.move_on_after(REFUSAL_S), suppress(anyio.EndOfStream, anyio.BrokenResourceError):
        while len(body) < wanted and not (headers.get("Transfer-Encoding") and body.endswith(b"0\r\n\r\n")):
            body += await stream.receive()
    return _unchunked(body) if headers.get("Transfer-Encoding") else body


def _unchunked(body: bytes) -> bytes:
    """What small chunks hold."""
    result = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        try:
            length = int(size.partition(b";")[0], 16)
        except ValueError:
            break
        result, body = result + rest[:length], rest[length + 2 :]
    return result


@contextmanager
def _translated(endpoint: Endpoint, why: str) -> Iterator[None]:
    try:
        yield
    except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError) as error:
        raise _lost(endpoint, why) from error


def _lost(endpoint: Endpoint, why: str) -> ConnectionLost:
    return ConnectionLost(
        f"the connection to the Docker Engine at {endpoint} was lost", why=why, hint="see whether the Engine is still running"
    )
