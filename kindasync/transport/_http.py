"""HTTP to one endpoint: requests with an answer, and streams, on aiohttp."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlencode

import aiohttp
import anyio
from yarl import URL

from kindasync.errors import ConnectionLost, EngineMissing, EnginePermissionDenied, EngineUnreachable
from kindasync.transport._endpoint import Endpoint
from kindasync.transport._source import end
from kindasync.transport._tls import context

CONNECT_S = 10.0
KEPT_S = 2.0  # less than any proxy between keeps a connection that is idle
UNARY_CONNECTIONS = 32
READ_AHEAD_BYTES = 1024 * 1024  # of what is read: an image comes in pieces of about this size, and each costs time here

Body = bytes | AsyncIterable[bytes]
Params = Mapping[str, str | None] | Sequence[tuple[str, str | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request. `path` is percent-encoded; `params` without a value (None) are left out."""

    method: str
    path: str
    params: Params = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None

    @property
    def target(self) -> str:
        """Path and query, as in the request line."""
        pairs = self.params.items() if isinstance(self.params, Mapping) else self.params
        query = urlencode([(name, value) for name, value in pairs if value is not None])
        return f"{self.path}?{query}" if query else self.path


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A complete answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _Source:
    """A request's body that comes from somewhere. `error`: how that failed; aiohttp would blame the connection for it."""

    def __init__(self, pieces: AsyncIterable[bytes]) -> None:
        self._pieces = aiter(pieces)
        self.error: Exception | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._pieces:
                yield piece
        except Exception as error:
            self.error = error
            raise

    async def aclose(self) -> None:
        await end(self._pieces)


