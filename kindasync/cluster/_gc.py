"""Gc: what crashed runs have left, found and removed. Nothing that is finished, was to be kept, lives, or is not ours."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from kindasync.cluster import _leases, _state
from kindasync.cluster._delete import Left, forget, kubeconfig_dirs, remove_containers
from kindasync.cluster._leftover import Leftover
from kindasync.cluster._leftovers import Seen, abandoned, cluster_of, left_containers, left_directories, left_networks
from kindasync.cluster._marks import Mark, has_mark
from kindasync.cluster._names import OWNER_LABEL, RUN_LABEL
from kindasync.cluster._network import release_network
from kindasync.cluster._owner import fate_of, has_ended
from kindasync.cluster._remove import remove_node
from kindasync.docker import Connection
from kindasync.docker.containers import Container, container_list
from kindasync.docker.networks import network_list
from kindasync.docker.system import system_info
from kindasync.errors import KindasyncError
from kindasync.events import Bus


@dataclass(frozen=True, slots=True, kw_only=True)
class Garbage:
    """What crashed runs have left: `leftovers`, and the containers of those that are containers."""

    leftovers: tuple[Leftover, ...]
    containers: tuple[Container, ...] = ()


async def find(connection: Connection, *, older_than_s: float | None) -> Garbage:
    """What crashed runs have left. Raises: EngineError."""
    engine_id = (await system_info(connection)).engine_id
    # Directories, containers, owners, marks, in this order: what is made meanwhile is not taken for something that was left.
    directories, probes = _state.cluster_dirs(engine_id), _state.probes(engine_id)
    seen = Seen(
        containers=await container_list(connection), networks=await network_list(connection), now_s=time.time(), older_than_s=older_than_s
    )
    owners = {
        labels.get(OWNER_LABEL, "") for labels in (*(each.labels for each in seen.containers), *(each.labels for each in seen.networks))
    }
    seen = replace(seen, fates={each: fate_of(each) for each in owners})
    finished: set[str] = set()
    leased = _leases.left(connection.engine.url)
    for each in seen.containers:
        if {(cluster_of(each), maker) for maker in (each.labels.get(OWNER_LABEL, ""), "")} & leased or each.labels.get(
            RUN_LABEL
        ) in finished:
            continue
        if abandoned(each, seen) and await has_mark(connection, each, Mark.FINISHED):
            finished.add(each.labels[RUN_LABEL])
    seen = replace(seen, finished=finished)
    left = [*left_containers(seen)]
    leaving = [container for container, _ in left]
    containers = tuple(container for container, leftover in left if leftover.kind == "container")
    mounted = {path for each in containers for path in kubeconfig_dirs([each], cluster_of(each))}  # they may be another user's
    seen = replace(seen, directories=tuple(sorted({*directories, *mounted})))
    ended = [path for path, maker in probes if has_ended(maker)]
    leftovers = (
        *(leftover for _, leftover in left),
        *left_networks(seen, leaving),
        *(Leftover(kind="directory", name=str(path), cluster="", why="the process that made it has ended") for path in ended),
        *left_directories(seen, leaving),
    )
    return Garbage(leftovers=leftovers, containers=containers)


async def remove(connection: Connection, garbage: Garbage, bus: Bus) -> list[Left]:
    """Remove what was found; what stays, and why."""
    left: list[Left] = []
    for cluster in dict.fromkeys(map(cluster_of, garbage.containers)):
        containers = [each for each in garbage.containers if cluster_of(each) == cluster]
        left += await remove_containers(connection, containers, bus=bus, cluster=cluster)
    for leftover in garbage.leftovers:
        try:
            match leftover.kind:
                case "node":
                    await remove_node(connection, bus, leftover.cluster, leftover.name, timeout_s=0, force=True)
                case "network":
                    await release_network(connection, leftover.name, bus, leftover.cluster)
                case "directory" if leftover.cluster:
                    left += forget(Path(leftover.name), bus=bus, cluster=leftover.cluster)
                case "directory":
                    _state.remove_probe(Path(leftover.name))
        except (KindasyncError, OSError) as error:
            left.append(Left(f"{leftover.kind} {leftover.name}", error))
    if not left:
        await _leases.sweep(connection.engine.url)
    return left
