"""Images: the Engine's operations on them, typed."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from kindasync.docker._engine import Call, Connection, Labels, filters, required
from kindasync.docker._json_stream import progress_messages


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image in the Engine. Shape: `id` is "sha256:…"; `tags` and `digests` are references; `architecture` as "amd64"."""

    id: str
    tags: tuple[str, ...]
    digests: tuple[str, ...]
    labels: Mapping[str, str]
    architecture: str = ""
    os: str = ""
    size_bytes: int = 0
    created: str | int = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageProgress:
    """One message of a pull, push or load. `current` and `total` are bytes of `layer`; `total` is None until the Engine knows it."""

    layer: str
    status: str
    current: int | None
    total: int | None


Report = Callable[[ImageProgress], None]


async def image_create(
    connection: Connection,
    reference: str,
    *,
    platform: str | None = None,
    auth: Mapping[str, str] | None = None,
    report: Report | None = None,
) -> None:
    """Pull an image, reporting each message of the stream.

    Source: Docker Engine API, ImageCreate, POST /images/create. `auth`: username and password, or identitytoken, with serveraddress.
    Raises: NotFound, ApiError (401, 403, 500) as the registry answered; StreamFailed for a failure after that; EngineUnreachable; ConnectionLost.
    Cancellation: closing the connection makes the Engine stop the pull.
    """
    name, tag = split_reference(reference)
    call = Call(
        "ImageCreate",
        "POST",
        "/images/create",
        f"image {reference}",
        {"fromImage": name, "tag": tag, "platform": platform},
        headers=_auth_header(auth),
    )
    await _progress(connection, call, report)


async def image_push(
    connection: Connection, reference: str, *, auth: Mapping[str, str] | None = None, report: Report | None = None
) -> None:
    """Push an image to the registry that its reference names.

    Source: Docker Engine API, ImagePush, POST /images/{name}/push. Raises: as `image_create`.
    """
    name, tag = split_reference(reference)
    headers = _auth_header(auth) or {"X-Registry-Auth": _encoded({})}  # the header is obligatory here
    call = Call("ImagePush", "POST", f"/images/{quote(name, safe='/:')}/push", f"image {reference}", {"tag": tag}, headers=headers)
    await _progress(connection, call, report)


async def image_load(connection: Connection, archive: AsyncIterable[bytes], *, report: Report | None = None) -> tuple[str, ...]:
    """Load images from a tar stream (docker or OCI layout); the references (or IDs) that the Engine says it loaded.

    Source: Docker Engine API, ImageLoad, POST /images/load. Raises: ApiError; StreamFailed; ConnectionLost.
    """
    loaded: list[str] = []
    call = Call(
        "ImageLoad", "POST", "/images/load", "an image archive", {"quiet": "0"}, body=archive, headers={"Content-Type": "application/x-tar"}
    )
    async with connection.stream(call) as reply:
        async for message in progress_messages("ImageLoad", "an image archive", reply.chunks()):
            text = str(message.get("stream", "")).strip()
            loaded += [text.removeprefix(prefix) for prefix in ("Loaded image: ", "Loaded image ID: ") if text.startswith(prefix)]
            if report:
                report(_image_progress(message))
    return tuple(loaded)


@asynccontextmanager
async def image_get(
    connection: Connection, references: tuple[str, ...], *, platform: str | None = None
) -> AsyncIterator[AsyncIterator[bytes]]:
    """Images as one tar stream.

    Source: Docker Engine API, ImageGetAll, GET /images/get. `platform` ("linux/amd64") needs API 1.48; before, it is not sent.
    Raises: NotFound; ConnectionLost.
    """
    params: list[tuple[str, str | None]] = [("names", reference) for reference in references]
    if platform and connection.speaks(1, 48):
        os, architecture = platform.split("/")[:2]
        params.append(("platform", json.dumps({"os": os, "architecture": architecture})))
    call = Call("ImageGetAll", "GET", "/images/get", "image " + ", ".join(references), params)
    async with connection.stream(call) as reply:
        yield reply.chunks()


async def image_inspect(connection: Connection, reference: str) -> Image:
    """One image, by reference or ID.

    Source: Docker Engine API, ImageInspect, GET /images/{name}/json. Raises: NotFound.
    """
    call = Call("ImageInspect", "GET", f"/images/{quote(reference, safe='/:@')}/json", f"image {reference}")
    document = await connection.request_json(call)
    return Image(
        id=str(required("ImageInspect", document, "Id")),
        tags=_references(document.get("RepoTags")),
        digests=_references(document.get("RepoDigests")),
        labels=dict((document.get("Config") or {}).get("Labels") or {}),
        architecture=str(document.get("Architecture", "")),
        os=str(document.get("Os", "")),
        size_bytes=int(document.get("Size") or 0),
        created=str(document.get("Created", "")),
    )


