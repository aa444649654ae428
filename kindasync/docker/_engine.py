"""Engine: a Docker Engine as a value, and the connection through which its operations go."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import anyio

from kindasync._shielded import answered
from kindasync.docker._hints import hint_for
from kindasync.errors import ApiError, Conflict, EngineError, EngineTimeout, KindasyncError, NotFound
from kindasync.transport import Endpoint, from_environment, parse

if TYPE_CHECKING:
    from kindasync.transport._http import Body, Http, Params, Reply, Request, StreamedReply
    from kindasync.transport._upgrade import Upgraded

OLDEST_API = (1, 41)  # 20.10: the first with private cgroup namespaces
NEWEST_API = (1, 52)  # the newest that the tests have spoken, against a real Engine or the fake
Answer = TypeVar("Answer")
UNARY_S = 60.0  # no operation that is answered at once takes longer, however busy the Engine


@dataclass(frozen=True, slots=True)
class Engine:
    """Where an Engine is. A value: it holds no socket, so it can be kept, compared, and used from any event loop. `endpoint`: its URL, read, and its certificates."""

    endpoint: Endpoint

    def __repr__(self) -> str:
        return f"Engine({self.url!r})"

    @classmethod
    def of(cls, engine: Engine | str | None) -> Self | Engine:
        """`engine` itself; the Engine at a URL; None: the one that the environment names (DOCKER_HOST, a context, a socket).

        Raises: EngineMissing; EngineUnreachable for a URL or context that cannot be used.
        """
        if isinstance(engine, Engine):
            return engine
        if engine is None:
            return cls(from_environment(os.environ, Path.home()))
        return cls(parse(engine))

    @property
    def url(self) -> str:
        """`unix:///path`, `tcp://host:port` or `ssh://user@host`."""
        return self.endpoint.url

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Connection]:
        """Sessions to the Engine for as long as the context is open, with the API version that both sides speak.

        Source: Docker Engine API, SystemPing, GET /_ping: its header Api-Version is the newest the Engine knows.
        Raises: EngineUnreachable; EngineError if no version is known to both; KindasyncError outside of asyncio's event loops.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise KindasyncError(
                "kindasync needs asyncio",
                why="what runs here is another event loop, such as trio's",
                hint="run it by asyncio.run; with anyio, on the backend asyncio: in pytest by a fixture anyio_backend that returns 'asyncio'",
            ) from None
        from kindasync.transport._http import Http  # aiohttp takes 0.2 s to import: only who connects pays
        from kindasync.transport._ssh import dialled

        async with dialled(self.endpoint) as endpoint, Http(endpoint) as http:
            connection = Connection(self, http)
            reply = await connection.request(Call("SystemPing", "GET", "/_ping"))
            connection.api_version = negotiate(reply.headers.get("Api-Version", ""))
            yield connection


