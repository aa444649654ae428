"""kindasync: local Kubernetes clusters whose nodes are containers, from asyncio. The public names, resolved when they are used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from kindasync.cluster import Cluster
    from kindasync.config import ClusterConfig
    from kindasync.docker import Engine
    from kindasync.errors import AlreadyExists, ClusterNotFound, ConfigInvalid, KindasyncError, NotReady
    from kindasync.node import Node

__all__ = [
    "AlreadyExists",
    "Cluster",
    "ClusterConfig",
    "ClusterNotFound",
    "ConfigInvalid",
    "Engine",
    "KindasyncError",
    "Node",
    "NotReady",
    "__version__",
]

_HOME = {
    "AlreadyExists": "errors",
    "Cluster": "cluster",
    "ClusterConfig": "config",
    "ClusterNotFound": "errors",
    "ConfigInvalid": "errors",
    "Engine": "docker",
    "KindasyncError": "errors",
    "Node": "node",
    "NotReady": "errors",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"kindasync.{_HOME[name]}"), name)
    raise AttributeError(f"module 'kindasync' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
