"""Cluster: topologies, order and rollback; nothing of HTTP."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from kindasync.cluster._cluster import Cluster, add_node, delete, gc, remove_node, start, stop
from kindasync.cluster._leftover import Leftover

if TYPE_CHECKING:
    from kindasync.cluster._pool import Pool
    from kindasync.cluster._port_forward import Address
    from kindasync.cluster._snapshots import Snapshot

__all__ = ["Address", "Cluster", "Leftover", "Pool", "Snapshot", "add_node", "delete", "gc", "remove_node", "start", "stop"]

_HOME = {"Address": "_port_forward", "Pool": "_pool", "Snapshot": "_snapshots"}  # what only some operations give


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"kindasync.cluster.{_HOME[name]}"), name)
    raise AttributeError(f"module 'kindasync.cluster' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
