"""Rules: what a configuration of the right shape may still not say; each problem with its path."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from kindasync.config._address import is_address
from kindasync.config._document import ClusterConfig, IPFamily, Networking, NodeConfig, PortMapping
from kindasync.config._extras_rules import extras_problems
from kindasync.config._unknown import Unknown
from kindasync.errors import Problem

NAME = re.compile(r"[a-z0-9.-]+")
POSSIBLE_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")  # of a cluster that is there: an Engine takes no other for a container's
_LABEL_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_LABEL = re.compile(rf"(?:(?=.{{1,253}}/)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*/)?{_LABEL_NAME}")
_OF_KUBERNETES = re.compile(r"(?:^|\.)(?:kubernetes|k8s)\.io$")
_OF_KUBELETS = re.compile(r"(?:^|\.)(?:kubelet|node)\.kubernetes\.io$")
_KUBELET_LABELS = (
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
)
_BEGINS_HOST_NAME = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)*[a-z0-9][a-z0-9-]*")
HOST_NAME_LENGTH = 63


def problems_of(config: ClusterConfig, unknown: Unknown = Unknown()) -> list[Problem]:  # noqa: B008 (it never changes)
    """Everything that is wrong with `config`, in the order of the documents; a part that is `unknown` says nothing about others."""
    return [
        *name_problems(config.name),
        *_node_count_problems(config, unknown),
        *(problem for index, node in enumerate(config.nodes) for problem in _node_problems(node, f"nodes[{index}]")),
        *_host_port_problems(config, unknown),
        *_networking_problems(config.networking, unknown),
        *_patch_problems(config),
        *extras_problems(config, unknown),
    ]


def name_problems(name: str) -> Iterator[Problem]:
    """The rule for cluster names; an empty one is a default's place."""
    if name and not NAME.fullmatch(name):
        yield Problem(path="name", message=f'"{name}" may only hold lower-case letters, digits, "." and "-"')
    elif name and not _BEGINS_HOST_NAME.fullmatch(name):
        message = f'"{name}" with "-control-plane" and the like would be no host name: each part between dots begins and ends with a letter or digit'
        yield Problem(path="name", message=message)


def length_problems(config: ClusterConfig) -> Iterator[Problem]:
    """Whether the nodes' names, which become host names and values of labels, would be too long. kind only warns, and fails later."""
    longest = len(config.name) + len("-external-load-balancer" if config.control_planes > 1 else "-control-plane")
    if longest > HOST_NAME_LENGTH:
        message = (
            f'"{config.name}" is {longest - HOST_NAME_LENGTH} letters too long: with "-control-plane" and the like it becomes host names'
        )
        yield Problem(path="name", message=message)


def _patch_problems(config: ClusterConfig) -> Iterator[Problem]:
    from kindasync.config.patches import patch_problems

    yield from patch_problems(config)


def _node_count_problems(config: ClusterConfig, unknown: Unknown) -> Iterator[Problem]:
    if config.control_planes < 1 and not any(f"nodes[{index}].role" in unknown for index in range(len(config.nodes))):
        yield Problem(path="nodes", message="at least one must have role control-plane")


def _node_problems(node: NodeConfig, path: str) -> Iterator[Problem]:
    for index, mount in enumerate(node.extra_mounts):
        below = f"{path}.extraMounts[{index}]"
        if not mount.host_path:
            yield Problem(path=f"{below}.hostPath", message="is required")
        if not mount.container_path:
            yield Problem(path=f"{below}.containerPath", message="is required")
        elif not mount.container_path.startswith("/"):
            yield Problem(path=f"{below}.containerPath", message=f'"{mount.container_path}" is not absolute')
        for name, value in (("hostPath", mount.host_path), ("containerPath", mount.container_path)):
            if ":" in value:
                yield Problem(path=f"{below}.{name}", message=f'"{value}" has a colon, which Engines take for the end of a path')
            if "\0" in value:
                yield Problem(path=f"{below}.{name}", message="has a character that no path has (NUL)")
    for label, value in node.labels.items():
        yield from _label_problems(label, f"{path}.labels.{label}")
        if value and not re.fullmatch(_LABEL_NAME, value):
            yield Problem(
                path=f"{path}.labels.{label}", message=f'"{value}" is no value of a label: up to 63 letters, digits, "-", "_" and "."'
            )
    for index, mapping in enumerate(node.extra_port_mappings):
        yield from _port_problems(mapping, f"{path}.extraPortMappings[{index}]")


def _label_problems(label: str, path: str) -> Iterator[Problem]:
    """What no Node can have, or its kubelet would not begin with.

    Source: kubernetes.io, "Labels and Selectors", and "Well-Known Labels"; --node-labels of the kubelet.
    """
    prefix, slash, _ = label.rpartition("/")
    if not _LABEL.fullmatch(label):
        yield Problem(path=path, message="is no label: up to 63 letters, digits, '-', '_' and '.', perhaps after a DNS name and '/'")
    elif slash and _OF_KUBERNETES.search(prefix) and not _OF_KUBELETS.search(prefix) and label not in _KUBELET_LABELS:
        yield Problem(path=path, message=f"a kubelet may not give itself labels of {prefix}")