def _references(listed: Sequence[str] | None) -> tuple[str, ...]:
    """References as an Engine lists them; before API 1.43 an image without any has "<none>"."""
    return tuple(reference for reference in listed or () if not reference.startswith("<none>"))


async def image_list(connection: Connection, *, labels: Labels | None = None, reference: str = "") -> tuple[Image, ...]:
    """The images that have the labels (None: any value) and match the reference, newest first.

    Source: Docker Engine API, ImageList, GET /images/json. Architectures are not part of its answer.
    """
    call = Call("ImageList", "GET", "/images/json", params={"filters": filters(labels, reference=reference)})
    images = [
        Image(
            id=str(required("ImageList", item, "Id")),
            tags=_references(item.get("RepoTags")),
            digests=_references(item.get("RepoDigests")),
            labels=dict(item.get("Labels") or {}),
            size_bytes=int(item.get("Size") or 0),
            created=int(item.get("Created") or 0),
        )
        for item in await connection.request_json(call)
    ]
    return tuple(sorted(images, key=lambda image: image.created, reverse=True))


async def image_tag(connection: Connection, image: str, reference: str) -> None:
    """Give an image a further reference.

    Source: Docker Engine API, ImageTag, POST /images/{name}/tag. Raises: NotFound; ApiError for a bad reference.
    """
    name, tag = split_reference(reference)
    call = Call("ImageTag", "POST", f"/images/{quote(image, safe='/:@')}/tag", f"image {image}", {"repo": name, "tag": tag})
    await connection.request(call)


async def image_remove(connection: Connection, reference: str, *, force: bool = False) -> None:
    """Remove a reference, and with its last one the image.

    Source: Docker Engine API, ImageDelete, DELETE /images/{name}. Raises: NotFound; Conflict while a container uses it.
    """
    call = Call("ImageDelete", "DELETE", f"/images/{quote(reference, safe='/:@')}", f"image {reference}", {"force": "1" if force else None})
    await connection.request(call, timeout_s=120)


async def image_commit(connection: Connection, container: str, reference: str, *, changes: tuple[str, ...] = ()) -> str:
    """Make an image of a container's file system; its ID. `changes` are lines of a Dockerfile, such as ENTRYPOINT.

    Source: Docker Engine API, ImageCommit, POST /commit. Volumes are not part of it. Cancellation: after the answer.
    """
    name, tag = split_reference(reference)
    params = {"container": container, "repo": name, "tag": tag, "changes": "\n".join(changes) or None}
    call = Call("ImageCommit", "POST", "/commit", f"container {container}", params, json={})
    return str(required("ImageCommit", await connection.request_shielded(call, timeout_s=600), "Id"))


async def image_import(connection: Connection, tar: AsyncIterable[bytes], reference: str, *, changes: tuple[str, ...] = ()) -> None:
    """Make an image of one layer from the tar stream of a file system.

    Source: Docker Engine API, ImageCreate with fromSrc "-". `changes` are lines of a Dockerfile, such as ENTRYPOINT.
    Raises: ApiError; StreamFailed.
    """
    name, tag = split_reference(reference)
    params: list[tuple[str, str | None]] = [("fromSrc", "-"), ("repo", name), ("tag", tag)]
    params += [("changes", change) for change in changes]
    call = Call(
        "ImageCreate", "POST", "/images/create", f"image {reference}", params, body=tar, headers={"Content-Type": "application/x-tar"}
    )
    await _progress(connection, call, None)


def split_reference(reference: str) -> tuple[str, str]:
    """Name, and tag or digest. "host:5000/app" has no tag: it means latest."""
    if "@" in reference:
        name, _, digest = reference.partition("@")
        return name, digest
    head, _, last = reference.rpartition("/")
    name, colon, tag = last.partition(":")
    return (f"{head}/{name}" if head else name), (tag if colon else "latest")


async def _progress(connection: Connection, call: Call, report: Report | None) -> None:
    async with connection.stream(call) as reply:
        async for message in progress_messages(call.operation, call.subject, reply.chunks()):
            if report:
                report(_image_progress(message))


def _image_progress(message: Mapping[str, Any]) -> ImageProgress:
    detail = message.get("progressDetail") or {}
    return ImageProgress(
        layer=str(message.get("id", "")),
        status=str(message.get("status") or message.get("stream") or "").strip(),
        current=detail.get("current"),
        total=detail.get("total"),
    )


def _auth_header(auth: Mapping[str, str] | None) -> dict[str, str]:
    return {"X-Registry-Auth": _encoded(auth)} if auth else {}


def _encoded(auth: Mapping[str, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(dict(auth)).encode()).decode()
