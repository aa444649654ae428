"""A scripted Kubernetes API: it keeps objects, serves lists and watches of them, and refuses what a test says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from copy import deepcopy
from typing import Any

import aiohttp
from aiohttp import web

from kindasync.cluster._api import ApiSession, ClusterApi

RESOURCES: dict[str, list[dict[str, Any]]] = {
    "v1": [
        {"kind": "Namespace", "name": "namespaces", "namespaced": False, "shortNames": ["ns"]},
        {"kind": "Pod", "name": "pods", "namespaced": True, "shortNames": ["po"]},
        {"kind": "Pod", "name": "pods/exec", "namespaced": True},
        {"kind": "Service", "name": "services", "namespaced": True, "shortNames": ["svc"]},
        {"kind": "ServiceAccount", "name": "serviceaccounts", "namespaced": True},
        {"kind": "ConfigMap", "name": "configmaps", "namespaced": True, "shortNames": ["cm"]},
        {"kind": "Event", "name": "events", "namespaced": True},
    ],
    "apps/v1": [{"kind": "Deployment", "name": "deployments", "namespaced": True, "shortNames": ["deploy"]}],
    "apiextensions.k8s.io/v1": [
        {"kind": "CustomResourceDefinition", "name": "customresourcedefinitions", "namespaced": False, "shortNames": ["crd"]}
    ],
}


def definition(plural: str = "widgets", kind: str = "Widget", *, established: str = "") -> dict[str, Any]:
    """A CustomResourceDefinition of the group example.com."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "versions": [{"name": "v1", "served": True, "storage": True}],
        },
        "status": {"conditions": [{"type": "Established", "status": established}] if established else []},
    }


