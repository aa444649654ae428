"""Refused upgrades: whatever form the refusal has, its words are what is raised, and nothing is waited for without end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest

from kindasync.docker import Connection
from kindasync.docker.execs import container_exec
from kindasync.errors import ConnectionLost
from kindasync.testing import FakeEngine
from kindasync.transport import Endpoint, _upgrade
from kindasync.transport._http import Reply, Request
from kindasync.transport._upgrade import upgrade
from tests.engine.lab import Lab
from tests.engine.scripted import http, scripted

pytestmark = pytest.mark.anyio

WORDS = b'{"message": "container is not running"}'
HALVES = (WORDS[:7], WORDS[7:])


def chunked(*parts: bytes) -> bytes:
    return b"".join(f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in (*parts, b""))


async def refusal(socket: Path, answer: Sequence[bytes | None]) -> Reply:
    """What comes of an offer to upgrade that is answered so."""
    async with scripted(socket, answer):
        request = Request(method="POST", path="/exec/1/start", body=b"{}")
        with anyio.fail_after(10):
            async with upgrade(Endpoint(socket_path=socket), request) as reply:
                assert isinstance(reply, Reply)
                return reply


@pytest.mark.parametrize(
    "answer",
    [
        [http(409, f"Content-Length: {len(WORDS)}", body=WORDS)],
        [http(409, f"content-length: {len(WORDS)}"), WORDS],
        [http(409, f"Content-Length: {len(WORDS)}"), *HALVES],
        [http(409, "Connection: close"), WORDS, None],  # its end is the connection's
        [http(409, "Connection: close"), *HALVES, None],
        [http(409, "Transfer-Encoding: chunked", body=chunked(WORDS))],
        [http(409, "Transfer-Encoding: chunked"), chunked(*HALVES)],
        [http(409, "Transfer-Encoding: chunked"), b"7;extension=1\r\n" + HALVES[0] + b"\r\n", chunked(HALVES[1])],
        [http(409, "Transfer-Encoding: chunked"), chunked(WORDS)[:-5], None],  # without its end
        [http(409, "Content-Length: many"), WORDS, None],
        [http(409, "Content-Length: -1"), WORDS, None],
        [http(409, "Content-Length: 4711"), WORDS, None],  # more than comes
    ],
)
async def test_the_words_of_a_refusal(tmp_path: Path, answer: Sequence[bytes | None]) -> None:
    """Whole, wherever packets begin: with a length, in chunks, or until the connection ends."""
    reply = await refusal(tmp_path / "s", answer)

    assert (reply.status, reply.body) == (409, WORDS)


@pytest.mark.parametrize("header", ["Content-Length: many", "Content-Length: 4711", "Transfer-Encoding: chunked", "Server: any"])
async def test_a_refusal_that_does_not_end_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, header: str) -> None:
    """What came of it has to do: the connection stays open, and nothing more comes."""
    monkeypatch.setattr(_upgrade, "REFUSAL_S", 0.05)
    body = chunked(WORDS)[:-5] if "chunked" in header else WORDS

    reply = await refusal(tmp_path / "s", [http(409, header), body])

    assert (reply.status, reply.body) == (409, WORDS)


async def test_a_refusal_without_words(tmp_path: Path) -> None:
    """Its status is told nevertheless."""
    reply = await refusal(tmp_path / "s", [http(503, "Content-Length: 0")])

    assert (reply.status, reply.body) == (503, b"")


async def test_an_upgrade_that_is_never_answered_is_given_up(
    fake: FakeEngine, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After ANSWER_S, as a lost connection: whether the program runs is not known."""
    monkeypatch.setattr(_upgrade, "ANSWER_S", 0.1)
    container = await Lab(connection, fake, "docker-26").running()
    fake.hang("ExecStart")

    with anyio.fail_after(10), pytest.raises(ConnectionLost) as raised:
        await container_exec(connection, container.id, ["cat"], stdin=b"x")

    assert raised.value.why == "no answer within 0.1 s"
    assert raised.value.hint
