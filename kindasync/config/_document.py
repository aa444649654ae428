"""The configuration of a cluster, as frozen data: kind's document (kind.x-k8s.io/v1alpha4), names in snake_case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from kindasync.config._extras import ClusterExtras

DEFAULT_NAME = "kind"
PICKED_BY_KINDASYNC = 0
PICKED_BY_ENGINE = -1


class Role(StrEnum):
    """What a container is in its cluster; the values are kind's, as in labels."""

    CONTROL_PLANE = "control-plane"
    WORKER = "worker"
    LOAD_BALANCER = "external-load-balancer"


class Propagation(StrEnum):
    """Mount propagation, by Kubernetes' names."""

    NONE = "None"
    HOST_TO_CONTAINER = "HostToContainer"
    BIDIRECTIONAL = "Bidirectional"


class IPFamily(StrEnum):
    """Address families of nodes, pods and Services."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"
    DUAL = "dual"


class ProxyMode(StrEnum):
    """How kube-proxy does its work; none: it is not installed."""

    IPTABLES = "iptables"
    IPVS = "ipvs"
    NFTABLES = "nftables"
    NONE = "none"


class Protocol(StrEnum):
    """Protocols of port mappings."""

    TCP = "TCP"
    UDP = "UDP"
    SCTP = "SCTP"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtraMount:
    """A file or directory of the Engine's host in a node. A relative `host_path` is below the working directory."""

    host_path: str
    container_path: str
    read_only: bool = False
    selinux_relabel: bool = False
    propagation: Propagation = Propagation.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class PortMapping:
    """A port of a node on the Engine's host. `host_port`: 0, picked by kindasync; -1, picked by the Engine at every start."""

    container_port: int
    host_port: int = PICKED_BY_KINDASYNC
    listen_address: str = ""
    protocol: Protocol = Protocol.TCP


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchJson6902:
    """A JSON patch (RFC 6902) for the documents of one group, version and kind. `patch` is YAML or JSON."""

    group: str
    version: str
    kind: str
    patch: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """One node. `image` empty: the default image."""

    role: Role = Role.CONTROL_PLANE
    image: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    extra_mounts: tuple[ExtraMount, ...] = ()
    extra_port_mappings: tuple[PortMapping, ...] = ()
    kubeadm_config_patches: tuple[str, ...] = ()
    kubeadm_config_patches_json6902: tuple[PatchJson6902, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Networking:
    """Addresses and what serves them. Empty texts are defaults that depend on `ip_family`; `dns_search` None: as the Engine's host."""

    ip_family: IPFamily = IPFamily.IPV4
    api_server_port: int = PICKED_BY_KINDASYNC
    api_server_address: str = ""
    pod_subnet: str = ""
    service_subnet: str = ""
    disable_default_cni: bool = False
    kube_proxy_mode: ProxyMode = ProxyMode.IPTABLES
    dns_search: tuple[str, ...] | None = None

    @property
    def ip_versions(self) -> tuple[int, ...]:
        """4, 6 or both: first that of the first Service subnet, which is the one that nodes and Services have by default."""
        if self.ip_family is IPFamily.DUAL:
            return (6, 4) if ":" in self.service_subnets[0] else (4, 6)
        return (6,) if self.ip_family is IPFamily.IPV6 else (4,)

    @property
    def pod_subnets(self) -> tuple[str, ...]:
        """The pods' subnets, one per family."""
        return _subnets(self.pod_subnet, self.ip_family, "10.244.0.0/16", "fd00:10:244::/56")

    @property
    def service_subnets(self) -> tuple[str, ...]:
        """The Services' subnets, one per family."""
        return _subnets(self.service_subnet, self.ip_family, "10.96.0.0/16", "fd00:10:96::/112")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterConfig:
    """A cluster. `name` empty: the caller's default; `extras` from our own document. Texts are as written; nothing here depends on a host."""

    name: str = ""
    nodes: tuple[NodeConfig, ...] = (NodeConfig(),)
    networking: Networking = field(default_factory=Networking)
    feature_gates: Mapping[str, bool] = field(default_factory=dict)
    runtime_config: Mapping[str, str] = field(default_factory=dict)
    kubeadm_config_patches: tuple[str, ...] = ()
    kubeadm_config_patches_json6902: tuple[PatchJson6902, ...] = ()
    containerd_config_patches: tuple[str, ...] = ()
    containerd_config_patches_json6902: tuple[str, ...] = ()
    extras: ClusterExtras = field(default_factory=ClusterExtras)

    @property
    def control_planes(self) -> int:
        """How many there are."""
        return sum(node.role is Role.CONTROL_PLANE for node in self.nodes)

    @property
    def dns_search_text(self) -> str | None:
        """`networking.dnsSearch` as the node's entrypoint takes it. Empty: no search line at all; None: the one that Docker wrote."""
        search = self.networking.dns_search
        return None if search is None else " ".join(search)


def _subnets(text: str, family: IPFamily, ipv4: str, ipv6: str) -> tuple[str, ...]:
    defaults = {IPFamily.IPV4: ipv4, IPFamily.IPV6: ipv6, IPFamily.DUAL: f"{ipv4},{ipv6}"}
    return tuple(part.strip() for part in (text or defaults[family]).split(","))
