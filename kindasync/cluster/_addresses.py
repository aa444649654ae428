"""Addresses: which subnet, node addresses and host ports a cluster gets. Pure: from what is taken to what is free.

Candidates begin at a place that the cluster's name decides, so that processes that create clusters at once seldom meet.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from hashlib import sha256
from ipaddress import IPv4Network, ip_network
from itertools import islice

from kindasync.docker.networks import Subnet
from kindasync.errors import ClusterError

# Outside what kernels give to outgoing connections (ip_local_port_range begins at 32768), above what services have.
HOST_PORTS = range(20000, 30000)
HOST_PORTS_VARIABLE = "KINDASYNC_HOST_PORTS"
# Where networks of ours may lie: private ranges that neither Docker's default pools nor common home and office networks use first.
_POOLS = (
    "10.89.0.0/16",
    "10.90.0.0/16",
    "10.91.0.0/16",
    "10.92.0.0/16",
    "10.93.0.0/16",
    "10.94.0.0/16",
    "192.168.240.0/20",
    "172.31.0.0/16",
)


def planned_subnet(cidr: str) -> Subnet:
    """A subnet of which a part is the Engine's to give, and the rest ours to ask for.

    That part is the upper half; of an IPv6 subnet, as Docker 26 finds no address in a range at the end of one, a small one near its beginning.
    """
    network = ip_network(cidr)
    bits = 1 if network.version == 4 else min(16, (network.max_prefixlen - network.prefixlen) // 2)
    _, range_, *_ = islice(network.subnets(prefixlen_diff=bits), 2)
    return Subnet(subnet=str(network), ip_range=str(range_), gateway=str(network[1]))


def candidate_subnets(taken: Iterable[str]) -> Iterator[Subnet]:
    """IPv4 subnets that overlap none of the `taken` CIDRs."""
    taken_networks = [ip_network(cidr, strict=False) for cidr in taken]
    for pool in _POOLS:
        network = IPv4Network(pool)
        if not any(network.version == other.version and network.overlaps(other) for other in taken_networks):
            yield planned_subnet(pool)


def candidate_addresses(subnet: Subnet, taken: Collection[str], seed: str) -> Iterator[str]:
    """Addresses of `subnet` that are not `taken`, and not in the range from which the Engine gives them by itself.

    Raises: ClusterError when there are none left.
    """
    network = ip_network(subnet.subnet)
    dynamic = ip_network(subnet.ip_range) if subnet.ip_range else None
    size = min(network.num_addresses, 32768) - 3  # without network, gateway and broadcast address
    start = _number(seed) % size
    found = False
    for offset in range(size):
        address = network[2 + (start + offset) % size]
        if str(address) in taken or str(address) == subnet.gateway or (dynamic and address in dynamic):
            continue
        found = True
        yield str(address)
    if not found:
        raise ClusterError(
            f"no address is left in subnet {subnet.subnet}", hint="delete clusters that are not used: stopped nodes keep their addresses"
        )


def host_ports(env: Mapping[str, str] = os.environ) -> range:
    """The host ports to pick from: HOST_PORTS, or those that KINDASYNC_HOST_PORTS names, as "20000-20999". Raises: ClusterError."""
    text = env.get(HOST_PORTS_VARIABLE)
    if not text:
        return HOST_PORTS
    ends = re.fullmatch(r"(\d{1,5})-(\d{1,5})", text)
    first, last = (int(ends[1]), int(ends[2])) if ends else (0, 0)
    if not 1 <= first <= last <= 65535:
        raise ClusterError(
            f'{HOST_PORTS_VARIABLE} is "{text}", which is no range of ports',
            hint=f"set it to the first and the last port that kindasync may pick, as {HOST_PORTS[0]}-{HOST_PORTS[-1]}, or to nothing",
        )
    return range(first, last + 1)


def candidate_ports(taken: Collection[int], seed: str, among: range = HOST_PORTS) -> Iterator[int]:
    """Host ports `among` these that are not `taken`."""
    start = _number(seed)
    for offset in range(len(among)):
        port = among[(start + offset) % len(among)]
        if port not in taken:
            yield port


def pod_cidrs(subnets: Iterable[str], index: int) -> tuple[str, ...]:
    """The podCIDRs of the node number `index`: the subnets of the sizes that the controller-manager would cut (/24, /64), in its order.

    Raises: ClusterError if a subnet is too small for that many nodes.
    """
    result = []
    for text in subnets:
        network = ip_network(text, strict=False)
        size = 24 if network.version == 4 else 64
        if network.prefixlen > size or index >= 2 ** (size - network.prefixlen):
            raise ClusterError(
                f"the pod subnet {text} has no /{size} for node number {index + 1}", hint="choose a larger networking.podSubnet"
            )
        step = 2 ** (network.max_prefixlen - size)
        result.append(f"{network[index * step]}/{size}")
    return tuple(result)


def _number(seed: str) -> int:
    return int.from_bytes(sha256(seed.encode()).digest()[:8], "big")
