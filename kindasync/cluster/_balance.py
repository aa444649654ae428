"""Balance: the balancer told which control planes there are, without ending the connections that go through it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from kindasync import events
from kindasync.cluster._lookup import members, role_of
from kindasync.cluster._run import Run
from kindasync.config import Role
from kindasync.docker import Connection
from kindasync.docker.archives import path_stat, put_archive
from kindasync.docker.containers import Container, container_kill
from kindasync.errors import Conflict, NotFound
from kindasync.node._balancer import CONFIG_PATH, RELOAD_SIGNAL, config
from kindasync.node._files import tar_of


def balancer_among(containers: Sequence[Container]) -> Container | None:
    """A cluster's balancer."""
    return next((each for each in containers if role_of(each) is Role.LOAD_BALANCER), None)


async def is_ours(connection: Connection, balancer: Container) -> bool:
    """Whether a balancer is haproxy with a configuration of ours; the kind program's is another program."""
    try:
        await path_stat(connection, balancer.id, CONFIG_PATH)
    except NotFound:
        return False
    return True


async def rebalance(run: Run, *, without: str = "") -> None:
    """Give the balancer all control planes that the Engine has now, but for one that leaves; nothing in a cluster that has no balancer of ours.

    Others may add and remove nodes at the same time: whoever writes last has seen what all had done before.
    """
    began = run.bus.elapsed_s()
    written: list[str] | None = None
    while True:
        containers = await members(run.connection, run.cluster)
        names = [each.name for each in containers if role_of(each) is Role.CONTROL_PLANE and each.name != without]
        balancer = balancer_among(containers)
        if names == written or not balancer or not await is_ours(run.connection, balancer):
            break
        ipv6 = any(at.ipv6_address or at.fixed_ipv6 for at in balancer.attachments)
        await put_archive(run.connection, balancer.id, "/", tar_of({CONFIG_PATH: config(names, ipv6=ipv6)}))
        with suppress(Conflict):  # it does not run, and will read it at its start
            await container_kill(run.connection, balancer.id, RELOAD_SIGNAL)
        written = names
    if written is not None:
        run.emit(events.BalancerReloaded, since=began, control_planes=tuple(written))