def negotiate(engine_newest: str) -> tuple[int, int]:
    """The API version to speak with an Engine whose newest is `engine_newest` ("1.45").

    Raises: EngineError below the floor, or if what answered is not an Engine.
    """
    try:
        major, minor = engine_newest.split(".")
        newest = (int(major), int(minor))
    except ValueError as error:
        raise EngineError(
            "what answered is not a Docker Engine",
            why=f'its Api-Version is "{engine_newest}"',
            hint="see what listens at this endpoint",
        ) from error
    if newest < OLDEST_API:
        raise EngineError(
            f"the Docker Engine is too old: its newest API version is {engine_newest}",
            why="kindasync needs 1.41 (Docker 20.10), the first with private cgroup namespaces",
            hint="update Docker",
        )
    return min(newest, NEWEST_API)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an Engine operation.

    Shape: `operation` is its operationId; `path` is without version, percent-encoded; `subject` is what it is about, for
    errors ("container demo-control-plane"); `params` that are None are not sent; a body is either `json` or `body`.
    """

    operation: str
    method: str
    path: str
    subject: str = ""
    params: Params = ()
    json: object = None
    body: Body | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Connection:
    """Sends operations to one Engine. The functions of the other modules of this package are what it is for.

    `gave_up`: a request that makes something was left without an answer after all, so that something may come to be that nobody knows.
    """

    def __init__(self, engine: Engine, http: Http) -> None:
        self.engine = engine
        self.http = http
        self.api_version: tuple[int, int] | None = None
        self.gave_up = False

    def speaks(self, major: int, minor: int) -> bool:
        """Whether a feature that came with this API version can be used."""
        assert self.api_version is not None
        return self.api_version >= (major, minor)

    async def request(self, call: Call, *, timeout_s: float = UNARY_S) -> Reply:
        """One operation and its whole answer, if the Engine agreed (2xx, or 304: already so).

        Raises: ApiError (NotFound, Conflict) as the Engine refused; EngineTimeout after `timeout_s`; EngineUnreachable; ConnectionLost.
        """
        try:
            with anyio.fail_after(timeout_s):
                reply = await self.http.request(self._request(call))
        except TimeoutError as error:
            raise EngineTimeout(
                f"the Docker Engine did not answer {call.operation}" + (f" for {call.subject}" if call.subject else ""),
                why=f"no answer within {timeout_s:g} s",
                hint="see the Engine's log and the load of its host",
            ) from error
        if not (reply.status < 300 or reply.status == 304):
            raise refused(call, reply.status, reply.body)
        return reply

    async def request_json(self, call: Call, *, timeout_s: float = UNARY_S) -> Any:
        """As `request`; the answer, decoded. Raises also: EngineError for an answer that is not JSON."""
        reply = await self.request(call, timeout_s=timeout_s)
        try:
            return json.loads(reply.body)
        except ValueError as error:
            raise EngineError(
                f"the Docker Engine's answer to {call.operation} is not JSON",
                why=reply.body[:200].decode(errors="replace"),
                hint="see what listens at this endpoint",
            ) from error

    async def request_shielded(self, call: Call, *, timeout_s: float = UNARY_S) -> Any:
        """As `request_json`, for what makes something: never abandoned, so that its maker always knows what it made.

        Cancellation: takes effect after the answer, or after `timeout_s`; at once where every task of the loop is cancelled, as by a second Ctrl-C.
        """

        async def make() -> Any:
            try:
                return await self.request_json(call, timeout_s=timeout_s)
            except (asyncio.CancelledError, EngineTimeout):
                self.gave_up = True
                raise

        return await answered(make())

    @asynccontextmanager
    async def stream(self, call: Call) -> AsyncIterator[StreamedReply]:
        """One operation whose answer streams while the context is open. No timeout: the caller has one.

        Raises: ApiError as the Engine refused; EngineUnreachable; ConnectionLost.
        """
        async with self.http.stream(self._request(call)) as reply:
            if reply.status >= 300:
                raise refused(call, reply.status, await reply.read())
            yield reply

    @asynccontextmanager
    async def upgrade(self, call: Call) -> AsyncIterator[Upgraded]:
        """One operation that turns the connection into raw bytes both ways. Raises: as `stream`."""
        from kindasync.transport._http import Reply
        from kindasync.transport._upgrade import upgrade

        async with upgrade(self.http.endpoint, self._request(call)) as result:
            if isinstance(result, Reply):
                raise refused(call, result.status, result.body)
            yield result

    def _request(self, call: Call) -> Request:
        from kindasync.transport._http import Request

        headers = dict(call.headers)
        body = call.body
        if call.json is not None:
            body = json.dumps(call.json).encode()
            headers["Content-Type"] = "application/json"
        path = call.path
        if self.api_version:
            path = f"/v{self.api_version[0]}.{self.api_version[1]}{path}"
        return Request(method=call.method, path=path, params=call.params, headers=headers, body=body)


def refused(call: Call, status: int, body: bytes) -> ApiError:
    """The error of an answer with `status` >= 400; its body is `{"message": …}`, or text from something in between."""
    try:
        message = str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        message = body.decode(errors="replace").strip() or "(no message)"
    kind = {404: NotFound, 409: Conflict}.get(status, ApiError)
    return kind(call.operation, call.subject, status, message, hint=hint_for(message))


Labels = Mapping[str, str | None]
"""Labels that objects must have; None: any value."""


def filters(labels: Labels | None = None, **others: str) -> str | None:
    """The `filters` parameter of the list operations; those that are empty are left out."""
    wanted = {name: [value] for name, value in others.items() if value}
    if labels:
        wanted["label"] = [name if value is None else f"{name}={value}" for name, value in labels.items()]
    return json.dumps(wanted) if wanted else None


def required(operation: str, document: Mapping[str, Any], *path: str) -> Any:
    """A field that an answer must have. Unknown fields are ignored; a missing one is an error that names its path."""
    value: Any = document
    for name in path:
        if not isinstance(value, Mapping) or name not in value:
            raise EngineError(
                f"the Docker Engine's answer to {operation} lacks {'.'.join(path)}",
                hint="this Engine is not one that kindasync knows; please report its version",
            )
        value = value[name]
    return value
