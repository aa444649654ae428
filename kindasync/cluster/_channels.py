"""Channels: numbered streams of bytes over one WebSocket, as the API server carries them to programs and ports of pods.

Source: Kubernetes, k8s.io/streaming, wsstream: the first byte of a message is the number of its channel. Only "v5.channel.k8s.io" can end one.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import anyio
from yarl import URL

from kindasync.cluster._api import API_S, ClusterApi, unreachable
from kindasync.errors import ApiRefused, ApiUnreachable

V4, V5 = "v4.channel.k8s.io", "v5.channel.k8s.io"
PIECE_BYTES = 64 * 1024
CLOSE_S = 2.0
_END = 255


class Channels:
    """The streams of one connection, while it is open."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    @property
    def can_end(self) -> bool:
        """Whether one channel can be ended in our direction."""
        return self._socket.protocol == V5

    async def send(self, channel: int, data: bytes) -> None:
        """Send all of `data`, as fast as the far side takes it. Raises: ApiUnreachable."""
        try:
            for start in range(0, len(data), PIECE_BYTES):
                await self._socket.send_bytes(bytes((channel,)) + data[start : start + PIECE_BYTES])
        except (aiohttp.ClientError, ConnectionError) as error:
            raise unreachable(error) from error

    async def end(self, channel: int) -> None:
        """Say that nothing more comes in a channel. Raises: ApiUnreachable."""
        try:
            await self._socket.send_bytes(bytes((_END, channel)))
        except (aiohttp.ClientError, ConnectionError) as error:
            raise unreachable(error) from error

    async def messages(self) -> AsyncGenerator[tuple[int, bytes], None]:
        """(channel, data) of what the far side sends, until it closes. Raises: ApiUnreachable if the connection ends otherwise."""
        while True:
            message = await self._socket.receive()
            match message.type:
                case aiohttp.WSMsgType.BINARY:
                    yield message.data[0], message.data[1:]
                case aiohttp.WSMsgType.TEXT:
                    continue
                case aiohttp.WSMsgType.CLOSE:
                    return
                case _:
                    raise unreachable(self._socket.exception() or ConnectionError("the connection was lost"))


@asynccontextmanager
async def open_channels(api: ClusterApi, path: str, *protocols: str) -> AsyncIterator[Channels]:
    """Connect to what serves channels. Raises: ApiRefused; ApiUnreachable. Leaving the context closes the connection."""
    url = URL(f"{api.session.server}{path}", encoded=True)
    timeout = aiohttp.ClientWSTimeout(ws_close=CLOSE_S)
    try:
        with anyio.fail_after(API_S):
            socket = await api.session.http.ws_connect(url, protocols=protocols, timeout=timeout, max_msg_size=0)
    except aiohttp.WSServerHandshakeError as error:
        raise await _refusal(api, path, error.status) from error
    except (aiohttp.ClientError, TimeoutError) as error:
        raise unreachable(error) from error
    try:
        yield Channels(socket)
    finally:
        await socket.close()


async def _refusal(api: ClusterApi, path: str, status: int) -> ApiRefused | ApiUnreachable:
    """Why an upgrade was refused: aiohttp has not read it, so the same is asked without one, which is refused for the same reason, or, as things change, another."""
    try:
        await api.request("GET", path)
    except ApiUnreachable as error:
        return error
    except ApiRefused as error:
        if error.status == status:
            return error
        return ApiRefused("GET", path, status, f"it does not upgrade to a WebSocket; asked again: {error.why}")
    return ApiRefused("GET", path, status, "it does not upgrade to a WebSocket")
