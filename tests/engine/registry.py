"""Registry: a small image registry on loopback, from which a real Engine of this host can pull, and to which it can push.

Source: OCI distribution specification 1.1. Only what one push and one pull need; all of it in memory.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from secrets import token_hex

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

_DIGEST = "Docker-Content-Digest"


class Registry:
    """`host`: the first part of its references. `login`: the name and password that it wants; None: none."""

    def __init__(self, login: tuple[str, str] | None) -> None:
        self.host = ""
        self._authorization = f"Basic {b64encode(':'.join(login).encode()).decode()}" if login else ""
        self._blobs: dict[str, bytes] = {}
        self._manifests: dict[tuple[str, str], tuple[bytes, str]] = {}
        self._uploads: dict[str, bytearray] = {}

    def application(self) -> web.Application:
        application = web.Application(middlewares=[self._admit], client_max_size=2**30)
        name = "/v2/{name:.+}"
        application.router.add_get("/v2/", self._base)
        application.router.add_get(f"{name}/blobs/{{digest}}", self._get_blob)
        application.router.add_post(f"{name}/blobs/uploads/", self._begin)
        application.router.add_patch("/v2/uploads/{upload}", self._append)
        application.router.add_put("/v2/uploads/{upload}", self._end)
        application.router.add_get(f"{name}/manifests/{{reference}}", self._get_manifest)
        application.router.add_put(f"{name}/manifests/{{reference}}", self._put_manifest)
        return application

    @web.middleware
    async def _admit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self._authorization and request.headers.get(hdrs.AUTHORIZATION) != self._authorization:
            return _refusal(401, "UNAUTHORIZED", {hdrs.WWW_AUTHENTICATE: 'Basic realm="contract"'})
        return await handler(request)

    async def _base(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({})

    async def _get_blob(self, request: web.Request) -> web.StreamResponse:
        blob = self._blobs.get(request.match_info["digest"])
        if blob is None:
            return _refusal(404, "BLOB_UNKNOWN")
        return web.Response(body=blob, headers={_DIGEST: request.match_info["digest"]})

    async def _begin(self, request: web.Request) -> web.StreamResponse:
        upload = token_hex(8)
        self._uploads[upload] = bytearray()
        return web.Response(status=202, headers={hdrs.LOCATION: f"http://{self.host}/v2/uploads/{upload}", hdrs.RANGE: "0-0"})

    async def _append(self, request: web.Request) -> web.StreamResponse:
        upload = self._uploads[request.match_info["upload"]]
        upload += await request.read()
        return web.Response(status=202, headers={hdrs.LOCATION: f"http://{self.host}{request.path}", hdrs.RANGE: f"0-{len(upload) - 1}"})

    async def _end(self, request: web.Request) -> web.StreamResponse:
        digest = request.query["digest"]
        self._blobs[digest] = bytes(self._uploads.pop(request.match_info["upload"])) + await request.read()
        return web.Response(status=201, headers={hdrs.LOCATION: f"http://{self.host}/blobs/{digest}", _DIGEST: digest})

    async def _get_manifest(self, request: web.Request) -> web.StreamResponse:
        found = self._manifests.get((request.match_info["name"], request.match_info["reference"]))
        if found is None:
            return _refusal(404, "MANIFEST_UNKNOWN")
        return web.Response(body=found[0], headers={_DIGEST: _digest(found[0]), hdrs.CONTENT_TYPE: found[1]})

    async def _put_manifest(self, request: web.Request) -> web.StreamResponse:
        manifest = (await request.read(), request.headers[hdrs.CONTENT_TYPE])
        for reference in (request.match_info["reference"], _digest(manifest[0])):
            self._manifests[request.match_info["name"], reference] = manifest
        return web.Response(status=201, headers={hdrs.LOCATION: str(request.url), _DIGEST: _digest(manifest[0])})


def _digest(content: bytes) -> str:
    return f"sha256:{sha256(content).hexdigest()}"


def _refusal(status: int, code: str, headers: dict[str, str] | None = None) -> web.Response:
    error = {"code": code, "message": code.lower().replace("_", " "), "detail": "contract"}  # without detail, Docker has fewer words for it
    return web.json_response({"errors": [error]}, status=status, headers=headers)


@asynccontextmanager
async def registry(login: tuple[str, str] | None = None) -> AsyncIterator[Registry]:
    """A registry for as long as the context is open."""
    served = Registry(login)
    runner = web.AppRunner(served.application(), access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        served.host = f"127.0.0.1:{runner.addresses[0][1]}"
        yield served
    finally:
        await runner.cleanup()
