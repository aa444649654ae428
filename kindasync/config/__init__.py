"""Config: the configuration of a cluster, from kind's v1alpha4 document and our own beside it; the same names in snake_case.

The classes are plain frozen dataclasses. `load` needs pydantic and imports it when it is first called.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kindasync.config._document import (
    DEFAULT_NAME,
    PICKED_BY_ENGINE,
    PICKED_BY_KINDASYNC,
    ClusterConfig,
    ExtraMount,
    IPFamily,
    Networking,
    NodeConfig,
    PatchJson6902,
    PortMapping,
    Propagation,
    Protocol,
    ProxyMode,
    Role,
)
from kindasync.config._extras import ClusterExtras, LocalRegistry, NetworkExtras, NodeExtras, Registries, RegistryMirror
from kindasync.config._rules import problems_of

__all__ = [
    "DEFAULT_NAME",
    "PICKED_BY_ENGINE",
    "PICKED_BY_KINDASYNC",
    "ClusterConfig",
    "ClusterExtras",
    "ExtraMount",
    "IPFamily",
    "LocalRegistry",
    "NetworkExtras",
    "Networking",
    "NodeConfig",
    "NodeExtras",
    "PatchJson6902",
    "PortMapping",
    "Propagation",
    "Protocol",
    "ProxyMode",
    "Registries",
    "RegistryMirror",
    "Role",
    "load",
    "problems_of",
]


def load(source: str | bytes | Path | Mapping[str, Any] | Sequence[Mapping[str, Any]], *, name: str = "") -> ClusterConfig:
    """Read a configuration: YAML text, the path of a YAML file, or the same as data: kind's document, or that and our own.

    `name` wins over the one that it says.

    Source: kind's configuration, apiVersion kind.x-k8s.io/v1alpha4. Our own: ClusterExtras, apiVersion kindasync/v1alpha1;
    the paths of its problems begin with "extras".
    Raises: ConfigInvalid with all problems, each with its path; OSError for a file that cannot be read.
    """
    from kindasync.config._decode import load as decode

    return decode(source, name=name)
