"""TLS: an Engine that is reached over tcp, with certificates made as Docker's guide says."""

from __future__ import annotations

import os
import shutil
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream, SocketAttribute, SocketStream

from kindasync.docker import Engine
from kindasync.docker.execs import container_exec
from kindasync.docker.system import system_info
from kindasync.errors import ConnectionLost, EngineUnreachable, one_error
from kindasync.testing import FakeEngine
from kindasync.testing._api_server import CERTIFICATE as FOREIGN
from kindasync.transport import Endpoint, TlsFiles
from kindasync.transport._http import Reply, Request
from kindasync.transport._tls import context
from kindasync.transport._tls_stream import TlsStream
from kindasync.transport._upgrade import upgrade
from tests.engine.certificates import files_in, server_context
from tests.engine.lab import Lab
from tests.engine.relay import Relay, tcp_relay
from tests.pages import ROOT, blocks, typed

pytestmark = pytest.mark.anyio


@pytest.fixture
def files(tmp_path: Path) -> TlsFiles:
    """What DOCKER_CERT_PATH names."""
    directory = files_in(tmp_path / "certificates")
    return TlsFiles(ca=directory / "ca.pem", cert=directory / "cert.pem", key=directory / "key.pem")


@pytest.fixture
async def relay(fake: FakeEngine, tmp_path: Path, anyio_backend: str) -> AsyncIterator[Relay]:
    """The fake, behind TLS."""
    async with tcp_relay(Path(fake.url.removeprefix("unix://")), server_context(tmp_path)) as relay:
        yield relay


async def version(relay: Relay, tls: TlsFiles | None, host: str = "localhost") -> str:
    """Speak with the Engine, and say which it is."""
    with anyio.fail_after(10):
        async with Engine(Endpoint(host=host, port=relay.port, tls=tls)).connect() as connection:
            return (await system_info(connection)).version


async def test_a_create_as_the_page_says(
    fake: FakeEngine, relay: Relay, files: TlsFiles, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is typed in a shell, with the certificates where it says."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.defpath}")
    assert files.ca
    shutil.copytree(files.ca.parent, home / ".docker/build")
    _, lines = blocks(ROOT / "docs/remote.md", "console")

    await anyio.run_process("\n".join(typed(lines)).replace("build.example:2376", f"localhost:{relay.port}"))

    assert list(fake.containers) == ["kind-control-plane"]


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's defaults from 3.13 on, in any Python."""
    plain = ssl.create_default_context

    def create_default_context(*args: Any, **options: Any) -> ssl.SSLContext:
        result = plain(*args, **options)
        result.verify_flags |= ssl.VERIFY_X509_STRICT
        return result

    monkeypatch.setattr(ssl, "create_default_context", create_default_context)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_both_sides_show_their_certificates(relay: Relay, files: TlsFiles, host: str) -> None:
    """The Engine's is of the authority in ca.pem, and for its host; ours is what the Engine wants to see."""
    assert await version(relay, files, host) == "26.1.5"


async def test_certificates_of_dockers_guide_do_in_every_python(relay: Relay, files: TlsFiles, strict: None) -> None:
    """They lack what RFC 5280 wants, and Python checks from 3.13 on; the docker client does not."""
    assert not _strict(files)
    assert await version(relay, files) == "26.1.5"


def _strict(files: TlsFiles) -> bool:
    made = context(Endpoint(host="localhost", port=2376, tls=files))
    assert made is not None
    return bool(made.verify_flags & ssl.VERIFY_X509_STRICT)


async def test_an_engine_of_another_authority_is_refused(relay: Relay, files: TlsFiles, tmp_path: Path) -> None:
    """Unless that was asked for."""
    (tmp_path / "other.pem").write_text(FOREIGN)
    other = replace(files, ca=tmp_path / "other.pem")

    with pytest.raises(EngineUnreachable) as refused:
        await version(relay, other)

    assert "CERTIFICATE_VERIFY_FAILED" in refused.value.why
    assert "DOCKER_CERT_PATH" in refused.value.hint
    assert await version(relay, replace(other, verify=False)) == "26.1.5"


async def test_without_a_certificate_of_ours_the_connection_is_lost(relay: Relay, files: TlsFiles) -> None:
    """The Engine says so only afterwards; the error says what may be missing."""
    with pytest.raises((ConnectionLost, EngineUnreachable)) as lost:
        await version(relay, replace(files, cert=None, key=None))

    assert "DOCKER_CERT_PATH" in lost.value.hint


async def test_an_engine_that_wants_tls_and_gets_none(relay: Relay) -> None:
    """The error says what to set."""
    with pytest.raises(ConnectionLost) as lost:
        await version(relay, None)

    assert "DOCKER_TLS_VERIFY=1" in lost.value.hint


def test_a_plain_endpoint_has_no_context() -> None:
    """No file is read for it."""
    assert context(Endpoint(host="localhost", port=2375)) is None


@pytest.mark.parametrize("broken", ["ca", "cert", "key"])
@pytest.mark.parametrize("content", [None, "no PEM", FOREIGN])
def test_files_that_cannot_be_used(files: TlsFiles, broken: str, content: str | None) -> None:
    """Missing, of another form, or not belonging together; any certificate may be an authority's."""
    path = getattr(files, broken)
    path.unlink() if content is None else path.write_text(content)
    if (broken, content) == ("ca", FOREIGN):
        assert context(Endpoint(host="localhost", port=2376, tls=files))
        return

    with pytest.raises(EngineUnreachable, match="cannot use the TLS files for tcp://localhost:2376") as refused:
        context(Endpoint(host="localhost", port=2376, tls=files))

    assert "DOCKER_CERT_PATH" in refused.value.hint


