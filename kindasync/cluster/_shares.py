"""Shares: how much of the processors nodes get where more is wanted than there is.

Of clusters that are made side by side, one that is ready goes on to want some, for what starts in it: it gives way until the others are ready, too. An Engine cannot
put back what it has changed where cgroups are of version 2; so it is written in the node, in the cgroup namespace of which its own is the root.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from kindasync.cluster._together import together
from kindasync.docker import Connection
from kindasync.docker.execs import container_exec
from kindasync.docker.system import EngineFacts

if TYPE_CHECKING:
    from kindasync.node import Node

SHARES_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Setting:
    """The file of a cgroup; what it says of any container, and of one that gives way. Source: Linux, cgroup-v1 and cgroup-v2."""

    path: str
    usual: int
    few: int


_SETTINGS = {
    1: _Setting(path="/sys/fs/cgroup/cpu/cpu.shares", usual=1024, few=64),
    2: _Setting(path="/sys/fs/cgroup/cpu.weight", usual=100, few=6),
}


def share_argv(cgroup_version: int, *, few: bool) -> list[str]:
    """The program that gives a node its usual share, or few."""
    setting = _SETTINGS[cgroup_version]
    return ["sh", "-c", 'echo "$0" >"$1"', str(setting.few if few else setting.usual), setting.path]


async def share(connection: Connection, facts: EngineFacts, nodes: Iterable[Node], *, few: bool) -> None:
    """Give nodes their usual share of the processors, or few, in at most SHARES_S seconds. Raises nothing: it only is slower where it cannot be done."""
    argv = share_argv(facts.cgroup_version, few=few)

    async def give(node: Node) -> None:
        await container_exec(connection, node.id, argv)

    with anyio.move_on_after(SHARES_S):
        await together(nodes, give)
