"""Names: of a cluster's nodes, and the labels by which its objects are found again."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from itertools import count

from kindasync.config import Role

RUN_LABEL = "kindasync.run"  # which create made the object: rollback touches nothing else
OWNER_LABEL = "kindasync.owner"  # the process that runs it, for gc; empty: gc leaves it alone
REGISTRY_LABEL = "kindasync.registry"  # on the container of a cluster's registries: the cluster
CACHE_LABEL = "kindasync.registry-cache"  # on volumes of pull-through caches, which stay: the remote
POOL_LABEL = "kindasync.pool"  # on nodes of clusters that were made for a pool: its name
CONFIG_LABEL = "kindasync.config"  # on nodes: a digest of the configuration and the image that the create was asked for
NETWORK_LABEL = "kindasync.network"  # on networks that we made, and so may remove: the cluster for which


def node_names(cluster: str, roles: Iterable[Role], taken: Collection[str] = ()) -> Iterator[str]:
    """kind's names: `<cluster>-control-plane`, `<cluster>-control-plane2`, `<cluster>-worker`, …; the first of each that are not `taken`."""
    numbers: dict[Role, Iterator[int]] = {}
    for role in roles:
        candidates = (f"{cluster}-{role.value}{number if number > 1 else ''}" for number in numbers.setdefault(role, count(1)))
        yield next(name for name in candidates if name not in taken)


def natural(name: str) -> tuple[object, ...]:
    """A sort key by which worker10 comes after worker2."""
    return tuple((1, int(part), "") if part.isdigit() else (0, 0, part) for part in re.split(r"(\d+)", name))
