"""Addresses, host ports, podCIDRs and names: from what is taken to what is free; and where a cluster is found again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from itertools import islice

import pytest

from kindasync.cluster._addresses import (
    HOST_PORTS,
    candidate_addresses,
    candidate_ports,
    candidate_subnets,
    host_ports,
    planned_subnet,
    pod_cidrs,
)
from kindasync.cluster._lookup import api_server, role_of, server_url
from kindasync.cluster._names import natural, node_names
from kindasync.config import Role
from kindasync.docker.containers import Container, PortBinding
from kindasync.docker.networks import Subnet
from kindasync.docker.system import facts_from
from kindasync.errors import ClusterError, NodeError

SUBNET = Subnet(subnet="10.89.0.0/16", ip_range="10.89.128.0/17", gateway="10.89.0.1")
FACTS = facts_from({"Architecture": "x86_64"}, api_version=(1, 45))


def test_a_subnet_has_a_half_for_fixed_addresses() -> None:
    """The Engine gives from the upper half by itself; so an address that we ask for in the lower half was given to nobody."""
    assert next(candidate_subnets([])) == SUBNET


def test_subnets_are_private_and_apart() -> None:
    """Any of them can be taken beside any other, and none is what Docker takes first (172.17.0.0/16 and on)."""
    networks = [IPv4Network(subnet.subnet) for subnet in candidate_subnets([])]

    assert len(networks) > 5
    assert all(network.is_private for network in networks)
    assert not any(one.overlaps(other) for one in networks for other in networks if one is not other)
    assert not any(network.overlaps(IPv4Network(f"172.{second}.0.0/16")) for network in networks for second in range(17, 25))


@pytest.mark.parametrize(
    ("taken", "first"),
    [
        ([], "10.89.0.0/16"),
        (["172.17.0.0/16", "fc00:f853:ccd:e793::/64"], "10.89.0.0/16"),  # IPv6 is no obstacle
        (["10.89.7.0/24"], "10.90.0.0/16"),  # a part of it
        (["10.89.0.1/16"], "10.90.0.0/16"),  # as some networks are written
        (["10.0.0.0/8"], "192.168.240.0/20"),  # all of it
        (["0.0.0.0/0"], None),
    ],
)
def test_subnets_that_overlap_are_passed_over(taken: Sequence[str], first: str | None) -> None:
    """Whatever other networks have; when nothing is left, there is no candidate."""
    assert [subnet.subnet for subnet in islice(candidate_subnets(taken), 1)] == ([first] if first else [])


def test_addresses_to_ask_for() -> None:
    """In the subnet, each once, and none that is the network's, the gateway's, the Engine's to give, or taken."""
    taken = {"10.89.0.2", "10.89.0.3"}

    addresses = [*candidate_addresses(SUBNET, taken, "demo-control-plane")]

    assert len(addresses) == len(set(addresses)) > 32000
    assert taken.isdisjoint(addresses)
    assert {"10.89.0.0", "10.89.0.1"}.isdisjoint(addresses)
    assert all(IPv4Address(address) in IPv4Network("10.89.0.0/17") for address in addresses)


def test_addresses_of_an_ipv6_subnet() -> None:
    """The Engine gives those of the second /80 (a range that ends with its subnet, Docker 26 cannot use); the first are asked for."""
    subnet = planned_subnet("fc00:1:2:3::/64")

    assert subnet == Subnet(subnet="fc00:1:2:3::/64", ip_range="fc00:1:2:3:1::/80", gateway="fc00:1:2:3::1")
    addresses = [*candidate_addresses(subnet, {"fc00:1:2:3::2"}, "demo-control-plane")]
    assert len(addresses) == len(set(addresses)) > 32000
    assert {"fc00:1:2:3::", "fc00:1:2:3::1", "fc00:1:2:3::2"}.isdisjoint(addresses)
    assert all(IPv6Address(address) in IPv6Network("fc00:1:2:3::/80") for address in addresses)


@pytest.mark.parametrize(
    ("cidr", "range_", "room"),
    [
        ("10.200.0.0/24", "10.200.0.128/25", 126),
        ("10.200.0.0/29", "10.200.0.4/30", 2),
        ("fd00::/112", "fd00::100/120", 32765 - 256),
        ("fd00::/124", "fd00::4/126", 9),
        ("fd00::/125", "fd00::4/126", 2),
    ],
)
def test_addresses_of_a_subnet_that_was_asked_for(cidr: str, range_: str, room: int) -> None:
    """Whatever its size, there is a part that the Engine gives, and room beside that for half of all addresses but two."""
    subnet = planned_subnet(cidr)

    assert (subnet.subnet, subnet.ip_range) == (cidr, range_)
    assert len([*candidate_addresses(subnet, (), "demo")]) == room


