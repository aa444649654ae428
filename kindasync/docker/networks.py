"""Networks: the Engine's operations on them, typed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha1
from ipaddress import IPv6Network
from typing import Any
from urllib.parse import quote

from kindasync._shielded import answered
from kindasync.docker._engine import Call, Connection, Labels, filters, required
from kindasync.errors import NotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet:
    """One address range of a network. `ip_range`: the part the Engine gives addresses from by itself; empty: all of it."""

    subnet: str
    ip_range: str = ""
    gateway: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSpec:
    """What a bridge network is made from."""

    name: str
    subnets: tuple[Subnet, ...] = ()
    enable_ipv6: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network in the Engine. `containers`: the IDs of those attached that run (only from NetworkInspect)."""

    id: str
    name: str
    driver: str
    labels: Mapping[str, str]
    options: Mapping[str, str]
    subnets: tuple[Subnet, ...]
    enable_ipv6: bool
    created: str = ""
    containers: tuple[str, ...] = ()

    @property
    def cidrs(self) -> tuple[str, ...]:
        """Its subnets, in CIDR form."""
        return tuple(subnet.subnet for subnet in self.subnets)


async def network_create(connection: Connection, spec: NetworkSpec) -> str:
    """Make a bridge network; its ID. Old Engines make a second one of the same name: look for that afterwards.

    Source: Docker Engine API, NetworkCreate, POST /networks/create.
    Raises: Conflict if the name is taken; ApiError (403, 500) if a subnet overlaps, or IPv6 is not to be had.
    Cancellation: takes effect after the answer.
    """
    body = {
        "Name": spec.name,
        "CheckDuplicate": True,
        "Driver": "bridge",
        "EnableIPv6": spec.enable_ipv6,
        "IPAM": {"Config": [_subnet_to_wire(subnet) for subnet in spec.subnets]},
        "Options": dict(spec.options),
        "Labels": dict(spec.labels),
    }
    call = Call("NetworkCreate", "POST", "/networks/create", f"network {spec.name}", json=body)
    return str(required("NetworkCreate", await connection.request_shielded(call), "Id"))


async def network_inspect(connection: Connection, network: str) -> Network:
    """One network, by ID or name. Source: Docker Engine API, NetworkInspect, GET /networks/{id}. Raises: NotFound; ApiError (400) if the name is ambiguous."""
    call = Call("NetworkInspect", "GET", f"/networks/{quote(network, safe='')}", f"network {network}")
    return _network(await connection.request_json(call))


async def network_list(connection: Connection, *, name: str = "", labels: Labels | None = None) -> tuple[Network, ...]:
    """All networks, or those with exactly this name and these labels; the oldest first.

    Source: Docker Engine API, NetworkList, GET /networks.
    """
    call = Call("NetworkList", "GET", "/networks", params={"filters": filters(labels, name=name)})
    networks = [_network(item) for item in await connection.request_json(call)]
    # The Engine takes a name as part of a name.
    return tuple(sorted((each for each in networks if name in ("", each.name)), key=lambda each: (each.created, each.id)))


async def network_remove(connection: Connection, network: str) -> None:
    """Remove a network; one that is gone counts as removed.

    Source: Docker Engine API, NetworkDelete, DELETE /networks/{id}. Raises: ApiError (403) while running containers are attached.
    """
    try:
        await connection.request(Call("NetworkDelete", "DELETE", f"/networks/{quote(network, safe='')}", f"network {network}"))
    except NotFound:
        return


async def network_connect(
    connection: Connection, network: str, container: str, *, ipv4_address: str = "", ipv6_address: str = "", aliases: Sequence[str] = ()
) -> None:
    """Give a container, running or not, a place in a network; with an address of its own, if that is asked for.

    Source: Docker Engine API, NetworkConnect, POST /networks/{id}/connect.
    Raises: NotFound; ApiError (400, 403) if it has a place there, the address is taken, or the network's subnet was not asked for.
    Cancellation: takes effect after the answer.
    """
    addresses = {"IPv4Address": ipv4_address, "IPv6Address": ipv6_address}
    config = {"IPAMConfig": {name: address for name, address in addresses.items() if address}, "Aliases": list(aliases)}
    await answered(connection.request(_membership("NetworkConnect", network, "connect", Container=container, EndpointConfig=config)))


async def network_disconnect(connection: Connection, network: str, container: str) -> None:
    """Take a container's place in a network from it: its interface there is gone, with its routes and published ports.

    Source: Docker Engine API, NetworkDisconnect, POST /networks/{id}/disconnect.
    Raises: NotFound; ApiError (403, 500) if it has none.
    Cancellation: takes effect after the answer.
    """
    await answered(connection.request(_membership("NetworkDisconnect", network, "disconnect", Container=container)))


def _membership(operation: str, network: str, action: str, **body: object) -> Call:
    return Call(operation, "POST", f"/networks/{quote(network, safe='')}/{action}", f"network {network}", json=body)


def ula_subnet(name: str, attempt: int) -> str:
    """A unique local IPv6 /64 for a network's name: kind's rule, so that both programs ask for the same.

    fc00, then bytes 2 to 7 of SHA-1 over the name and the attempt (a little-endian 32-bit integer).
    """
    digest = sha1(name.encode() + attempt.to_bytes(4, "little", signed=True), usedforsecurity=False).digest()
    return str(IPv6Network((b"\xfc\x00" + digest[2:8] + bytes(8), 64)))


def _subnet_to_wire(subnet: Subnet) -> dict[str, str]:
    wire = {"Subnet": subnet.subnet, "IPRange": subnet.ip_range, "Gateway": subnet.gateway}
    return {name: value for name, value in wire.items() if value}


def _network(document: Mapping[str, Any]) -> Network:
    return Network(
        id=str(required("NetworkInspect", document, "Id")),
        name=str(required("NetworkInspect", document, "Name")),
        driver=str(document.get("Driver", "")),
        labels=dict(document.get("Labels") or {}),
        options=dict(document.get("Options") or {}),
        subnets=tuple(
            Subnet(subnet=str(config["Subnet"]), ip_range=str(config.get("IPRange") or ""), gateway=str(config.get("Gateway") or ""))
            for config in (document.get("IPAM") or {}).get("Config") or []
            if config.get("Subnet")
        ),
        enable_ipv6=bool(document.get("EnableIPv6")),
        created=str(document.get("Created", "")),
        containers=tuple(document.get("Containers") or ()),
    )
