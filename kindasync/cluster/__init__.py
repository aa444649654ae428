"""Cluster: topologies, order and rollback; nothing of HTTP."""

from kindasync.cluster._cluster import Cluster, add_node, delete, gc, remove_node, start, stop

__all__ = ["Cluster", "add_node", "delete", "gc", "remove_node", "start", "stop"]
