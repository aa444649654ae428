"""Cluster: topologies, order and rollback; nothing of HTTP."""

from kindasync.cluster._cluster import Cluster, delete, start, stop

__all__ = ["Cluster", "delete", "start", "stop"]
