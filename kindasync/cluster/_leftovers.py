"""Leftovers: what crashed runs have left, told from all that is there. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from kindasync.cluster._leftover import Leftover
from kindasync.cluster._lookup import is_node, role_of
from kindasync.cluster._names import NETWORK_LABEL, OWNER_LABEL, REGISTRY_LABEL, RUN_LABEL, natural
from kindasync.cluster._owner import Fate
from kindasync.config import Role
from kindasync.docker.containers import Container
from kindasync.docker.networks import Network
from kindasync.node._spec import CLUSTER_LABEL

_HOUR_S = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """All that is there. `fates` of owners; `finished`: the runs that have ended well; `directories` of clusters, on this machine."""

    containers: tuple[Container, ...]
    networks: tuple[Network, ...] = ()
    directories: tuple[Path, ...] = ()
    fates: Mapping[str, Fate] = field(default_factory=dict)
    finished: Collection[str] = ()
    now_s: float = 0.0
    older_than_s: float | None = None

    def is_old(self, created_s: float) -> bool:
        """Whether it counts as abandoned by its age where it cannot be told whether its owner lives."""
        return self.older_than_s is not None and self.now_s - created_s > self.older_than_s


def cluster_of(container: Container) -> str:
    """The cluster that a container belongs to, as a node, balancer or registry; empty: none."""
    return container.labels.get(CLUSTER_LABEL) or container.labels.get(REGISTRY_LABEL, "")


def abandoned(container: Container, seen: Seen) -> str:
    """Why nobody works on a container any more, be it finished or not; empty: somebody may, or it was to be kept (it has no owner then)."""
    owner = container.labels.get(OWNER_LABEL)
    if not owner or RUN_LABEL not in container.labels:
        return ""
    created_s = int(container.created or 0)
    match seen.fates.get(owner, Fate.UNKNOWN):
        case Fate.ENDED:
            host, *_, pid, _ = owner.split("/")
            return f"process {pid} on {host.partition('+')[0]}, which made it, has ended"
        case Fate.UNKNOWN if seen.is_old(created_s):
            return f"it was never finished, and is {(seen.now_s - created_s) / _HOUR_S:.1f} h old"
    return ""


def left_containers(seen: Seen) -> Iterator[tuple[Container, Leftover]]:
    """The containers that crashed runs have left.

    A cluster is as far as its oldest node's run has come, whoever made it: if that has ended well, or is not abandoned, then
    only nodes are leftovers that another run was adding. Without any node there is no cluster.
    """
    for cluster in sorted({cluster_of(each) for each in seen.containers} - {""}, key=natural):
        members = sorted((each for each in seen.containers if cluster_of(each) == cluster), key=_age)
        why = {each.id: reason for each in members if (reason := abandoned(each, seen))}
        oldest = next(filter(is_node, members), None)
        goes_on = oldest and (oldest.id not in why or oldest.labels[RUN_LABEL] in seen.finished)
        for each in members:
            if each.id in why and (not goes_on or (is_node(each) and each.labels[RUN_LABEL] not in seen.finished)):
                kind = "node" if goes_on else "container"
                yield each, Leftover(kind=kind, name=each.name, cluster=cluster, why=why[each.id])


def left_networks(seen: Seen, leaving: Sequence[Container]) -> Iterator[Leftover]:
    """The networks of ours that no container names but those `leaving`; not one that a process may just have made, and be about to use."""
    staying = {at.network for each in seen.containers if each not in leaving for at in each.attachments}
    left = {at.network for each in leaving for at in each.attachments}
    for network in seen.networks:
        if NETWORK_LABEL not in network.labels or network.name in staying:
            continue
        fate = seen.fates.get(network.labels.get(OWNER_LABEL, ""), Fate.UNKNOWN)
        old = fate is Fate.UNKNOWN and seen.is_old(_created_s(network, seen))
        if network.name in left or fate is Fate.ENDED or old:
            yield Leftover(kind="network", name=network.name, cluster=network.labels[NETWORK_LABEL], why="no other container is in it")


def _created_s(network: Network, seen: Seen) -> float:
    try:
        return datetime.fromisoformat(network.created).timestamp()
    except ValueError:  # not said: as if it were new
        return seen.now_s


def left_directories(seen: Seen, leaving: Sequence[Container]) -> Iterator[Leftover]:
    """The directories of clusters of which no container will be there."""
    clusters = {cluster_of(each) for each in seen.containers if each not in leaving}
    for directory in seen.directories:
        if directory.name not in clusters:
            yield Leftover(kind="directory", name=str(directory), cluster=directory.name, why="no such cluster is left")


def _age(container: Container) -> tuple[object, ...]:
    """A sort key: the oldest first; of one second, the first control plane, as it is made."""
    return int(container.created or 0), role_of(container) is not Role.CONTROL_PLANE, natural(container.name)