def _port_problems(mapping: PortMapping, path: str) -> Iterator[Problem]:
    if not 1 <= mapping.container_port <= 65535:
        yield Problem(path=f"{path}.containerPort", message=f"{mapping.container_port} is not between 1 and 65535")
    if not -1 <= mapping.host_port <= 65535:
        message = f"{mapping.host_port} is not between -1 (picked by the Engine), 0 (picked by kindasync) and 65535"
        yield Problem(path=f"{path}.hostPort", message=message)
    if mapping.listen_address and not is_address(mapping.listen_address):
        yield Problem(path=f"{path}.listenAddress", message=f'"{mapping.listen_address}" is not an IP address')


def _host_port_problems(config: ClusterConfig, unknown: Unknown) -> Iterator[Problem]:
    """Two that want one port of the Engine's host: of all nodes, of the API server and of the registry."""
    seen: list[tuple[str, PortMapping]] = []
    for path, wanted in _host_ports(config):
        if any(each in unknown for each in _settles(path)):
            continue
        for other_path in [other_path for other_path, other in seen if _clash(wanted, other)][:1]:
            yield Problem(path=path, message=f"{wanted.host_port}/{wanted.protocol} is what {other_path} is, too, at the same address")
        seen.append((path, wanted))


def _host_ports(config: ClusterConfig) -> Iterator[tuple[str, PortMapping]]:
    """Each with its path. Those of the API server and of the registry are at a loopback address, unless another one is said."""
    for node_index, node in enumerate(config.nodes):
        for index, mapping in enumerate(node.extra_port_mappings):
            yield f"nodes[{node_index}].extraPortMappings[{index}].hostPort", mapping
    networking, local = config.networking, config.extras.registries.local
    address = networking.api_server_address or ("::1" if networking.ip_family is IPFamily.IPV6 else "127.0.0.1")
    yield "networking.apiServerPort", PortMapping(container_port=6443, host_port=networking.api_server_port, listen_address=address)
    if local:
        yield "extras.registries.local.hostPort", PortMapping(container_port=5000, host_port=local.host_port, listen_address="127.0.0.1")


def _settles(path: str) -> tuple[str, ...]:
    """The paths that settle, together, which port is meant by the one at `path`."""
    if path == "networking.apiServerPort":
        return path, "networking.apiServerAddress", "networking.ipFamily"
    mapping = path.removesuffix(".hostPort")
    return path, f"{mapping}.listenAddress", f"{mapping}.protocol"


def _clash(one: PortMapping, other: PortMapping) -> bool:
    if one.host_port < 1 or (one.host_port, one.protocol) != (other.host_port, other.protocol):
        return False
    addresses = [_bound(mapping.listen_address) for mapping in (one, other)]
    return addresses[0] == addresses[1] or None in addresses


def _bound(address: str) -> str | None:
    """The address that a port is bound to, in one spelling; None: all there are, of either family."""
    if not is_address(address):
        return address or None  # a problem of its own
    return None if ip_address(address).is_unspecified else str(ip_address(address))


def _networking_problems(networking: Networking, unknown: Unknown) -> Iterator[Problem]:
    if not -1 <= networking.api_server_port <= 65535:
        yield Problem(path="networking.apiServerPort", message=f"{networking.api_server_port} is not between -1 and 65535")
    if networking.api_server_address and not is_address(networking.api_server_address):
        yield Problem(path="networking.apiServerAddress", message=f'"{networking.api_server_address}" is not an IP address')
    for index, domain in enumerate(networking.dns_search or ()):
        if not domain or any(character.isspace() for character in domain):
            yield Problem(path=f"networking.dnsSearch[{index}]", message=f'"{domain}" is not one domain')
    family = None if "networking.ipFamily" in unknown else networking.ip_family
    yield from _subnet_problems(networking.pod_subnets, family, "networking.podSubnet")
    yield from _subnet_problems(networking.service_subnets, family, "networking.serviceSubnet")


def _subnet_problems(texts: tuple[str, ...], family: IPFamily | None, path: str) -> Iterator[Problem]:
    networks: list[IPv4Network | IPv6Network] = []
    for text in texts:
        try:
            if not re.fullmatch(r".+/\d+", text):
                raise ValueError(text)  # ip_network would take an address, or a mask, too
            networks.append(ip_network(text, strict=False))
        except ValueError:
            yield Problem(path=path, message=f'"{text}" is not a CIDR, such as 10.244.0.0/16')
            return
    versions = [network.version for network in networks]
    if family is IPFamily.DUAL:
        if len(versions) > 2 or len(set(versions)) < len(versions):
            yield Problem(path=path, message="for dual, one subnet or two of different families")
    elif family and versions != [4 if family is IPFamily.IPV4 else 6]:
        yield Problem(path=path, message=f"for {family}, exactly one subnet of that family")
