"""TLS: the context of an endpoint that wants it, and a stream whose directions end one by one, which neither asyncio nor anyio has."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import anyio
from anyio.abc import ByteStream

from kindasync.errors import EngineUnreachable
from kindasync.transport._endpoint import Endpoint

_CHUNK_BYTES = 64 * 1024
Done = TypeVar("Done")


def context(endpoint: Endpoint) -> ssl.SSLContext | None:
    """The client's side of TLS for `endpoint`, or None where it is plain.

    Raises: EngineUnreachable for files that cannot be read or do not belong together.
    """
    files = endpoint.tls
    if files is None:
        return None
    try:
        result = ssl.create_default_context(cafile=files.ca)
        result.verify_flags &= ~ssl.VERIFY_X509_STRICT  # Python's default from 3.13 on; Docker's own guide makes certificates that fail it
        if not files.verify:
            result.check_hostname = False
            result.verify_mode = ssl.CERT_NONE
        if files.cert:
            result.load_cert_chain(files.cert, files.key)
    except OSError as error:  # ssl.SSLError is one
        raise EngineUnreachable(
            f"cannot use the TLS files for {endpoint}",
            why=str(error),
            hint="DOCKER_CERT_PATH names a directory with ca.pem, cert.pem and key.pem, as the docker client uses it",
        ) from error
    return result


class TlsStream(ByteStream):
    """TLS over `transport`. `side` is what `SSLContext.wrap_bio` takes besides: server_hostname, or server_side.

    Source: RFC 8446, section 6.1: close_notify ends the direction of who sends it.
    Raises: as anyio's streams; BrokenResourceError also where the far side ends without having said so.
    """

    def __init__(self, transport: ByteStream, context: ssl.SSLContext, **side: Any) -> None:
        self._transport = transport
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, **side)
        self._decoded = b""
        self._sending = anyio.Lock()

    async def handshake(self) -> None:
        """Agree with the far side. Raises: ssl.SSLError where that cannot be."""
        await self._done(self._tls.do_handshake)

    async def receive(self, max_bytes: int = _CHUNK_BYTES) -> bytes:
        """At most `max_bytes` of what the far side sends. Raises: EndOfStream after its last byte."""
        if not self._decoded:
            with _broken():
                self._decoded = await self._done(partial(self._read, max_bytes))
        if not self._decoded:
            raise anyio.EndOfStream
        data, self._decoded = self._decoded[:max_bytes], self._decoded[max_bytes:]
        return data

    async def send(self, item: bytes) -> None:
        """Send all of `item`."""
        with _broken():
            self._tls.write(item)
        await self._flush()

    async def send_eof(self) -> None:
        """Say that nothing more comes, and go on receiving."""
        with _broken():
            with suppress(ssl.SSLWantReadError):  # OpenSSL ends nothing while there is something left to read
                while data := self._read(_CHUNK_BYTES):
                    self._decoded += data
            with suppress(ssl.SSLWantReadError):  # it would wait for the far side's end, too
                self._tls.unwrap()
        await self._flush()

    async def aclose(self) -> None:
        """Close the connection, whatever was still to come."""
        await self._transport.aclose()

    def _read(self, max_bytes: int) -> bytes:
        try:
            return self._tls.read(max_bytes)
        except ssl.SSLZeroReturnError:
            return b""

    async def _done(self, act: Callable[[], Done]) -> Done:
        """What `act` comes to, when the far side has sent what it waits for."""
        while True:
            try:
                result = act()
            except ssl.SSLWantReadError:
                await self._flush()
                try:
                    self._incoming.write(await self._transport.receive())
                except anyio.EndOfStream:
                    self._incoming.write_eof()
            else:
                await self._flush()
                return result

    async def _flush(self) -> None:
        while self._outgoing.pending:  # else who receives would wait for who sends
            async with self._sending:
                await self._transport.send(self._outgoing.read())


@contextmanager
def _broken() -> Iterator[None]:
    try:
        yield
    except ssl.SSLError as error:
        raise anyio.BrokenResourceError from error
