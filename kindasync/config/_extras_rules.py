"""Rules of our own document, alone and beside kind's; each problem with its path, which begins with "extras"."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network
from urllib.parse import urlsplit

from kindasync.config._address import is_address, overlap
from kindasync.config._document import ClusterConfig, Role
from kindasync.config._extras import ClusterExtras, NodeExtras, Registries
from kindasync.config._quantity import quantity
from kindasync.config._unknown import Unknown
from kindasync.errors import Problem

HOST_GATEWAY = "host-gateway"  # the Engine's word for the address of its host
# What nodes were measured to need, and kubeadm's static pods and CoreDNS ask for: with less, the kubelet refuses some of them.
LEAST_CPUS = {Role.CONTROL_PLANE: "1", Role.WORKER: "250m"}
LEAST_MEMORY = {Role.CONTROL_PLANE: "1700Mi", Role.WORKER: "256Mi"}
OWN_LABELS = ("io.x-k8s.kind.", "kindasync.")
_OBJECT_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_ENGINES_NETWORKS = ("bridge", "default", "host", "none")  # their own, in which names and addresses cannot be had
_HOST_NAME = re.compile(r"[a-zA-Z0-9_]([a-zA-Z0-9_.-]*[a-zA-Z0-9_])?")
_REGISTRY_NAME = re.compile(r"(?=.{1,63}\Z)[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_REGISTRY_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:\d{1,5})?")


def extras_problems(config: ClusterConfig, unknown: Unknown) -> Iterator[Problem]:
    """Everything that is wrong with `config.extras`, in the order of the document."""
    extras = config.extras
    yield from _wait_problems(extras)
    for index, path in enumerate(extras.preload):
        if not path:
            yield Problem(path=f"extras.preload[{index}]", message="is empty; it names an image archive")
    yield from _network_problems(config, unknown)
    for index, node in enumerate(extras.nodes):
        if index < len(config.nodes):
            role = None if f"nodes[{index}].role" in unknown else config.nodes[index].role
            yield from _node_problems(node, role, f"extras.nodes[{index}]")
        elif "nodes" not in unknown:
            yield Problem(path=f"extras.nodes[{index}]", message=f"there is no such node: the cluster has {len(config.nodes)}")
    yield from _registry_problems(extras.registries)


def _wait_problems(extras: ClusterExtras) -> Iterator[Problem]:
    try:
        _ = extras.wait_s
    except ValueError as error:
        yield Problem(path="extras.wait", message=str(error))


def _network_problems(config: ClusterConfig, unknown: Unknown) -> Iterator[Problem]:
    network = config.extras.network
    if network.name and not _OBJECT_NAME.fullmatch(network.name):
        message = f'"{network.name}" may only hold letters, digits, "_", "." and "-", and begins with a letter or digit'
        yield Problem(path="extras.network.name", message=message)
    elif network.name in _ENGINES_NETWORKS:
        yield Problem(path="extras.network.name", message=f'"{network.name}" is the Engine\'s own; give one of another name')
    containers = len(config.nodes) + (config.control_planes > 1)
    for path, text, family in (
        ("extras.network.ipv4Subnet", network.ipv4_subnet, 4),
        ("extras.network.ipv6Subnet", network.ipv6_subnet, 6),
    ):
        if text:
            yield from _subnet_problems(config, text, family, path, 0 if "nodes" in unknown else containers)


def _subnet_problems(config: ClusterConfig, text: str, family: int, path: str, containers: int) -> Iterator[Problem]:
    try:
        subnet = _subnet(text)
    except ValueError:
        yield Problem(path=path, message=f'"{text}" is not a CIDR without host bits, such as 10.200.0.0/24')
        return
    if subnet.version != family:
        yield Problem(path=path, message=f'"{text}" is not an IPv{family} subnet')
        return
    room = subnet.num_addresses // 2 - 2  # half is the Engine's to give; the network's own address and the gateway's are taken
    if room < containers:
        yield Problem(path=path, message=f'"{text}" has room for {max(room, 0)} containers; the cluster has {containers}')
    networking = config.networking
    for other_path, others in (("podSubnet", networking.pod_subnets), ("serviceSubnet", networking.service_subnets)):
        for other in others:
            if overlap(subnet, other):
                yield Problem(path=f"networking.{other_path}", message=f'"{other}" overlaps with {path}, "{text}"')


def _subnet(text: str) -> IPv4Network | IPv6Network:
    if not re.fullmatch(r".+/\d+", text):
        raise ValueError(text)  # ip_network would take an address, or a mask, too
    return ip_network(text)


def _node_problems(node: NodeExtras, role: Role | None, path: str) -> Iterator[Problem]:
    for name, text, leasts in (("cpus", node.cpus, LEAST_CPUS), ("memory", node.memory, LEAST_MEMORY)):
        if not text:
            continue
        try:
            given = quantity(text)
            if role and given < quantity(leasts[role]):
                yield Problem(path=f"{path}.{name}", message=f'"{text}" is less than the {leasts[role]} that a {role} needs')
        except ValueError as error:
            yield Problem(path=f"{path}.{name}", message=str(error))
    for host, address in node.extra_hosts.items():
        if not _HOST_NAME.fullmatch(host):
            yield Problem(path=f"{path}.extraHosts", message=f'"{host}" is not a host name')
        if address != HOST_GATEWAY and not is_address(address):
            yield Problem(path=f"{path}.extraHosts.{host}", message=f'"{address}" is not an IP address, nor {HOST_GATEWAY}')
    for label in node.labels:
        if not label or label.startswith(OWN_LABELS):
            message = "is empty" if not label else f"labels that begin with {' or '.join(OWN_LABELS)} say what a container is"
            yield Problem(path=f"{path}.labels.{label}", message=message)


def _registry_problems(registries: Registries) -> Iterator[Problem]:
    if local := registries.local:
        if local.name and not _REGISTRY_NAME.fullmatch(local.name):
            message = f'"{local.name}" is no host name: at most 63 lower-case letters, digits, "." and "-"'
            yield Problem(path="extras.registries.local.name", message=message)
        if not 0 <= local.host_port <= 65535:
            message = f"{local.host_port} is not between 0 (picked by kindasync) and 65535"
            yield Problem(path="extras.registries.local.hostPort", message=message)
    seen: dict[str, str] = {}
    for index, mirror in enumerate(registries.mirrors):
        path = f"extras.registries.mirrors[{index}]"
        if not mirror.host:
            yield Problem(path=f"{path}.host", message="is required")
        elif not _REGISTRY_HOST.fullmatch(mirror.host):
            yield Problem(path=f"{path}.host", message=f'"{mirror.host}" is not a registry, such as docker.io or example.com:5000')
        elif mirror.host in seen:
            yield Problem(path=f"{path}.host", message=f'"{mirror.host}" is what {seen[mirror.host]} has, too')
        seen.setdefault(mirror.host, path)
        if mirror.remote_url and not _is_remote(mirror.remote_url):
            message = "must be http:// or https:// and a host, perhaps a port; no path, user or password"
            yield Problem(path=f"{path}.remoteURL", message=message)
        if bool(mirror.username) != bool(mirror.password_file):
            missing, given = ("username", "passwordFile") if mirror.password_file else ("passwordFile", "username")
            yield Problem(path=f"{path}.{missing}", message=f"is required with {given}")


def _is_remote(text: str) -> bool:
    try:
        url = urlsplit(text)
        _ = url.port
    except ValueError:
        return False
    extra = url.username or url.password or url.query or url.fragment or url.path.strip("/")
    return url.scheme in ("http", "https") and bool(url.hostname) and not extra
