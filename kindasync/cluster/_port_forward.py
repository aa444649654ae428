"""Port forward: a port of a pod on this machine's loopback, through the API server.

Source: Kubernetes, k8s.io/cri-streaming, portforward: a connection has a channel for data and one for an error, each of which begins with
the port, in two bytes. Nothing in it, nor behind it in containerd, ends one direction alone.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress

import anyio

from kindasync import events
from kindasync._delivering import delivering
from kindasync._hosted import hosted
from kindasync.cluster._api import ClusterApi
from kindasync.cluster._channels import PIECE_BYTES, V4, Channels, open_channels
from kindasync.cluster._conditions import state_of
from kindasync.cluster._discovery import Reference
from kindasync.cluster._pods import pod_of
from kindasync.errors import ApiUnreachable, ClusterError, KindasyncError, one_error
from kindasync.events import Bus, Callback

LINGER_S = 10.0
GOODBYE_S = 1.0
_DATA, _ERROR = 0, 1
_PORT_BYTES = 2
_LAST_PORT = 65535
_RESET = struct.pack("ii", 1, 0)


class Address(str):
    """Where a port is reached: "127.0.0.1:PORT", and the parts of that."""

    __slots__ = ()

    @property
    def host(self) -> str:
        """An address of the loopback."""
        return self.rpartition(":")[0]

    @property
    def port(self) -> int:
        """The port of this machine."""
        return int(self.rpartition(":")[2])


@asynccontextmanager
async def port_forward(
    connect: Callable[[], AbstractAsyncContextManager[ClusterApi]],
    cluster: str,
    reference: Reference,
    port: int | str,
    on_event: Callback | Bus | None = None,
    *,
    local_port: int = 0,
) -> AsyncIterator[Address]:
    """Listen on a port of the loopback; its address. See `Cluster.port_forward`."""

    async def serve(ready: Callable[[Address], None]) -> None:
        with one_error():
            async with delivering(Bus(), on_event) as bus, connect() as api:
                await _Forward(api, bus, cluster, reference, port).serve(local_port, ready)

    async with hosted(serve) as address:
        yield address


class _Forward:
    def __init__(self, api: ClusterApi, bus: Bus, cluster: str, reference: Reference, port: int | str) -> None:
        self._api = api
        self._bus = bus
        self._cluster = cluster
        self._reference = reference
        self._port = port

    async def serve(self, local_port: int, ready: Callable[[Address], None]) -> None:
        """Accept connections until cancelled. Raises: before it is ready, what keeps it from any."""
        await self._path()
        with _listening(local_port) as listening:
            listening.setblocking(False)
            ready(Address(f"127.0.0.1:{listening.getsockname()[1]}"))
            async with anyio.create_task_group() as tasks:
                while True:
                    client, _ = await asyncio.get_running_loop().sock_accept(listening)
                    tasks.start_soon(self._connection, client)

    async def _path(self) -> str:
        """Where a connection goes now: another pod, when that of the one before has ended."""
        target = await pod_of(self._api, self._reference)
        if (target.pod.get("status") or {}).get("phase") != "Running":
            raise ClusterError(
                f"{self._reference} does not run",
                why=state_of({**target.pod, "kind": "Pod"}),
                hint=f'wait: cluster.wait_for("pod/{target.pod["metadata"]["name"]}", "condition=Ready")',
            )
        return f"{target.path}/portforward?ports={target.port(self._port)}"

    async def _connection(self, client: socket.socket) -> None:
        """Carry one connection to its end; one that fails is reset, so that nobody takes what came of it for all."""
        with client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what the pod sends has waited enough
            try:
                async with open_channels(self._api, await self._path(), V4) as channels:
                    with one_error():
                        await _relay(client, channels)
            except (KindasyncError, OSError) as error:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                if isinstance(error, KindasyncError):
                    self._bus.emit(events.Warned(cluster=self._cluster, message=f"a connection to {self._reference} failed: {error}"))


def _listening(port: int) -> socket.socket:
    """A socket that takes connections to a port of the loopback; 0: any that is free. Raises: ClusterError."""
    why = f"ports are 1 to {_LAST_PORT}"
    try:
        if 0 <= port <= _LAST_PORT:
            return socket.create_server(("127.0.0.1", port))
    except OSError as error:
        why = error.strerror or str(error)
    raise ClusterError(f"cannot listen on 127.0.0.1:{port}", why=why, hint="take another port; 0 is any that is free")


async def _relay(client: socket.socket, channels: Channels) -> None:
    """Carry data both ways, until the pod ends the connection; or the client has, and nothing has come for LINGER_S."""
    loop = asyncio.get_running_loop()
    began: set[int] = set()
    client_ended = False
    async with anyio.create_task_group() as tasks:

        async def send() -> None:
            nonlocal client_ended
            while data := await loop.sock_recv(client, PIECE_BYTES):
                with suppress(ApiUnreachable):  # whether the pod has ended the connection, or it is lost, is told by what is received
                    await channels.send(_DATA, data)
            client_ended = True
            tasks.cancel_scope.deadline = anyio.current_time() + LINGER_S

        tasks.start_soon(send)
        async with aclosing(channels.messages()) as messages:
            async for channel, message in messages:
                data = message if channel in began else message[_PORT_BYTES:]
                began.add(channel)
                if channel == _ERROR and data:
                    raise ClusterError("the node could not forward", why=data.decode(errors="replace"))
                if channel == _DATA and data:
                    await loop.sock_sendall(client, data)
                    if client_ended:
                        tasks.cancel_scope.deadline = anyio.current_time() + LINGER_S
        client.shutdown(socket.SHUT_WR)
        # Closed with something unread, it would be reset, and what was sent could be lost.
        tasks.cancel_scope.deadline = anyio.current_time() + GOODBYE_S
