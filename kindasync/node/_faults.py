"""Faults: what befalls a node for as long as a context is open. Then it is healed, however the context ends."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from kindasync._shielded import answered, carried_through
from kindasync.docker import Connection
from kindasync.docker.containers import (
    Attachment,
    Container,
    container_inspect,
    container_kill,
    container_pause,
    container_start,
    container_unpause,
    container_wait,
)
from kindasync.docker.execs import ANY_CODE, container_run
from kindasync.docker.networks import network_connect, network_disconnect
from kindasync.docker.system import engine_time
from kindasync.errors import EngineTimeout, KindasyncError, NodeError, NotReady

DEATH_S = 30.0
HEAL_S = 90.0
Connect = Callable[[], AbstractAsyncContextManager[Connection]]
Act = Callable[[Connection], Awaitable[None]]
Settle = Callable[[datetime], Awaitable[None]]
"""Waits until all is as it was; it gets when that ended, by the clock of the Engine, which is the nodes'."""


@asynccontextmanager
async def paused(node_id: str, connect: Connect, settle: Settle | None) -> AsyncIterator[None]:
    """Its processes frozen."""
    container = await _running(node_id, connect)

    async def pause(connection: Connection) -> None:
        await container_pause(connection, container.id, subject=container.subject)

    async def unpause(connection: Connection) -> None:
        if (await container_inspect(connection, container.id)).state == "paused":
            await container_unpause(connection, container.id, subject=container.subject)

    async with _fault(container.name, connect, pause, unpause, settle):
        yield


@asynccontextmanager
async def killed(node_id: str, connect: Connect, settle: Settle | None) -> AsyncIterator[None]:
    """Its processes ended, as by a power cut."""
    container = await _running(node_id, connect)

    async def kill(connection: Connection) -> None:
        await answered(container_kill(connection, container.id, "SIGKILL"))
        try:
            with anyio.fail_after(DEATH_S):
                await container_wait(connection, container.id)
        except TimeoutError as error:
            raise EngineTimeout(
                f"node {container.name} was killed, and still runs", why=f"it has not ended within {DEATH_S:g} s"
            ) from error

    async def start(connection: Connection) -> None:
        await container_start(connection, container.id, subject=container.subject)

    async with _fault(container.name, connect, kill, start, settle):
        yield


@asynccontextmanager
async def disconnected(node_id: str, connect: Connect, settle: Settle | None) -> AsyncIterator[None]:
    """Its places in all networks taken from it."""
    container = await _running(node_id, connect)
    if not container.attachments:
        raise NodeError(f"node {container.name} is in no network", why="it was disconnected before", hint="connect it again first")
    if not container.has_fixed_address:
        raise NodeError(
            f"node {container.name} cannot be disconnected",
            why="it would not get its address back: the Engine was not asked to fix it, as the kind program made the node, or its network",
            hint="pause it, or kill it; or create the cluster in a network that kindasync makes",
        )
    async with connect() as connection:
        routes = await _routes(connection, container)

    async def disconnect(connection: Connection) -> None:
        for at in container.attachments:
            await network_disconnect(connection, at.network_id, container.id)

    async def reconnect(connection: Connection) -> None:
        now = await container_inspect(connection, container.id)
        for at in container.attachments:
            if not now.attachment(at.network_id):
                await _connect(connection, container, at)
        if now.state == "running":
            for version, route in sorted(routes - await _routes(connection, container)):
                await container_run(connection, container.name, ("ip", version, "route", "replace", *route.split()))

    async with _fault(container.name, connect, disconnect, reconnect, settle):
        yield


async def _connect(connection: Connection, container: Container, at: Attachment) -> None:
    await network_connect(
        connection, at.network_id, container.id, ipv4_address=at.fixed_ipv4, ipv6_address=at.fixed_ipv6, aliases=at.aliases
    )


async def _routes(connection: Connection, container: Container) -> frozenset[tuple[str, str]]:
    """The routes through other nodes, each with ip's option for its family. They go with the interface, and only the pod network knows them.

    Without the interface's name: an Engine gives the next one another (eth1 instead of eth0).
    """
    found = set()
    for version in ("-4", "-6"):
        result = await container_run(connection, container.name, ("ip", version, "route", "show"), passing=ANY_CODE)
        lines = (re.sub(r" dev \S+", "", line).strip() for line in result.text.splitlines())
        found |= {(version, line) for line in lines if " via " in line and not line.startswith("default")}
    return frozenset(found)


async def _running(node_id: str, connect: Connect) -> Container:
    """The node's container. Raises: NodeError if it does not run, or is paused: it would not be as it was afterwards."""
    async with connect() as connection:
        container = await container_inspect(connection, node_id)
    if container.state != "running":
        raise NodeError(f"node {container.name} does not run", why=f"its container is {container.state}", hint="have it run again first")
    return container


@asynccontextmanager
async def _fault(node: str, connect: Connect, act: Act, heal: Act, settle: Settle | None) -> AsyncIterator[None]:
    """`heal` looks at what there is to do, as `act` may not have come to its end; `settle` is not for who is cancelled."""
    since: datetime | None = None

    async def settled() -> None:
        if settle and since:
            await settle(since)

    async def healed() -> None:
        with anyio.move_on_after(HEAL_S) as scope:
            async with connect() as connection:
                await heal(connection)
        if scope.cancelled_caught:
            raise NotReady(f"node {node} to be as it was before", "the Engine, or a program in it, has not answered", after_s=HEAL_S)

    try:
        async with connect() as connection:
            await act(connection)
            if settle:
                since = await engine_time(connection)
        await checkpoint_if_cancelled()  # while the Engine was asked
        yield
    except BaseException as error:
        try:
            await carried_through(healed)
            if isinstance(error, Exception):
                await settled()
        except KindasyncError as failure:
            error.add_note(f"node {node} was not healed: {failure}")
        raise
    try:
        await carried_through(healed)
    except KindasyncError as failure:
        failure.add_note(f"node {node} was not healed: kindasync start has nodes run again that are paused or stopped")
        raise
    await settled()
