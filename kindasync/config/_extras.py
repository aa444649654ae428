"""What kind's document has no place for, as frozen data: our own (kindasync/v1alpha1, ClusterExtras), names in snake_case.

Texts are as written. The properties that make numbers of them are for texts that break no rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kindasync.config._duration import duration_s
from kindasync.config._quantity import quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkExtras:
    """The nodes' network. `name` empty: `kind`, or as KIND_EXPERIMENTAL_DOCKER_NETWORK says; subnets (CIDR) empty: free ones."""

    name: str = ""
    ipv4_subnet: str = ""
    ipv6_subnet: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeExtras:
    """One node's container. `cpus` and `memory`, quantities, are limits; empty: none. `extra_hosts`: addresses by host name."""

    cpus: str = ""
    memory: str = ""
    extra_hosts: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def nano_cpus(self) -> int:
        """The limit of processors, in billionths of one, as Engines take it; 0: none."""
        return int(quantity(self.cpus) * 10**9) if self.cpus else 0

    @property
    def memory_bytes(self) -> int:
        """The limit of memory; 0: none."""
        return int(quantity(self.memory)) if self.memory else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalRegistry:
    """A registry that nodes and this machine reach. `name` empty: a default; `host_port` 0: picked by kindasync."""

    name: str = ""
    host_port: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryMirror:
    """A pull-through mirror of the registry `host` ("docker.io"). `remote_url` empty: where that registry is known to be.

    `username` empty: it asks without credentials; `password_file`: a path of this machine, read when a cluster is created.
    """

    host: str = ""
    remote_url: str = ""
    username: str = ""
    password_file: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registries:
    """The registries that belong to a cluster. `local` None: there is none."""

    local: LocalRegistry | None = None
    mirrors: tuple[RegistryMirror, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterExtras:
    """Our own additions. `wait` is a duration ("1m30s"), `wait_for_dns` whether DNS counts for it; `preload` paths of image archives; `nodes` by position, as kind's."""

    wait: str = ""
    wait_for_dns: bool = False
    preload: tuple[str, ...] = ()
    network: NetworkExtras = field(default_factory=NetworkExtras)
    nodes: tuple[NodeExtras, ...] = ()
    registries: Registries = field(default_factory=Registries)

    @property
    def wait_s(self) -> float | None:
        """How long to wait until the cluster is ready; None: not said."""
        return duration_s(self.wait) if self.wait else None

    def node(self, index: int) -> NodeExtras:
        """What there is for the node at that place in the configuration."""
        return self.nodes[index] if index < len(self.nodes) else NodeExtras()
