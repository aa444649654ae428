"""A stream of TLS whose directions end one by one, which those of asyncio and anyio do not."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import anyio
from anyio.abc import ByteStream

_CHUNK_BYTES = 64 * 1024


class TlsStream(ByteStream):
    """TLS over `transport`. `side` is what `SSLContext.wrap_bio` takes besides: server_hostname, or server_side.

    One task may send while another one receives. Source: RFC 8446, section 6.1: close_notify ends the direction of who sends it.
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
                await self._done(self._decode)
        if not self._decoded:
            raise anyio.EndOfStream
        data, self._decoded = self._decoded[:max_bytes], self._decoded[max_bytes:]
        return data

    async def send(self, item: bytes) -> None:
        """Send all of `item`."""
        async with self._sending:
            with _broken():
                self._tls.write(item)
            await self._transport.send(self._outgoing.read())  # before anybody sees it: who receives would wait for who sends

    async def send_eof(self) -> None:
        """Say that nothing more comes, and go on receiving."""
        async with self._sending:
            with _broken():
                with suppress(ssl.SSLWantReadError):  # OpenSSL ends nothing while there is something left to read
                    while self._decode():
                        pass
                with suppress(ssl.SSLWantReadError):  # it would wait for the far side's end, too
                    self._tls.unwrap()
            await self._transport.send(self._outgoing.read())

    async def aclose(self) -> None:
        """Close the connection, whatever was still to come."""
        await self._transport.aclose()

    def _decode(self) -> bool:
        """Decode a piece of what has come; False at its end."""
        try:
            data = self._tls.read(_CHUNK_BYTES)
        except ssl.SSLZeroReturnError:
            return False
        self._decoded += data
        return bool(data)

    async def _done(self, act: Callable[[], object]) -> None:
        """Act when the far side has sent what that waits for, and send what TLS itself has to say."""
        done = False
        while not done:
            try:
                act()
                done = True
            except ssl.SSLWantReadError:
                pass
            if self._outgoing.pending:
                async with self._sending:
                    await self._transport.send(self._outgoing.read())
            if not done:
                try:
                    self._incoming.write(await self._transport.receive())
                except anyio.EndOfStream:
                    self._incoming.write_eof()


@contextmanager
def _broken() -> Iterator[None]:
    try:
        yield
    except ssl.SSLError as error:
        raise anyio.BrokenResourceError from error
