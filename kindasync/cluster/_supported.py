"""Supported: what of the configuration this version cannot do yet. It is refused, never ignored."""

from __future__ import annotations

from collections.abc import Iterator

from kindasync.config import ClusterConfig, NetworkExtras
from kindasync.errors import Problem

_LATER = "is not supported by this version of kindasync"


def unsupported(config: ClusterConfig) -> Iterator[Problem]:
    """Everything in `config` that would have no effect."""
    if config.extras.network != NetworkExtras():
        yield Problem(path="extras.network", message=_LATER)
