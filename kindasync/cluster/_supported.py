"""Supported: what of the configuration this version cannot do yet. It is refused, never ignored."""

from __future__ import annotations

from collections.abc import Iterator

from kindasync.config import ClusterConfig, IPFamily, NetworkExtras
from kindasync.errors import Problem

_LATER = "is not supported by this version of kindasync"


def unsupported(config: ClusterConfig) -> Iterator[Problem]:
    """Everything in `config` that would have no effect."""
    if config.networking.ip_family is not IPFamily.IPV4:
        yield Problem(path="networking.ipFamily", message=f"{config.networking.ip_family} {_LATER}")
    if config.networking.dns_search is not None:
        yield Problem(path="networking.dnsSearch", message=_LATER)
    if config.extras.network != NetworkExtras():
        yield Problem(path="extras.network", message=_LATER)