class StreamedReply:
    """An answer whose body is still arriving."""

    def __init__(self, endpoint: Endpoint, response: aiohttp.ClientResponse, sent: bytes | _Source | None = None) -> None:
        self._endpoint = endpoint
        self._response = response
        self._sent = sent
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives, in pieces of any size.

        Raises: ConnectionLost if the connection ends before the body does; what the source of the request's body raises.
        """
        with _translated(self._endpoint, self._sent):
            async for chunk in self._response.content.iter_any():
                yield chunk

    async def read(self) -> bytes:
        """The rest of the body. Raises: as `chunks`."""
        with _translated(self._endpoint, self._sent):
            return await self._response.read()


class Http:
    """Requests to one endpoint. Two sessions: one for answers, bounded; one for streams, which stay open.

    Neither has a total timeout: deadlines are the caller's. A connection is used once: making one to a local socket
    costs little, and a request on a connection that the Engine has just given up could be lost. But one of TLS costs more,
    and to end it politely takes until the Engine has said goodbye, too: those are kept for KEPT_S, and dropped at the end.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._base = f"{'https' if endpoint.tls else 'http'}://{endpoint.url.removeprefix('tcp://')}"
        if endpoint.socket_path:
            self._base = "http://docker"
        self._unary = self._session(UNARY_CONNECTIONS)
        self._streams = self._session(0)

    def _session(self, limit: int) -> aiohttp.ClientSession:
        endpoint = self.endpoint
        connector: aiohttp.BaseConnector
        if endpoint.socket_path:
            connector = aiohttp.UnixConnector(str(endpoint.socket_path), limit=limit, force_close=True)
        else:
            tls = context(endpoint)
            reuse: dict[str, Any] = {"keepalive_timeout": KEPT_S} if tls else {"force_close": True}
            connector = aiohttp.TCPConnector(ssl=tls or False, limit=limit, **reuse)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S)
        return aiohttp.ClientSession(
            connector=connector, timeout=timeout, trust_env=False, auto_decompress=False, read_bufsize=READ_AHEAD_BYTES
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        cancelled = None
        with anyio.CancelScope(shield=True):
            for session in (self._unary, self._streams):
                while not session.closed:
                    try:
                        await session.close()
                    except asyncio.CancelledError as error:  # asyncio's own, which no shield keeps out
                        cancelled = error
        if cancelled:
            raise cancelled

    async def request(self, request: Request) -> Reply:
        """Send `request` and read the whole answer, whatever its status.

        Raises: EngineUnreachable (EngineMissing, EnginePermissionDenied); ConnectionLost; what the source of the body raises.
        Cancellation: closes the connection; the Engine may or may not have acted.
        """
        async with _body_of(request) as body:
            with _translated(self.endpoint, body):
                session = self._streams if isinstance(body, _Source) else self._unary  # which would be held for as long as the source takes
                async with self._send(session, request, body) as response:
                    try:
                        return Reply(status=response.status, headers=response.headers, body=await response.read())
                    except BaseException:
                        drop(response)
                        raise

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[StreamedReply]:
        """Send `request`; the body of the answer arrives while the context is open.

        Raises: as `request`. Cancellation, or leaving the context: closes the connection.
        """
        async with _body_of(request) as body:
            with _translated(self.endpoint, body):
                response = await self._send(self._streams, request, body)
            try:
                yield StreamedReply(self.endpoint, response, body)
            finally:
                drop(response)

    def _send(
        self, session: aiohttp.ClientSession, request: Request, body: bytes | _Source | None
    ) -> aiohttp.client._RequestContextManager:
        url = URL(self._base + request.target, encoded=True)
        return session.request(
            request.method,
            url,
            headers=request.headers,
            data=body,
            skip_auto_headers=("Accept-Encoding", "User-Agent"),
            allow_redirects=False,
        )


def drop(response: aiohttp.ClientResponse) -> None:
    """End a response that may have no end. Not politely: TLS would go on in the background until the other side has said goodbye, too."""
    if response.connection and response.connection.transport:
        response.connection.transport.abort()
    response.close()


@asynccontextmanager
async def _body_of(request: Request) -> AsyncIterator[bytes | _Source | None]:
    if request.body is None or isinstance(request.body, bytes):
        yield request.body
    else:
        async with aclosing(_Source(request.body)) as source:
            yield source


@contextmanager
def _translated(endpoint: Endpoint, sent: bytes | _Source | None) -> Iterator[None]:
    try:
        yield
    except aiohttp.ClientError as error:
        if isinstance(sent, _Source) and sent.error:
            raise sent.error from None
        if isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)):
            raise unreachable(endpoint, error) from error
        raise ConnectionLost(
            f"the connection to the Docker Engine at {endpoint} was lost",
            why="its answer ended before it was whole"
            if isinstance(error, aiohttp.ClientPayloadError)
            else str(error) or type(error).__name__,
            hint="see whether the Engine is still running; its log says why it closed the connection"
            + ("" if endpoint.socket_path else "; or it wants (other) TLS: DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH"),
        ) from error


def unreachable(endpoint: Endpoint, error: BaseException) -> EngineUnreachable:
    """The error that says why no connection to `endpoint` could be made, and what helps."""
    cause = getattr(error, "os_error", error)  # which errors of certificates do not have, in some versions
    what = f"cannot connect to the Docker Engine at {endpoint}"
    match cause:
        case FileNotFoundError():
            return EngineMissing(what, why="there is no such socket", hint="start Docker, or set DOCKER_HOST to where it is")
        case PermissionError():
            return EnginePermissionDenied(
                what,
                why="this user may not use the socket",
                hint="add the user to the group that owns it (usermod -aG docker USER, then log in again), or use rootless Docker",
            )
        case ConnectionRefusedError():
            return EngineUnreachable(
                what, why="nothing listens there: the connection was refused", hint="start Docker: it has ended, or is not up yet"
            )
        case _:
            why = str(cause) or f"no answer within {CONNECT_S:g} s"
            return EngineUnreachable(what, why=why, hint="see that the address is right, and for TLS the files in DOCKER_CERT_PATH")
