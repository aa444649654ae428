"""Config: the configuration of a cluster, from kind's v1alpha4 document; the same names in snake_case.

The classes are plain frozen dataclasses. `load` needs pydantic and imports it when it is first called.
"""

from __future__ import annotations

from collections.abc import Mapping
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
from kindasync.config._rules import problems_of

__all__ = [
    "DEFAULT_NAME",
    "PICKED_BY_ENGINE",
    "PICKED_BY_KINDASYNC",
    "ClusterConfig",
    "ExtraMount",
    "IPFamily",
    "Networking",
    "NodeConfig",
    "PatchJson6902",
    "PortMapping",
    "Propagation",
    "Protocol",
    "ProxyMode",
    "Role",
    "load",
    "problems_of",
]


def load(source: str | bytes | Path | Mapping[str, Any]) -> ClusterConfig:
    """Read a configuration: YAML text, the path of a YAML file, or the same as data.

    Source: kind's configuration, apiVersion kind.x-k8s.io/v1alpha4.
    Raises: ConfigInvalid with all problems, each with its path; OSError for a file that cannot be read.
    """
    from kindasync.config._decode import load as decode

    return decode(source)
