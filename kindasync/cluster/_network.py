"""The network that nodes share: made when it is not there, with a subnet in which addresses can be fixed; removed when nobody needs it."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from ipaddress import ip_network
from itertools import islice, repeat

from kindasync.cluster import _addresses
from kindasync.cluster._names import NETWORK_LABEL, OWNER_LABEL
from kindasync.cluster._owner import owner
from kindasync.config import ClusterConfig, IPFamily, NetworkExtras
from kindasync.config._address import overlap
from kindasync.docker import Connection
from kindasync.docker._hints import Refusal, refusal_of
from kindasync.docker.containers import container_list
from kindasync.docker.networks import Network, NetworkSpec, Subnet, network_create, network_list, network_remove, ula_subnet
from kindasync.errors import ApiError, ClusterError, Conflict
from kindasync.events import Bus, NetworkCreated, NetworkRemoved

DEFAULT = "kind"
VARIABLE = "KIND_EXPERIMENTAL_DOCKER_NETWORK"
ATTEMPTS = 8  # when other processes remove the network between our steps
ANY = NetworkExtras()
_MTU = "com.docker.network.driver.mtu"
_MASQUERADE = "com.docker.network.bridge.enable_ip_masquerade"


def network_name(env: Mapping[str, str] = os.environ) -> str:
    """The name of the network: kind's, or what kind's variable says."""
    return env.get(VARIABLE) or DEFAULT


async def network_of(connection: Connection, name: str, bus: Bus, cluster: str, config: ClusterConfig) -> Network:
    """The network of a cluster's nodes, made if there is none. Raises: as `ensure_network`, and ClusterError for one without the cluster's families."""
    networking = config.networking
    pods_and_services = (*networking.pod_subnets, *networking.service_subnets)
    network = await ensure_network(connection, name, bus, cluster, asked=config.extras.network, apart=pods_and_services)
    check_families(network, networking.ip_family)
    return network


async def ensure_network(
    connection: Connection, name: str, bus: Bus, cluster: str, *, asked: NetworkExtras = ANY, apart: Collection[str] = ()
) -> Network:
    """The network of that name, made if there is none. Any number of processes may do this at once: all get the same one.

    Shape: `apart`, subnets with which it may not overlap, such as that of the pods.
    Raises: ClusterError if no subnet is free, or the network has others than those `asked` for, or overlaps; ApiError.
    """
    for _ in range(ATTEMPTS):
        existing = await network_list(connection, name=name)
        network = existing[0] if existing else await _make(connection, name, bus, cluster, asked, apart)
        if network:
            _check_subnets(network, asked)
            _check_apart(network, apart)
            return network
    raise ClusterError(f'cannot make the network "{name}"', why="others remove it as soon as it is there", hint="try again")


async def _make(connection: Connection, name: str, bus: Bus, cluster: str, asked: NetworkExtras, apart: Collection[str]) -> Network | None:
    """A new network; None if another process, whose cluster was the last in it, has just removed it."""
    began = bus.elapsed_s()
    everything = await network_list(connection)
    mtu = next((network.options[_MTU] for network in everything if network.name == "bridge" and _MTU in network.options), None)
    options = {_MASQUERADE: "true"} | ({_MTU: mtu} if mtu else {})
    taken = [*apart, *(cidr for network in everything for cidr in network.cidrs)]
    made = await _create(connection, name, _candidates(name, taken, asked), {NETWORK_LABEL: cluster, OWNER_LABEL: owner()}, options, asked)
    # Engines before 23 let two processes make two networks of one name: everybody keeps the oldest.
    first, *_ = (*await network_list(connection, name=name), None)
    if not first:
        return None
    if made and made != first.id:
        await network_remove(connection, made)
    elif made:
        bus.emit(NetworkCreated(cluster=cluster, network=name, subnets=first.cidrs, duration_s=bus.elapsed_s() - began))
    return first


def _candidates(name: str, taken: Iterable[str], asked: NetworkExtras) -> list[tuple[Subnet, Subnet]]:
    """What to try one after the other, an IPv4 and an IPv6 subnet: those `asked` for, else free ones."""
    ipv4 = repeat(_addresses.planned_subnet(asked.ipv4_subnet)) if asked.ipv4_subnet else _addresses.candidate_subnets(taken)
    ipv6 = (_addresses.planned_subnet(asked.ipv6_subnet or ula_subnet(name, attempt)) for attempt in range(ATTEMPTS))
    return list(islice(zip(ipv4, ipv6, strict=False), 1 if asked.ipv4_subnet and asked.ipv6_subnet else None))


async def _create(
    connection: Connection,
    name: str,
    candidates: list[tuple[Subnet, Subnet]],
    labels: Mapping[str, str],
    options: Mapping[str, str],
    asked: NetworkExtras,
) -> str | None:
    """Make the network; its ID, or None if another process was first."""
    ipv6 = True
    while candidates:
        subnets = candidates[0] if ipv6 else candidates[0][:1]
        spec = NetworkSpec(name=name, subnets=subnets, enable_ipv6=ipv6, labels=labels, options=options)
        try:
            return await network_create(connection, spec)
        except Conflict:
            return None
        except ApiError as error:
            match refusal_of(error.message):
                case Refusal.NETWORK_EXISTS:
                    return None
                case Refusal.NO_IPV6 if not asked.ipv6_subnet:
                    ipv6 = False
                case Refusal.SUBNETS_OVERLAP:
                    candidates.pop(0)  # of the host's own routes only the Engine knows
                case _:
                    raise
    raise ClusterError(
        f'cannot make the network "{name}"',
        why="the subnets that the configuration asks for overlap with networks that are there"
        if asked.ipv4_subnet or asked.ipv6_subnet
        else "all private subnets that kindasync tries overlap with networks that are there",
        hint="ask for a subnet that is free (extras.network.ipv4Subnet), or remove networks that are not used",
    )


def _check_subnets(network: Network, asked: NetworkExtras) -> None:
    there = [*map(ip_network, network.cidrs)]
    for field, cidr in (("ipv4Subnet", asked.ipv4_subnet), ("ipv6Subnet", asked.ipv6_subnet)):
        if cidr and ip_network(cidr) not in there:
            raise ClusterError(
                f'the network "{network.name}" is there, with another subnet than the configuration asks for',
                why=f"it has {', '.join(map(str, there)) or 'none'}; extras.network.{field} is {cidr}",
                hint="ask for what it has, or give another extras.network.name; "
                f"or remove it (docker network rm {network.name}) once no cluster uses it",
            )


def _check_apart(network: Network, apart: Collection[str]) -> None:
    for cidr in apart:
        for subnet in map(ip_network, network.cidrs):
            if overlap(subnet, cidr):
                raise ClusterError(
                    f'the network "{network.name}" overlaps with the addresses of the cluster\'s pods or Services',
                    why=f"it has {subnet}, and the configuration asks for {cidr}",
                    hint="give another networking.podSubnet or serviceSubnet, or a network of its own: extras.network.name",
                )


def fixable_subnets(network: Network) -> tuple[Subnet, ...]:
    """The subnets in which containers may ask for addresses: Engines refuse that in those they chose themselves."""
    return tuple(subnet for subnet in network.subnets if NETWORK_LABEL in network.labels or subnet.ip_range)


def check_families(network: Network, family: IPFamily) -> None:
    """Refuse a network that cannot have nodes of `family`. Raises: ClusterError."""
    if family is IPFamily.IPV4 or network.enable_ipv6:
        return
    raise ClusterError(
        f'cannot make a cluster of ipFamily {family} in the network "{network.name}"',
        why="the network has no IPv6: the Engine's host had none when it was made, or whoever made it did not ask for it",
        hint="see that the host has IPv6 (sysctl net.ipv6.conf.all.disable_ipv6 is 0, and the kernel has ip6tables); then remove the network "
        f"(docker network rm {network.name}) once no cluster uses it: the next create makes it anew",
    )


async def release_network(connection: Connection, name: str, bus: Bus, cluster: str) -> None:
    """Remove the network if we made it and no container of any state names it. One that is needed again after all stays."""
    for network in await network_list(connection, name=name, labels={NETWORK_LABEL: None}):
        if await container_list(connection, network=name):
            continue
        try:
            await network_remove(connection, network.id)
        except ApiError as error:
            if refusal_of(error.message) is not Refusal.NETWORK_IN_USE:
                raise
        else:
            bus.emit(NetworkRemoved(cluster=cluster, network=name))