def test_addresses_begin_where_the_name_says() -> None:
    """The same name gets the same address again; other names seldom meet, so that processes that create at once do not."""
    first = {name: next(candidate_addresses(SUBNET, (), name)) for name in (f"cluster-{index}-control-plane" for index in range(100))}

    assert first["cluster-7-control-plane"] == next(candidate_addresses(SUBNET, (), "cluster-7-control-plane"))
    assert len(set(first.values())) > 95


@pytest.mark.parametrize(
    ("subnet", "addresses"),
    [
        (Subnet(subnet="10.0.0.0/29", gateway="10.0.0.1"), {"10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"}),
        (Subnet(subnet="10.0.0.0/29", gateway="10.0.0.6"), {"10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"}),
        (Subnet(subnet="10.0.0.0/29", ip_range="10.0.0.4/30", gateway="10.0.0.1"), {"10.0.0.2", "10.0.0.3"}),
        (Subnet(subnet="10.0.0.0/30", gateway="10.0.0.1"), {"10.0.0.2"}),
    ],
)
def test_addresses_of_a_small_subnet(subnet: Subnet, addresses: set[str]) -> None:
    """All of it, but for the ends and the gateway."""
    assert {*candidate_addresses(subnet, (), "demo")} == addresses


@pytest.mark.parametrize(
    ("subnet", "taken"),
    [
        (Subnet(subnet="10.0.0.0/30", gateway="10.0.0.1"), {"10.0.0.2"}),
        (Subnet(subnet="10.0.0.0/24", ip_range="10.0.0.0/24"), set()),
        (Subnet(subnet="10.0.0.0/31"), set()),
        (Subnet(subnet="10.0.0.0/32"), set()),
    ],
)
def test_no_address_is_left(subnet: Subnet, taken: set[str]) -> None:
    """An error that names the subnet."""
    with pytest.raises(ClusterError, match=f"no address is left in subnet {subnet.subnet}"):
        next(candidate_addresses(subnet, taken, "demo"))


def test_host_ports() -> None:
    """20000 to 29999, below what kernels use for connections; each once; begun where the name says; none that is taken."""
    ports = [*candidate_ports({20500}, "demo-control-plane 6443 tcp")]

    assert sorted(ports) == [port for port in range(20000, 30000) if port != 20500]
    assert ports == [*candidate_ports({20500}, "demo-control-plane 6443 tcp")]
    assert ports[0] != next(candidate_ports((), "other-control-plane 6443 tcp"))
    assert HOST_PORTS.stop <= 32768  # net.ipv4.ip_local_port_range


def test_host_ports_of_a_range_of_the_users() -> None:
    """KINDASYNC_HOST_PORTS: for machines where others have some of ours, or a firewall lets only some through."""
    among = host_ports({"KINDASYNC_HOST_PORTS": "9000-9002"})

    assert sorted(candidate_ports((), "demo-control-plane 6443 tcp", among)) == [9000, 9001, 9002]
    assert host_ports({"KINDASYNC_HOST_PORTS": "9000-9000"}) == range(9000, 9001)
    assert host_ports({"KINDASYNC_HOST_PORTS": ""}) == host_ports({}) == HOST_PORTS


@pytest.mark.parametrize("text", ["9000", "9000-", "9002-9000", "0-9", "65000-65536", "a-b", "9000-9002,9005"])
def test_what_is_no_range_of_host_ports(text: str) -> None:
    """The error says how one is written."""
    with pytest.raises(ClusterError, match=f'KINDASYNC_HOST_PORTS is "{text}"') as raised:
        host_ports({"KINDASYNC_HOST_PORTS": text})

    assert "as 20000-29999" in raised.value.hint


@pytest.mark.parametrize(
    ("subnets", "index", "cidrs"),
    [
        (["10.244.0.0/16"], 0, ("10.244.0.0/24",)),
        (["10.244.0.0/16"], 255, ("10.244.255.0/24",)),
        (["10.1.2.3/16"], 1, ("10.1.1.0/24",)),
        (["10.244.7.0/24"], 0, ("10.244.7.0/24",)),
        (["fd00:10:244::/56"], 0, ("fd00:10:244::/64",)),
        (["fd00:10:244::/56"], 17, ("fd00:10:244:11::/64",)),
        (["10.244.0.0/16", "fd00:10:244::/56"], 1, ("10.244.1.0/24", "fd00:10:244:1::/64")),
        (["fd00:10:244::/56", "10.244.0.0/16"], 1, ("fd00:10:244:1::/64", "10.244.1.0/24")),
    ],
)
def test_pod_cidrs(subnets: Sequence[str], index: int, cidrs: tuple[str, ...]) -> None:
    """A /24 or /64 of each subnet, in the order in which the controller-manager would cut them."""
    assert pod_cidrs(subnets, index) == cidrs


