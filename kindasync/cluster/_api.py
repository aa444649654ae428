"""The Kubernetes API of a cluster, as far as kindasync itself needs it."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import ssl
from base64 import b64decode
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import aiohttp
import anyio

from kindasync._shielded import answered
from kindasync.cluster._discovery import Called, Resource, root
from kindasync.errors import ApiRefused, ApiUnreachable, KindUnknown, NotReady, one_error
from kindasync.transport._http import drop

if TYPE_CHECKING:
    from aiohttp import ClientRequest, ClientResponse
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

RETRY_S = 0.1
API_S = 60.0  # for an answer of an API server that may be restarting
CONNECT_S = 5.0
CLOSE_S = 2.0
_ADMIN_REFUSED = re.compile(r'User "kubernetes-(super-)?admin" cannot')
Answer = TypeVar("Answer")


def named(name: str) -> str:
    """What selects, of a collection, the object of that name."""
    return f"fieldSelector=metadata.name%3D{quote(name, safe='')}"


def passes(error: ApiRefused) -> bool:
    """Whether the same may be taken a moment later: the API server is starting, has too much to do, or someone else was faster."""
    if error.status == 422 and "failed to allocate" in error.why:  # of a Service: its addresses are not known yet after a start
        return True
    if error.status == 403 and _ADMIN_REFUSED.search(error.why):  # who may do all: the API server has not read yet who may do what
        return True
    return (error.status in (409, 429) or error.status >= 500) and error.reason != "AlreadyExists"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSession:
    """Connections to the API server at the URL `server`."""

    server: str
    http: aiohttp.ClientSession


class _Connector(aiohttp.TCPConnector):
    """One that ends with its last connection. aiohttp's forgets those that it has told to close, which with TLS takes a round trip, or the loop's next turn."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(limit=0, ssl=context)
        self._open: dict[asyncio.Future[None], asyncio.Transport] = {}  # by what is done when one is closed

    async def connect(self, req: ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout) -> Connection:  # noqa: ASYNC109 (aiohttp's)
        connection = await super().connect(req, traces, timeout)
        end = None if connection.protocol is None else connection.protocol.closed  # a protocol is false, as it has no messages yet
        if end is not None and connection.transport is not None and end not in self._open and not end.done():
            self._open[end] = connection.transport
            end.add_done_callback(self._ended)
        return connection

    def _ended(self, end: asyncio.Future[None]) -> None:
        del self._open[end]
        if not end.cancelled():
            end.exception()  # which whoever used it has, too; asyncio warns of one that nobody looks at

    async def end(self) -> None:
        """Close all connections; what the API server has not agreed to by now, it need not."""
        await self.close()
        for transport in [*self._open.values()]:
            transport.abort()
        if self._open:
            await asyncio.wait([*self._open], timeout=CLOSE_S)


@asynccontextmanager
async def api_client(kubeconfig: Mapping[str, Any]) -> AsyncIterator[ApiSession]:
    """A session with the credentials of a kubeconfig; proxies of the environment do not apply."""
    cluster, user = kubeconfig["clusters"][0]["cluster"], kubeconfig["users"][0]["user"]
    with certificate_file(user) as path:
        context = _ssl_context(cluster, path)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S)
    # An object of Kubernetes may be larger than what is read at once by default: etcd takes 1.5 MiB.
    connector = _Connector(context)
    http = aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False, read_bufsize=2**21)
    try:
        yield ApiSession(server=cluster["server"], http=http)
    finally:
        http.detach()
        await answered(connector.end())


@contextmanager
def certificate_file(user: Mapping[str, Any]) -> Iterator[Path]:
    """The client certificate, which ssl wants to have in a file: it is there, for this user alone, only while it is read."""
    with TemporaryDirectory(prefix="kindasync-") as directory:  # 0700
        path = Path(directory) / "client.pem"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
            file.write(b64decode(user["client-certificate-data"]) + b64decode(user["client-key-data"]))
        yield path


def _ssl_context(cluster: Mapping[str, Any], certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=b64decode(cluster["certificate-authority-data"]).decode())
    context.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on
    context.load_cert_chain(certificate)
    return context


