"""Listener: a socket that is listened on, and the connections that have come by it."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Coroutine
from typing import Any

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]

_LIMIT = 1024 * 1024  # of what a reader keeps, and of a header


class Listener:
    """Serves each connection in a task of its own. `ended` is called whenever one has ended."""

    def __init__(self, serve: Serve, *, ended: Callable[[], None] = lambda: None) -> None:
        self._serve = serve
        self._end_told = ended
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    @property
    def connections(self) -> int:
        """How many there are."""
        return len(self._connections)

    async def start(self, listening: socket.socket, context: ssl.SSLContext | None = None) -> None:
        """Listen. In two steps, the first of which cannot be cancelled: the socket always has its owner."""
        self._socket = listening
        server = await asyncio.start_server(self._accept, sock=listening, ssl=context, limit=_LIMIT, start_serving=False)
        await server.start_serving()

    def close(self) -> None:
        """Listen no more, and break all connections off.

        Only the socket is closed, never asyncio's server, which would lose what it is just accepting (gh-109564).
        """
        if self._socket.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
        for task, writer in self._connections.items():
            writer.transport.abort()
            task.cancel()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._socket.fileno() < 0:
            writer.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._connections[task] = writer
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._connections[task]
        self._end_told()
