"""Cluster: topologies, order and rollback; nothing of HTTP."""

from kindasync.cluster._cluster import Cluster, add_node, delete, gc, remove_node, start, stop
from kindasync.cluster._leftover import Leftover

__all__ = ["Cluster", "Leftover", "add_node", "delete", "gc", "remove_node", "start", "stop"]