class ClusterApi:
    """Requests to the API server, in JSON. `last_failure`: why the newest one that failed did."""

    def __init__(self, session: ApiSession) -> None:
        self.session = session
        self.last_failure = ""
        self._resources: dict[tuple[str, str], Resource] = {}

    async def request(self, method: str, path: str, body: object = None, *, content_type: str | None = None) -> Any:
        """One request, and its decoded answer. Raises: ApiRefused; ApiUnreachable."""
        response = await self._send(method, path, body, content_type)
        try:
            return json.loads(await response.read())
        except aiohttp.ClientError as error:
            raise unreachable(error) from error

    async def insist(
        self, method: str, path: str, body: object = None, *, content_type: str | None = None, passing: Collection[int] = ()
    ) -> Any:
        """As `request`, tried again every RETRY_S while the API server is not there, has too much to do, or answers with a status that is
        `passing`. No timeout: the caller has one.
        """
        return await self._insist(lambda: self.request(method, path, body, content_type=content_type), passing=passing)

    async def revision(self) -> str:
        """The revision of etcd that is the newest now. No timeout: the caller has one."""
        return str((await self.insist("GET", "/api/v1/namespaces?limit=1"))["metadata"]["resourceVersion"])

    async def _insist(self, work: Callable[[], Awaitable[Answer]], *, passing: Collection[int]) -> Answer:
        while True:
            try:
                return await work()
            except ApiUnreachable:
                pass
            except ApiRefused as error:
                if not passes(error) and error.status not in passing:
                    raise
            await anyio.sleep(RETRY_S)

    async def _send(self, method: str, path: str, body: object, content_type: str | None = None) -> ClientResponse:
        try:
            return await self._sent(method, path, body, content_type)
        except (ApiRefused, ApiUnreachable) as error:
            self.last_failure = error.why
            raise

    async def _sent(self, method: str, path: str, body: object, content_type: str | None) -> ClientResponse:
        headers = {"Accept": "application/json", "Content-Type": content_type or "application/json"}
        data = None if body is None else io.BytesIO(json.dumps(body).encode())  # of bytes themselves aiohttp warns if they are many
        try:
            response = await self.session.http.request(method, f"{self.session.server}{path}", data=data, headers=headers)
            if response.status >= 400:
                raise ApiRefused(method, path, response.status, await response.text())
        except (aiohttp.ClientError, TimeoutError) as error:
            raise unreachable(error) from error
        return response

    async def wait_up(self) -> None:
        """Wait until the API server answers at all. Nothing tells: it is asked every RETRY_S. No timeout: the caller has one."""
        while True:
            try:
                await self.request("GET", "/version")
                return
            except (ApiRefused, ApiUnreachable):
                await anyio.sleep(RETRY_S)

    async def watch(self, path: str, *, selector: str = "") -> AsyncGenerator[tuple[str, dict[str, Any]], None]:
        """The objects of a collection: ("ADDED", object) for each that is there, then each change; on and on.

        A watch that ends, or that the API server is not ready to serve, is made again. No timeout: the caller has one.
        """
        while True:
            async with aclosing(self._changes(path, selector)) as changes:
                async for change in changes:
                    yield change
            await anyio.sleep(RETRY_S)

    async def wait_there(self, path: str, name: str) -> None:
        """Wait until a collection has an object of a name. No timeout: the caller has one."""
        async with aclosing(self.watch(path, selector=named(name))) as changes:
            await anext(changes)

    async def observe(self, path: str, *, selector: str = "") -> AsyncGenerator[list[dict[str, Any]], None]:
        """All objects of a collection, by namespace and name: as they are, and all again after each change; on and on.

        A collection that is not served has no objects. Otherwise as `watch`; what changed while there was none is not missed.
        Raises: ApiRefused for a selector that is none.
        """
        while True:
            try:
                reply = await self.request("GET", f"{path}?{selector}")
            except ApiUnreachable:
                reply = None
            except ApiRefused as error:
                if error.status == 400:
                    raise
                reply = {"items": []} if error.status == 404 else None
            if reply:
                kind = {"apiVersion": reply.get("apiVersion"), "kind": str(reply.get("kind")).removesuffix("List")}
                objects = {_key(item): {**kind, **item} for item in reply["items"]}
                yield _sorted(objects)
                async with aclosing(self._changes(path, selector, (reply.get("metadata") or {}).get("resourceVersion", ""))) as changes:
                    async for change, document in changes:
                        objects.pop(_key(document), None)
                        if change != "DELETED":
                            objects[_key(document)] = document
                        yield _sorted(objects)
            await anyio.sleep(RETRY_S)

    async def _changes(self, path: str, selector: str, version: str = "") -> AsyncGenerator[tuple[str, dict[str, Any]], None]:
        """One watch, from a version of the collection, until it ends."""
        query = "&".join(filter(None, ("watch=true&allowWatchBookmarks=false", selector, version and f"resourceVersion={version}")))
        try:
            response = await self._send("GET", f"{path}?{query}", None)
            try:
                async for line in response.content:
                    change = json.loads(line)
                    if change["type"] == "ERROR":
                        return
                    yield change["type"], change["object"]
            finally:
                drop(response)
        except (ApiRefused, ApiUnreachable, aiohttp.ClientError):
            return  # it is starting, or was restarted

    async def create(self, document: Mapping[str, Any]) -> bool:
        """Create an object; one that is there already is left as it is. Whether it was created.

        An API server that has just started refuses much for a moment (no namespaces yet, no permissions): what may be of
        that kind is tried again every RETRY_S. No timeout: the caller has one. Raises: ApiRefused for anything else.
        """
        try:
            await self._insist(lambda: self._create(document), passing=(403, 404))
        except ApiRefused as error:
            if error.reason != "AlreadyExists":
                raise
            return False
        return True

    async def _create(self, document: Mapping[str, Any]) -> None:
        resource = await self.resource(document["apiVersion"], document["kind"])
        await self.request("POST", resource.path(document["metadata"].get("namespace", "default")), document)

    async def delete(self, path: str, *, uid: str = "") -> None:
        """Delete an object; one that is gone counts as deleted. With `uid`: a pod, at once, and no other one of its name.

        No timeout: the caller has one. Raises: ApiRefused.
        """
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": uid}} if uid else None

        async def attempt() -> None:
            try:
                await self.request("DELETE", path, options)
            except ApiRefused as error:
                if error.status != 404 and not (error.status == 409 and uid):
                    raise

        await self._insist(attempt, passing=())

    async def create_all(self, documents: Collection[Mapping[str, Any]]) -> None:
        """Create the objects of a manifest: first those that others need to be there, then all others at once."""
        needed = [document for document in documents if document["kind"] in ("Namespace", "CustomResourceDefinition")]
        for document in needed:
            await self.create(document)
        with one_error():
            async with anyio.create_task_group() as tasks:
                for document in documents:
                    if document not in needed:
                        tasks.start_soon(self.create, document)

    async def resource(self, api_version: str, kind: str) -> Resource:
        """Where objects of a kind are; asked once, if it is known. Raises: KindUnknown; ApiRefused, 404 for an unknown group; ApiUnreachable."""
        if (api_version, kind) not in self._resources:
            for each in await self.resources(api_version):
                self._resources[api_version, each.kind] = each
        try:
            return self._resources[api_version, kind]
        except KeyError:
            raise KindUnknown(kind, api_version) from None

    async def resources(self, api_version: str) -> list[Resource]:
        """All resources of a group and version. Raises: ApiRefused, 404 for one that is not served; ApiUnreachable."""
        reply = await self.request("GET", root(api_version))
        return [Resource.of_list(api_version, item) for item in reply["resources"] if "/" not in item["name"]]

    async def find(self, called: Called) -> Resource | None:
        """What a user calls so: the first that it can mean, the core's first, then in the API server's order of groups; None if there is none.

        No timeout: the caller has one.
        """
        return await self._insist(lambda: self._find(called), passing=())

    async def _find(self, called: Called) -> Resource | None:
        for version in await self._versions(called):
            with suppress(ApiRefused):  # an aggregated API whose server is down
                for each in await self.resources(version):
                    if called.means(each):
                        return each
        return None

    async def _versions(self, called: Called) -> list[str]:
        if called.group and called.version:
            return [f"{called.group}/{called.version}"]
        groups = (await self.request("GET", "/apis"))["groups"]
        core = [] if called.group else ["v1"]
        return core + [each["preferredVersion"]["groupVersion"] for each in groups if called.group in ("", each["name"])]


@contextmanager
def deadline(api: ClusterApi, awaited: str, seconds: float = API_S, *, hint: str = "") -> Iterator[None]:
    """For requests that are insisted on: after so many seconds a NotReady, with why the newest one failed."""
    try:
        with anyio.fail_after(seconds):
            yield
    except TimeoutError as error:
        raise NotReady(awaited, api.last_failure or "no answer", after_s=seconds, hint=hint) from error


def _key(document: Mapping[str, Any]) -> tuple[str, str]:
    return document["metadata"].get("namespace", ""), document["metadata"]["name"]


def _sorted(objects: Mapping[tuple[str, str], dict[str, Any]]) -> list[dict[str, Any]]:
    return [objects[key] for key in sorted(objects)]


def unreachable(error: BaseException) -> ApiUnreachable:
    """The error that says why there is no connection."""
    return ApiUnreachable("the API server does not answer", why=str(error) or type(error).__name__)