class Kubernetes:
    """Shape: `requests` as "METHOD path"; `bodies` of those that had one; `refuses`: by "METHOD path", the (status, message) to answer one by one.

    `sockets`: by path, what serves its WebSockets, in one of `protocols`. `establishes`: whether definitions are served as soon as they are there.
    """

    def __init__(self) -> None:
        self.resources = deepcopy(RESOURCES)
        self.requests: list[str] = []
        self.bodies: list[Any] = []
        self.refuses: dict[str, list[tuple[int, str]]] = {}
        self.sockets: dict[str, Callable[[web.WebSocketResponse, web.Request], Awaitable[None]]] = {}
        self.protocols: tuple[str, ...] = ("v5.channel.k8s.io", "v4.channel.k8s.io")
        self.establishes = True
        self._objects: dict[str, dict[str, Any]] = {}
        self._history: list[tuple[str, str, dict[str, Any]]] = []
        self._forgotten = 0
        self._watches: set[asyncio.Event] = set()
        self._changed = asyncio.Condition()

    # -- what tests do

    def put(self, document: Mapping[str, Any], namespace: str = "") -> dict[str, Any]:
        """Make or replace an object."""
        path = self._path(document, namespace)
        kept = deepcopy(dict(document))
        kept["metadata"] |= {"resourceVersion": str(self._version + 1), "uid": path}
        if namespace:
            kept["metadata"].setdefault("namespace", namespace)
        self._change("MODIFIED" if path in self._objects else "ADDED", path, kept)
        self._objects[path] = kept
        if kept["kind"] == "Namespace":
            account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
            self.put(account, kept["metadata"]["name"])
        return kept

    def establish(self, document: Mapping[str, Any]) -> None:
        """Serve what a definition defines."""
        spec = document["spec"]
        served = {"kind": spec["names"]["kind"], "name": spec["names"]["plural"], "namespaced": spec["scope"] == "Namespaced"}
        self.resources.setdefault(f"{spec['group']}/{spec['versions'][0]['name']}", []).append(served)
        self.put({**document, "status": {"conditions": [{"type": "Established", "status": "True"}]}})

    def remove(self, document: Mapping[str, Any], namespace: str = "") -> None:
        """Delete an object."""
        path = self._path(document, namespace)
        self._change("DELETED", path, self._objects.pop(path))

    def forget(self) -> None:
        """End all watches; what has happened until now can be listed only."""
        self._forgotten = self._version
        for watch in self._watches:
            watch.set()
        self._wake()

    async def asked(self, request: str, times: int = 1) -> None:
        """Wait until a request has come so many times."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.requests.count(request) >= times)

    # -- serving

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[ClusterApi]:
        """Serve, on loopback. What a client of it can use."""
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._serve)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        try:
            async with aiohttp.ClientSession() as http:
                yield ClusterApi(ApiSession(server=f"http://127.0.0.1:{port}", http=http))
        finally:
            for watch in self._watches:
                watch.set()
            self._wake()
            await runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        name = f"{request.method} {request.path}" + (" watch" if "watch" in request.query else "")
        self.requests.append(name)
        async with self._changed:
            self._changed.notify_all()
        if self.refuses.get(name):
            return self._refusal(*self.refuses[name].pop(0))
        if request.headers.get("Upgrade") == "websocket":
            return await self._upgrade(request)
        if "watch" in request.query:
            return await self._watch(request)
        if request.method == "PATCH":
            document = json.loads(await request.read())
            self.bodies.append(document)
            return self._apply(request.path, document)
        if request.path in self._objects:
            return web.json_response(self._objects[request.path])
        return self._collection(request)

    async def _upgrade(self, request: web.Request) -> web.StreamResponse:
        if request.path not in self.sockets:
            return self._refusal(404, "the server could not find the requested resource")
        response = web.WebSocketResponse(protocols=self.protocols, max_msg_size=0)
        await response.prepare(request)
        await self.sockets[request.path](response, request)
        return response

    def _apply(self, path: str, document: dict[str, Any]) -> web.Response:
        parts = path.split("/")
        namespace = parts[parts.index("namespaces") + 1] if "namespaces" in parts[:-2] else ""
        kept = self.put(document, namespace)
        if document["kind"] == "CustomResourceDefinition" and self.establishes:
            self.establish(kept)
        return web.json_response(kept)

    def _collection(self, request: web.Request) -> web.Response:
        path = request.path
        if path == "/apis":
            groups = [version for version in self.resources if "/" in version]
            return web.json_response(
                {"groups": [{"name": each.split("/")[0], "preferredVersion": {"groupVersion": each}} for each in groups]}
            )
        group = path.removeprefix("/apis/").removeprefix("/api/")
        if group in self.resources:
            return web.json_response({"resources": self.resources[group]})
        version = next((each for each in self.resources if each.split("/")[0] == group), "")
        if version and path.startswith("/apis/"):
            return web.json_response({"preferredVersion": {"groupVersion": version}})
        if not any(path.endswith(f"/{each['name']}") for version in self.resources.values() for each in version):
            return self._refusal(404, "the server could not find the requested resource")
        items = [document for where, document in self._objects.items() if self._selects(request, where, document)]
        return web.json_response({"metadata": {"resourceVersion": str(self._version)}, "items": items})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        if not any(request.path.endswith(f"/{each['name']}") for version in self.resources.values() for each in version):
            return self._refusal(404, "the server could not find the requested resource")
        response = web.StreamResponse()
        await response.prepare(request)
        since = int(request.query.get("resourceVersion") or 0)
        if since < self._forgotten and since:
            await self._send(response, "ERROR", {"kind": "Status", "code": 410, "reason": "Expired"})
            return response
        ended = asyncio.Event()
        self._watches.add(ended)
        if not since:
            since = self._version
            for path, document in [*self._objects.items()]:
                if self._selects(request, path, document):
                    await self._send(response, "ADDED", document)
        while not ended.is_set():
            for kind, path, document in self._history[since:]:
                since += 1
                if self._selects(request, path, document):
                    await self._send(response, kind, document)
            async with self._changed:
                while not ended.is_set() and self._version == since:
                    await self._changed.wait()
        self._watches.discard(ended)
        return response

    async def _send(self, response: web.StreamResponse, kind: str, document: Mapping[str, Any]) -> None:
        await response.write(json.dumps({"type": kind, "object": document}).encode() + b"\n")

    def _refusal(self, status: int, message: str) -> web.Response:
        return web.json_response(
            {"kind": "Status", "reason": "" if message.startswith("no reason") else "Scripted", "message": message}, status=status
        )

    # -- objects

    @property
    def _version(self) -> int:
        return len(self._history)

    def _path(self, document: Mapping[str, Any], namespace: str) -> str:
        version = document["apiVersion"]
        resource = next(each for each in self.resources[version] if each["kind"] == document["kind"])
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        within = f"/namespaces/{document['metadata'].get('namespace') or namespace or 'default'}" if resource["namespaced"] else ""
        return f"{root}{within}/{resource['name']}/{document['metadata']['name']}"

    def _change(self, kind: str, path: str, document: dict[str, Any]) -> None:
        self._history.append((kind, path, deepcopy(document)))
        self._wake()

    def _wake(self) -> None:
        async def wake() -> None:
            async with self._changed:
                self._changed.notify_all()

        self._waking = asyncio.get_running_loop().create_task(wake())

    def _selects(self, request: web.Request, path: str, document: Mapping[str, Any]) -> bool:
        """Whether an object is in the collection that a request is for."""
        collection, _, name = path.rpartition("/")
        if "/namespaces/" not in request.path:
            head, _, tail = collection.partition("/namespaces/")
            collection = f"{head}/{tail.partition('/')[2]}" if tail else collection
        wanted = request.query.get("fieldSelector", "").removeprefix("metadata.name=")
        labels = dict(each.split("=") for each in request.query.get("labelSelector", "").split(",") if each)
        own = document["metadata"].get("labels") or {}
        return collection == request.path and wanted in ("", name) and labels.items() <= own.items()
