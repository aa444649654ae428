"""The network that nodes share: made when it is not there, with a subnet in which addresses can be fixed; removed when nobody needs it."""

from __future__ import annotations

import os
from collections.abc import Mapping

from kindasync.cluster import _addresses
from kindasync.cluster._names import NETWORK_LABEL
from kindasync.config import IPFamily
from kindasync.docker import Connection
from kindasync.docker._hints import Refusal, refusal_of
from kindasync.docker.containers import container_list
from kindasync.docker.networks import Network, NetworkSpec, Subnet, network_create, network_list, network_remove, ula_subnet
from kindasync.errors import ApiError, ClusterError, Conflict
from kindasync.events import Bus, NetworkCreated, NetworkRemoved

DEFAULT = "kind"
VARIABLE = "KIND_EXPERIMENTAL_DOCKER_NETWORK"
ATTEMPTS = 8  # when other processes remove the network between our steps
_MTU = "com.docker.network.driver.mtu"
_MASQUERADE = "com.docker.network.bridge.enable_ip_masquerade"


def network_name(env: Mapping[str, str] = os.environ) -> str:
    """The name of the network: kind's, or what kind's variable says."""
    return env.get(VARIABLE) or DEFAULT


async def ensure_network(connection: Connection, name: str, bus: Bus, cluster: str) -> Network:
    """The network of that name, made if there is none. Any number of processes may do this at once: all get the same one.

    Raises: ClusterError if no subnet is free; ApiError.
    """
    for _ in range(ATTEMPTS):
        existing = await network_list(connection, name=name)
        network = existing[0] if existing else await _make(connection, name, bus, cluster)
        if network:
            return network
    raise ClusterError(f'cannot make the network "{name}"', why="others remove it as soon as it is there", hint="try again")


async def _make(connection: Connection, name: str, bus: Bus, cluster: str) -> Network | None:
    """A new network; None if another process, whose cluster was the last in it, has just removed it."""
    began = bus.elapsed_s()
    everything = await network_list(connection)
    mtu = next((network.options[_MTU] for network in everything if network.name == "bridge" and _MTU in network.options), None)
    options = {_MASQUERADE: "true"} | ({_MTU: mtu} if mtu else {})
    made = await _create(connection, name, [subnet.subnet for network in everything for subnet in network.subnets], options)
    # Engines before 23 let two processes make two networks of one name: everybody keeps the oldest.
    first, *_ = (*await network_list(connection, name=name), None)
    if not first:
        return None
    if made and made != first.id:
        await network_remove(connection, made)
    elif made:
        bus.emit(
            NetworkCreated(
                cluster=cluster, network=name, subnets=tuple(subnet.subnet for subnet in first.subnets), duration_s=bus.elapsed_s() - began
            )
        )
    return first


async def _create(connection: Connection, name: str, taken: list[str], options: Mapping[str, str]) -> str | None:
    """Make the network; its ID, or None if another process was first."""
    ipv6_attempt: int | None = 0
    candidates = list(_addresses.candidate_subnets(taken))
    while candidates:
        subnets = [candidates[0]]
        if ipv6_attempt is not None:
            subnets.append(_addresses.ipv6_subnet(ula_subnet(name, ipv6_attempt)))
        spec = NetworkSpec(
            name=name, subnets=tuple(subnets), enable_ipv6=ipv6_attempt is not None, labels={NETWORK_LABEL: "1"}, options=options
        )
        try:
            return await network_create(connection, spec)
        except Conflict:
            return None
        except ApiError as error:
            match refusal_of(error.message):
                case Refusal.NETWORK_EXISTS:
                    return None
                case Refusal.NO_IPV6:
                    ipv6_attempt = None
                case Refusal.SUBNETS_OVERLAP:
                    candidates.pop(0)  # of the host's own routes only the Engine knows
                    ipv6_attempt = None if ipv6_attempt is None else ipv6_attempt + 1
                case _:
                    raise
    raise ClusterError(
        f'cannot make the network "{name}"',
        why="all private subnets that kindasync tries overlap with networks that are there",
        hint=f"make it yourself (docker network create --subnet … {name}), or remove networks that are not used",
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
