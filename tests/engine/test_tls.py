"""TLS: an Engine that is reached over tcp, with certificates made as Docker's guide says."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from kindasync.docker import Engine
from kindasync.docker.execs import container_exec
from kindasync.docker.system import system_info
from kindasync.errors import ConnectionLost, EngineError, EngineUnreachable
from kindasync.testing import FakeEngine
from kindasync.testing._api_server import CERTIFICATE as FOREIGN
from kindasync.transport import Endpoint, TlsFiles
from kindasync.transport._tls import context
from tests.engine.certificates import files_in, server_context
from tests.engine.relay import Relay, tcp_relay

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


async def test_a_program_gets_no_input_over_tls(fake: FakeEngine, relay: Relay, files: TlsFiles) -> None:
    """One direction cannot be ended alone there; it is refused before anything is run."""
    async with Engine(Endpoint(host="localhost", port=relay.port, tls=files)).connect() as connection:
        with pytest.raises(EngineError, match="its input over TLS") as refused:
            await container_exec(connection, "any", ["cat"], stdin=b"x")

    assert "as a file" in refused.value.hint
    assert fake.requests_of("ContainerExec") == []