# -- upgraded connections


@asynccontextmanager
async def served(handler: Callable[[TlsStream], Awaitable[None]], directory: Path) -> AsyncIterator[int]:
    """The port where `handler` gets each connection."""

    async def serve(transport: SocketStream) -> None:
        async with transport:
            stream = TlsStream(transport, server_context(directory), server_side=True)
            with suppress(ssl.SSLError, anyio.BrokenResourceError):
                await stream.handshake()
                await handler(stream)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    with one_error():
        async with listener, anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, serve)
            yield listener.extra(SocketAttribute.local_port)
            tasks.cancel_scope.cancel()


@pytest.fixture
async def lab(files: TlsFiles, tmp_path: Path, anyio_backend: str) -> AsyncIterator[Lab]:
    """A fake behind TLS, where the end of one direction is handed on alone, as dockerd does it."""

    async def hand_on(here: TlsStream) -> None:
        async with await anyio.connect_unix(fake.url.removeprefix("unix://")) as there, anyio.create_task_group() as directions:
            directions.start_soon(pump, here, there)
            directions.start_soon(pump, there, here)

    with FakeEngine() as fake:
        async with served(hand_on, tmp_path) as port, Engine(Endpoint(host="localhost", port=port, tls=files)).connect() as connection:
            yield Lab(connection, fake, "docker-26")


async def pump(source: ByteStream, sink: ByteStream) -> None:
    with suppress(anyio.BrokenResourceError):
        async for data in source:
            await sink.send(data)
        await sink.send_eof()


@pytest.mark.parametrize("data", [b"", b"in\0\xff", bytes(range(256)) * 40_000], ids=["none", "some", "much"])
async def test_the_input_of_a_program_ends_where_it_ends(lab: Lab, data: bytes) -> None:
    """And its output still comes: each direction of a TLS connection ends alone."""
    container = await lab.running()

    with anyio.fail_after(20):
        result = await container_exec(lab.connection, container.id, ["cat"], stdin=data)

    assert (result.exit_code, result.stdout) == (0, data)


async def answer(handler: Callable[[TlsStream], Awaitable[None]], files: TlsFiles, directory: Path) -> bytes:
    """What comes, when the whole request has been sent before most of it is read."""
    async with served(handler, directory) as port:
        tls = context(Endpoint(host="localhost", port=port, tls=files))
        assert tls is not None
        with anyio.fail_after(10):
            async with await anyio.connect_tcp("127.0.0.1", port) as transport:
                stream = TlsStream(transport, tls, server_hostname="localhost")
                await stream.handshake()
                received = await stream.receive(1)
                await stream.send(b"request")
                await stream.send_eof()
                async for data in stream:
                    received += data
                return received


async def test_what_came_before_our_end_is_not_lost(files: TlsFiles, tmp_path: Path) -> None:
    """Nobody has read it yet then."""
    before = bytes(range(256)) * 1000

    async def handler(stream: TlsStream) -> None:
        await stream.send(before)
        request = b"".join([data async for data in stream])
        await stream.send(b"answer to " + request)
        await stream.send_eof()

    assert await answer(handler, files, tmp_path) == before + b"answer to request"


async def test_an_end_that_was_not_said_is_none(files: TlsFiles, tmp_path: Path) -> None:
    """Somebody in between can have cut off the rest."""

    async def handler(stream: TlsStream) -> None:
        await stream.send(b"the first half")
        assert [data async for data in stream] == [b"request"]

    with pytest.raises(anyio.BrokenResourceError):
        await answer(handler, files, tmp_path)


async def test_neither_direction_waits_for_the_other(files: TlsFiles, tmp_path: Path) -> None:
    """A program that says much, and reads only then: what is sent to it meanwhile is held up, and what it says still comes."""
    much = bytes(range(256)) * 40_000

    async def handler(stream: TlsStream) -> None:
        await stream.send(much)
        request = b"".join([data async for data in stream])
        await stream.send(str(len(request)).encode())
        await stream.send_eof()

    async with served(handler, tmp_path) as port:
        tls = context(Endpoint(host="localhost", port=port, tls=files))
        assert tls is not None
        async with await anyio.connect_tcp("127.0.0.1", port) as transport:
            stream = TlsStream(transport, tls, server_hostname="localhost")
            await stream.handshake()

            async def send() -> None:
                for _ in range(10):
                    await stream.send(much)
                await stream.send_eof()

            with anyio.fail_after(20):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(send)
                    received = b"".join([data async for data in stream])

    assert received == much + str(10 * len(much)).encode()


@pytest.mark.parametrize("authority", ["theirs", "another"])
async def test_whom_an_upgrade_speaks_to(relay: Relay, files: TlsFiles, tmp_path: Path, authority: str) -> None:
    """The Engine of ca.pem, as all other requests."""
    (tmp_path / "another.pem").write_text(FOREIGN)
    tls = files if authority == "theirs" else replace(files, ca=tmp_path / "another.pem")
    request = Request(method="POST", path="/exec/1/start", body=b"{}")

    if authority == "theirs":
        async with upgrade(Endpoint(host="localhost", port=relay.port, tls=tls), request) as reply:
            assert isinstance(reply, Reply)
            assert reply.status == 404
    else:
        with pytest.raises(EngineUnreachable, match="localhost") as refused:
            async with upgrade(Endpoint(host="localhost", port=relay.port, tls=tls), request):
                pass
        assert "CERTIFICATE_VERIFY_FAILED" in refused.value.why
        assert "DOCKER_CERT_PATH" in refused.value.hint
