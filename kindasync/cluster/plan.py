"""The plan of a cluster: all its objects, decided from configuration and facts before any of them is made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from itertools import islice
from typing import Any, TypeVar

from kindasync.cluster import _addresses
from kindasync.cluster._names import OWNER_LABEL, REGISTRY_LABEL, RUN_LABEL, node_names
from kindasync.config import DEFAULT_NAME, PICKED_BY_ENGINE, PICKED_BY_KINDASYNC, ClusterConfig, IPFamily, NodeConfig, Role
from kindasync.docker.containers import PortBinding
from kindasync.docker.networks import Subnet
from kindasync.docker.system import LOOPBACK, LOOPBACK_IPV6, EngineFacts
from kindasync.errors import ClusterError
from kindasync.node._contract import DNS_SEARCH_VARIABLE
from kindasync.node._kubeadm import API_PORT
from kindasync.node._registry import LOCAL_PORT, Cache, caches
from kindasync.node._spec import CLUSTER_LABEL, ROLE_LABEL, NodeSpec
from kindasync.proxy import node_env

Candidate = TypeVar("Candidate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Existing:
    """A cluster that is there, to which a plan adds nodes.

    Shape: `configuration` its ClusterConfiguration, as kubeadm keeps it; `names` of its nodes, and others that no node can have.
    """

    configuration: Mapping[str, Any]
    names: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a plan depends on beside the configuration.

    Shape: `engine` what the Engine is that the nodes are to be on, and `engine_url` where; `run` and `owner` name who makes them; `labels` of their
    containers; `image` the default one's reference; `pauses` by image reference; `network` its name, `subnets` those of it in which fixed addresses can
    be asked for, `network_subnets` all; `taken_addresses` and `taken_ports` by whatever is in the Engine; `host_ports` to pick from; `kubeconfig_dir` of
    the Engine's host, which control planes are to see; `env` variables, of which nodes get the proxies; `attempt` counts the plans of one create: another one gets other addresses and ports; `existing` None: the cluster is to be made.
    """

    engine: EngineFacts
    engine_url: str = ""
    run: str = ""
    owner: str = ""
    image: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    pauses: Mapping[str, bool] = field(default_factory=dict)
    network: str = "kind"
    subnets: tuple[Subnet, ...] = ()
    network_subnets: tuple[str, ...] = ()
    taken_addresses: frozenset[str] = frozenset()
    taken_ports: frozenset[int] = frozenset()
    host_ports: range = _addresses.HOST_PORTS
    kubeconfig_dir: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    attempt: int = 0
    existing: Existing | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePlan:
    """One node.

    Shape: `name`, `image` and `labels` of its container, of which `spec` says all; its `role`; `engine` the URL of its Engine; `address`, of the primary
    family, empty: the Engine gives one; `node_labels` Kubernetes' own; `config_index`: its place in the configuration; `pod_cidrs` empty: the controller-manager gives them, who alone knows what is free in a cluster that is there.
    """

    name: str
    role: Role
    engine: str
    labels: Mapping[str, str]
    address: str
    pod_cidrs: tuple[str, ...]
    image: str
    node_labels: Mapping[str, str]
    config_index: int
    spec: NodeSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class BalancerPlan:
    """The balancer before several control planes.

    Shape: `name`, `image` and `labels` of its container; `ipv4_address` and `ipv6_address` empty: the Engine gives one; `port` is where the API is published.
    """

    name: str
    labels: Mapping[str, str]
    ipv4_address: str
    ipv6_address: str
    image: str
    port: PortBinding


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryPlan:
    """The container of the cluster's registries.

    Shape: its `name`, `image`, `labels` and `env`; `port`: where the local one is published, on the Engine's loopback; None: there is none; `caches` of others.
    """

    name: str
    labels: Mapping[str, str]
    image: str
    env: Mapping[str, str]
    port: PortBinding | None
    caches: tuple[Cache, ...]

    @property
    def host(self) -> str:
        """How references to images of the local registry begin; empty: there is none."""
        return f"localhost:{self.port.host_port}" if self.port else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A cluster.

    Shape: `cluster` its name; `run` of which it is; `network` the name of the nodes' network; `nodes` in their order, control planes before workers; `balancer` and
    `registry` None: there is none; `ip_versions` the primary one first; `pod_subnets` and `service_subnets` in CIDR form, in that order;
    `control_plane_endpoint` is where nodes find the API server; `cert_sans` its other names; `existing` as in the facts.
    """

    cluster: str
    run: str
    network: str
    nodes: tuple[NodePlan, ...]
    balancer: BalancerPlan | None
    ip_versions: tuple[int, ...]
    pod_subnets: tuple[str, ...]
    service_subnets: tuple[str, ...]
    control_plane_endpoint: str
    cert_sans: tuple[str, ...]
    existing: Existing | None = None
    registry: RegistryPlan | None = None

    @property
    def first(self) -> NodePlan:
        """The control plane that is made first: its container's name is the cluster's lock."""
        return self.nodes[0]

    @property
    def single_node(self) -> bool:
        """Whether pods run on the control plane, as there is nothing else."""
        return len(self.nodes) == 1

    @property
    def control_planes(self) -> tuple[NodePlan, ...]:
        """All of them, in their order."""
        return tuple(node for node in self.nodes if node.role is Role.CONTROL_PLANE)

    @property
    def api_port(self) -> PortBinding:
        """Where the API is published: the balancer's port, else the first control plane's."""
        return self.balancer.port if self.balancer else self.first.spec.ports[0]


def plan(config: ClusterConfig, facts: Facts) -> Plan:
    """Decide everything. Pure: the same arguments give the same plan.

    Raises: ClusterError if addresses, host ports or podCIDRs are used up.
    """
    cluster = config.name or DEFAULT_NAME
    networking = config.networking
    if networking.ip_family is IPFamily.IPV6 and facts.engine.api_host == LOOPBACK:  # as for kind: IPv6's own loopback
        facts = replace(facts, engine=replace(facts.engine, api_host=LOOPBACK_IPV6))
    # Control planes first, else as written.
    config_indices = sorted(range(len(config.nodes)), key=lambda index: config.nodes[index].role is not Role.CONTROL_PLANE)
    ordered = [config.nodes[index] for index in config_indices]
    existing = facts.existing
    others = existing.names if existing else frozenset[str]()
    names = list(node_names(cluster, (node.role for node in ordered), others))
    nodes = []
    balancer_name = f"{cluster}-{Role.LOAD_BALANCER}" if config.control_planes > 1 else ""
    registries = config.extras.registries
    registry_name = (registries.local and registries.local.name) or f"{cluster}-registry" if registries.local or registries.mirrors else ""
    subnets = (*facts.network_subnets, *networking.service_subnets, *networking.pod_subnets)
    env = node_env(facts.env, subnets=subnets, nodes=[*names, *filter(None, (balancer_name, registry_name)), *sorted(others)])
    if config.dns_search_text is not None:
        env[DNS_SEARCH_VARIABLE] = config.dns_search_text
    taken_addresses, taken_ports = set(facts.taken_addresses), set(facts.taken_ports) | asked_ports(config)
    for index, (name, node) in enumerate(zip(names, ordered, strict=True)):
        addresses = _fixed_addresses(facts, taken_addresses, name)
        ports = _ports(config, node, facts, taken_ports, name)
        taken_ports.update(port.host_port for port in ports)
        image = node.image or facts.image
        extras = config.extras.node(config_indices[index])
        labels = {CLUSTER_LABEL: cluster, ROLE_LABEL: node.role.value, RUN_LABEL: facts.run, OWNER_LABEL: facts.owner}
        labels |= {**facts.labels, **extras.labels}
        nodes.append(
            NodePlan(
                name=name,
                role=node.role,
                engine=facts.engine_url,
                labels=labels,
                address=addresses.get(networking.ip_versions[0], ""),
                pod_cidrs=() if existing else _addresses.pod_cidrs(networking.pod_subnets, index),
                image=image,
                node_labels=dict(node.labels),
                config_index=config_indices[index],
                spec=NodeSpec(
                    name=name,
                    cluster=cluster,
                    role=node.role,
                    image=image,
                    pauses=facts.pauses.get(image, False),
                    network=facts.network,
                    ipv4_address=addresses.get(4, ""),
                    ipv6_address=addresses.get(6, ""),
                    ipv6=6 in networking.ip_versions,
                    labels=labels,
                    env=env,
                    ports=ports,
                    mounts=node.extra_mounts,
                    nano_cpus=extras.nano_cpus,
                    memory_bytes=extras.memory_bytes,
                    extra_hosts=extras.extra_hosts,
                    kubeconfig_dir=facts.kubeconfig_dir,
                ),
            )
        )
    balancer = _balancer(config, facts, balancer_name, nodes[0], taken_addresses, taken_ports) if balancer_name else None
    api_address = networking.api_server_address or facts.engine.api_host
    return Plan(
        cluster=cluster,
        run=facts.run,
        network=facts.network,
        nodes=tuple(nodes),
        balancer=balancer,
        ip_versions=networking.ip_versions,
        pod_subnets=networking.pod_subnets,
        service_subnets=networking.service_subnets,
        control_plane_endpoint=existing.configuration["controlPlaneEndpoint"] if existing else f"{balancer_name or names[0]}:{API_PORT}",
        cert_sans=tuple(dict.fromkeys(("localhost", LOOPBACK, api_address, facts.engine.api_host))),
        existing=existing,
        registry=_registry(config, facts, registry_name, nodes[0], taken_ports) if registry_name else None,
    )


def asked_ports(config: ClusterConfig) -> frozenset[int]:
    """The host ports that the configuration names. Those that we pick are others."""
    local = config.extras.registries.local
    mappings = (mapping for node in config.nodes for mapping in node.extra_port_mappings)
    return frozenset({config.networking.api_server_port, local.host_port if local else 0, *(mapping.host_port for mapping in mappings)})


def _balancer(config: ClusterConfig, facts: Facts, name: str, first: NodePlan, addresses: set[str], ports: set[int]) -> BalancerPlan:
    networking = config.networking
    fixed = _fixed_addresses(facts, addresses, name)
    wanted = (API_PORT, "tcp", networking.api_server_address or facts.engine.publish_address, networking.api_server_port)
    return BalancerPlan(
        name=name,
        labels={label: first.labels[label] for label in (CLUSTER_LABEL, RUN_LABEL, OWNER_LABEL)} | {ROLE_LABEL: Role.LOAD_BALANCER.value},
        ipv4_address=fixed.get(4, ""),
        ipv6_address=fixed.get(6, ""),
        image=first.image,
        port=_binding(wanted, facts, ports, name),
    )


def _registry(config: ClusterConfig, facts: Facts, name: str, first: NodePlan, ports: set[int]) -> RegistryPlan:
    """The registry. It is known by its name only, so its address may be any; and that it is the cluster's, by a label which kind's commands do not know."""
    registries = config.extras.registries
    asked = registries.local.host_port if registries.local else 0
    return RegistryPlan(
        name=name,
        labels={REGISTRY_LABEL: first.spec.cluster, RUN_LABEL: facts.run, OWNER_LABEL: facts.owner},
        image=first.image,
        env=first.spec.env,
        port=_binding((LOCAL_PORT, "tcp", LOOPBACK, asked), facts, ports, name) if registries.local else None,
        caches=caches(registries.mirrors),
    )


def _fixed_addresses(facts: Facts, taken: set[str], name: str) -> dict[int, str]:
    """An address in each subnet, by IP version, and of all families, also of those that Kubernetes does not use. They are added to those `taken`."""
    fixed: dict[int, str] = {}
    for subnet in facts.subnets:
        candidates = _addresses.candidate_addresses(subnet, taken, name)
        address = _nth(candidates, facts.attempt, f"address in subnet {subnet.subnet}")
        fixed[ip_address(address).version] = address
        taken.add(address)
    return fixed


def _nth(candidates: Iterator[Candidate], attempt: int, what: str) -> Candidate:
    for candidate in islice(candidates, attempt, None):
        return candidate
    raise ClusterError(f"no {what} is left to try", hint="delete clusters that are not used")


def _ports(config: ClusterConfig, node: NodeConfig, facts: Facts, taken: set[int], name: str) -> tuple[PortBinding, ...]:
    """The node's published ports: the API server's of a control plane, then the extra ones."""
    networking = config.networking
    everywhere, loopback = ("::", LOOPBACK_IPV6) if networking.ip_family is IPFamily.IPV6 else ("0.0.0.0", LOOPBACK)
    wanted: list[tuple[int, str, str, int]] = []
    if node.role is Role.CONTROL_PLANE:
        alone = config.control_planes == 1  # else it is the balancer that is reached, and this one for looking at it
        address = (networking.api_server_address or facts.engine.publish_address) if alone else loopback
        wanted.append((API_PORT, "tcp", address, networking.api_server_port if alone else PICKED_BY_KINDASYNC))
    wanted += [
        (mapping.container_port, mapping.protocol.lower(), mapping.listen_address or everywhere, mapping.host_port)
        for mapping in node.extra_port_mappings
    ]
    return tuple(_binding(each, facts, taken, name) for each in wanted)


def _binding(wanted: tuple[int, str, str, int], facts: Facts, taken: set[int], name: str) -> PortBinding:
    container_port, protocol, host_ip, asked = wanted
    host_port = 0 if asked == PICKED_BY_ENGINE else asked
    if asked == PICKED_BY_KINDASYNC:
        candidates = _addresses.candidate_ports(taken, f"{name} {container_port} {protocol}", facts.host_ports)
        host_port = _nth(candidates, facts.attempt, "host port")
        taken.add(host_port)
    return PortBinding(container_port=container_port, protocol=protocol, host_ip=host_ip, host_port=host_port)
