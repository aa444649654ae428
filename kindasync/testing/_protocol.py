"""The protocol of the fake: HTTP/1.1 on a UNIX socket, by hand, so that every byte of an answer can be decided."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A request as it came. `operation` is its operationId, `method` HTTP's; `path` is without version and query; `params` has each parameter's
    values; `headers` by name in lower case; `body` is all of it, decoded from chunks.
    """

    operation: str
    method: str
    path: str
    params: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes = field(repr=False)

    def param(self, name: str, default: str = "") -> str:
        """The first value of a parameter."""
        return self.params.get(name, [default])[0]

    @property
    def json(self) -> Any:
        """The body, decoded; an empty one is {}."""
        return json.loads(self.body) if self.body else {}

    @property
    def filters(self) -> dict[str, list[str]]:
        """The parameter `filters`, decoded."""
        result: dict[str, list[str]] = json.loads(self.param("filters", "{}") or "{}")
        return result


@dataclass(slots=True, kw_only=True)
class Answer:
    """What is to be sent: a whole `body`, or pieces from `stream`. `hijack`: after the header raw bytes go both ways."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    stream: AsyncGenerator[bytes, None] | None = None
    hijack: bool = False

    @classmethod
    def of_json(cls, document: object, status: int = 200) -> Answer:
        return cls(status=status, body=json.dumps(document).encode(), headers={"Content-Type": "application/json"})

    @classmethod
    def error(cls, status: int, message: str) -> Answer:
        """A refusal in the Engine's form."""
        return cls.of_json({"message": message}, status)


@dataclass(slots=True, kw_only=True)
class Head:
    """Request line and headers."""

    method: str
    target: str
    headers: dict[str, str]

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def params(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query, keep_blank_values=True)


async def read_head(reader: asyncio.StreamReader) -> Head | None:
    """The head of the next request; None when the client has closed."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
        return None
    request_line, *lines = raw.decode("latin-1").strip().split("\r\n")
    method, target, _ = request_line.split(" ", 2)
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Head(method=method, target=target, headers=headers)


async def read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    """The body, by its length or in chunks."""
    if headers.get("transfer-encoding") == "chunked":
        body = bytearray()
        while size := int((await reader.readuntil(b"\n")).split(b";")[0], 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readline()
        return bytes(body)
    return await reader.readexactly(int(headers.get("content-length", 0)))


def head_of(answer: Answer, *, api_version: str) -> bytes:
    """Status line and headers of an answer."""
    common = {"Server": "FakeEngine", "Api-Version": api_version, "Date": formatdate(usegmt=True), "Connection": "close"}
    headers = {**common, **answer.headers}
    status = f"{answer.status} {'UPGRADED' if answer.status == 101 else 'Status'}"
    if answer.status == 101:
        headers |= {"Connection": "Upgrade", "Upgrade": "tcp"}
    elif answer.stream is not None and not answer.hijack:
        headers["Transfer-Encoding"] = "chunked"
    elif not answer.hijack:
        headers["Content-Length"] = str(len(answer.body))
    return "\r\n".join([f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]).encode()


def chunk(data: bytes) -> bytes:
    """One chunk of the chunked encoding."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def frame(stream: int, data: bytes) -> bytes:
    """One frame of multiplexed output."""
    return bytes((stream, 0, 0, 0)) + len(data).to_bytes(4, "big") + data