@pytest.mark.parametrize(("subnet", "index"), [("10.244.0.0/16", 256), ("10.244.0.0/25", 0), ("fd00::/64", 1), ("fd00::/112", 0)])
def test_a_pod_subnet_that_is_too_small(subnet: str, index: int) -> None:
    """It is said before anything is made, with the field to change."""
    with pytest.raises(ClusterError, match=f"{subnet} has no") as small:
        pod_cidrs([subnet], index)

    assert f"number {index + 1}" in small.value.what
    assert "networking.podSubnet" in small.value.hint


@pytest.mark.parametrize(
    ("roles", "names"),
    [
        ([Role.CONTROL_PLANE], ["demo-control-plane"]),
        (
            [Role.CONTROL_PLANE, Role.CONTROL_PLANE, Role.WORKER, Role.WORKER, Role.LOAD_BALANCER],
            ["demo-control-plane", "demo-control-plane2", "demo-worker", "demo-worker2", "demo-external-load-balancer"],
        ),
        ([Role.WORKER, Role.CONTROL_PLANE, Role.WORKER], ["demo-worker", "demo-control-plane", "demo-worker2"]),
    ],
)
def test_names_of_nodes(roles: list[Role], names: list[str]) -> None:
    """kind's: the first of a role has no number."""
    assert [*node_names("demo", roles)] == names


def test_the_natural_order_of_names() -> None:
    """By the numbers in them: 10 comes after 2."""
    names = ["demo-worker10", "demo-worker", "a10b2", "demo-worker2", "a2b10", "a2", "10", "9", ""]

    assert sorted(names, key=natural) == ["", "9", "10", "a2", "a2b10", "a10b2", "demo-worker", "demo-worker2", "demo-worker10"]


def container(name: str, role: str, *ports: PortBinding, state: str = "running") -> Container:
    return Container(id=name, name=name, image="i", labels={"io.x-k8s.kind.role": role} if role else {}, state=state, ports=ports)


@pytest.mark.parametrize(
    ("label", "role"),
    [
        ("control-plane", Role.CONTROL_PLANE),
        ("worker", Role.WORKER),
        ("external-load-balancer", Role.LOAD_BALANCER),
        ("registry", None),  # somebody else's
        ("", None),
    ],
)
def test_the_role_of_a_container(label: str, role: Role | None) -> None:
    """By kind's label."""
    assert role_of(container("x", label)) is role


def api(host_ip: str, host_port: int) -> PortBinding:
    return PortBinding(container_port=6443, host_ip=host_ip, host_port=host_port)


CONTROL_PLANE = container("demo-control-plane", "control-plane", api("127.0.0.1", 20001))
WEB = PortBinding(container_port=80, host_ip="127.0.0.1", host_port=8080)
UDP = PortBinding(container_port=6443, protocol="udp", host_ip="127.0.0.1", host_port=6443)


@pytest.mark.parametrize(
    ("containers", "server"),
    [
        ((CONTROL_PLANE,), "https://127.0.0.1:20001"),
        ((container("w", "worker", api("127.0.0.1", 1)), CONTROL_PLANE), "https://127.0.0.1:20001"),
        ((container("c", "control-plane", WEB, UDP, api("0.0.0.0", 2)),), "https://127.0.0.1:2"),
        ((CONTROL_PLANE, container("b", "external-load-balancer", api("0.0.0.0", 3))), "https://127.0.0.1:3"),  # the balancer's
        ((container("c", "control-plane", api("127.0.0.1", 0), api("::1", 4)),), "https://[::1]:4"),  # 0 is none yet
        ((container("c", "control-plane", state="exited"), CONTROL_PLANE), "https://127.0.0.1:20001"),
    ],
)
def test_where_the_api_server_is(containers: tuple[Container, ...], server: str) -> None:
    """At the port that the balancer publishes, else the first control plane that publishes one."""
    assert api_server(containers, "demo", FACTS) == server


@pytest.mark.parametrize(("state", "what"), [("exited", "the cluster does not run"), ("running", "not published")])
def test_an_api_server_that_is_not_published(state: str, what: str) -> None:
    """The error tells how the nodes are."""
    with pytest.raises(NodeError, match=what) as missing:
        api_server((container("demo-control-plane", "control-plane", state=state),), "demo", FACTS)

    assert missing.value.why == f"demo-control-plane is {state}"
    assert missing.value.hint == "kindasync start --name demo"


@pytest.mark.parametrize(
    ("host_ip", "api_host", "url"),
    [
        ("127.0.0.1", "127.0.0.1", "https://127.0.0.1:6443"),
        ("0.0.0.0", "docker", "https://docker:6443"),
        ("::", "fd00::5", "https://[fd00::5]:6443"),
        ("192.168.1.5", "127.0.0.1", "https://192.168.1.5:6443"),
    ],
)
def test_the_url_of_a_published_port(host_ip: str, api_host: str, url: str) -> None:
    """Of the host at which it is reached from here; IPv6 in brackets."""
    assert server_url(host_ip, 6443, replace(FACTS, api_host=api_host)) == url
