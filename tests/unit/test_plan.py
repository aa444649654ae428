"""Plans: everything about a cluster is decided from configuration and facts, before anything is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from kindasync.cluster.plan import Facts, NodePlan, Plan, plan
from kindasync.config import (
    ClusterConfig,
    ClusterExtras,
    ExtraMount,
    IPFamily,
    Networking,
    NodeConfig,
    NodeExtras,
    PortMapping,
    Protocol,
    Role,
)
from kindasync.docker.containers import PortBinding
from kindasync.docker.networks import Subnet
from kindasync.docker.system import facts_from
from kindasync.errors import ClusterError
from kindasync.node._spec import NodeSpec

CONTROL_PLANE, WORKER = NodeConfig(), NodeConfig(role=Role.WORKER)
SUBNET = Subnet(subnet="10.89.0.0/16", ip_range="10.89.128.0/17", gateway="10.89.0.1")
IPV6_SUBNET = Subnet(subnet="fc00::/64", ip_range="fc00:0:0:0:1::/80", gateway="fc00::1")
FACTS = Facts(
    engine=facts_from({"Architecture": "x86_64"}, api_version=(1, 45)),
    engine_url="unix:///var/run/docker.sock",
    run="run-1",
    owner="host/42",
    image="kindasync/node:v1.37.0",
    pauses={"kindasync/node:v1.37.0": True},
    subnets=(SUBNET, IPV6_SUBNET),
    kubeconfig_dir="/home/me/.local/state/kindasync/id/demo",
    network_subnets=("10.89.0.0/16", "fc00::/64"),
    env={"HTTPS_PROXY": "http://proxy:3128", "HOME": "/home/me"},
)
NO_PROXY = "10.89.0.0/16,fc00::/64,10.96.0.0/16,10.244.0.0/16,demo-control-plane,.svc,.svc.cluster,.svc.cluster.local"


def ports(planned: Plan) -> list[list[PortBinding]]:
    return [list(node.spec.ports) for node in planned.nodes]


def test_a_single_node() -> None:
    """The whole plan, as data."""
    planned = plan(ClusterConfig(name="demo"), FACTS)

    labels = {
        "io.x-k8s.kind.cluster": "demo",
        "io.x-k8s.kind.role": "control-plane",
        "kindasync.run": "run-1",
        "kindasync.owner": "host/42",
    }
    address, port = planned.first.address, planned.first.spec.ports[0].host_port
    ipv6_address = planned.first.spec.ipv6_address
    assert planned == Plan(
        cluster="demo",
        run="run-1",
        network="kind",
        nodes=(
            NodePlan(
                name="demo-control-plane",
                role=Role.CONTROL_PLANE,
                engine="unix:///var/run/docker.sock",
                labels=labels,
                address=address,
                pod_cidrs=("10.244.0.0/24",),
                image="kindasync/node:v1.37.0",
                node_labels={},
                config_index=0,
                spec=NodeSpec(
                    name="demo-control-plane",
                    cluster="demo",
                    role=Role.CONTROL_PLANE,
                    image="kindasync/node:v1.37.0",
                    pauses=True,
                    network="kind",
                    ipv4_address=address,
                    ipv6_address=ipv6_address,
                    labels=labels,
                    env={
                        "HTTPS_PROXY": "http://proxy:3128",
                        "https_proxy": "http://proxy:3128",
                        "NO_PROXY": NO_PROXY,
                        "no_proxy": NO_PROXY,
                    },
                    ports=(PortBinding(container_port=6443, protocol="tcp", host_ip="127.0.0.1", host_port=port),),
                    kubeconfig_dir="/home/me/.local/state/kindasync/id/demo",
                ),
            ),
        ),
        balancer=None,
        ip_versions=(4,),
        pod_subnets=("10.244.0.0/16",),
        service_subnets=("10.96.0.0/16",),
        control_plane_endpoint="demo-control-plane:6443",
        cert_sans=("localhost", "127.0.0.1"),
    )
    assert address.startswith("10.89.")
    assert ipv6_address.startswith("fc00::")
    assert 20000 <= port < 30000
    assert planned.single_node


def test_the_same_arguments_give_the_same_plan() -> None:
    """So it can be shown before it is carried out, and compared."""
    config = ClusterConfig(nodes=(CONTROL_PLANE, WORKER))

    assert plan(config, FACTS) == plan(config, FACTS)


def test_a_cluster_without_a_name() -> None:
    """It is kind's default."""
    assert plan(ClusterConfig(), FACTS).cluster == "kind"
    assert plan(ClusterConfig(), FACTS).first.name == "kind-control-plane"


def test_control_planes_come_first() -> None:
    """Else nodes keep the order in which they were written; names, podCIDRs and labels follow it."""
    planned = plan(
        ClusterConfig(name="demo", nodes=(replace(WORKER, labels={"tier": "a"}), CONTROL_PLANE, replace(WORKER, image="other:1"))), FACTS
    )

    assert [(node.name, node.role.value, node.pod_cidrs, node.image) for node in planned.nodes] == [
        ("demo-control-plane", "control-plane", ("10.244.0.0/24",), "kindasync/node:v1.37.0"),
        ("demo-worker", "worker", ("10.244.1.0/24",), "kindasync/node:v1.37.0"),
        ("demo-worker2", "worker", ("10.244.2.0/24",), "other:1"),
    ]
    assert [node.node_labels for node in planned.nodes] == [{}, {"tier": "a"}, {}]
    assert [node.spec.pauses for node in planned.nodes] == [True, True, False]  # an image that nothing is known of boots at once
    assert planned.first.role is Role.CONTROL_PLANE
    assert not planned.single_node


def test_every_node_has_an_address_of_its_own() -> None:
    """From those that are free."""
    config = ClusterConfig(name="demo", nodes=(CONTROL_PLANE, WORKER, WORKER))
    first = [node.address for node in plan(config, FACTS).nodes]

    others = [node.address for node in plan(config, replace(FACTS, taken_addresses=frozenset(first))).nodes]

    assert len({*first, *others}) == 6


def test_without_a_subnet_the_engine_gives_addresses() -> None:
    """It would refuse fixed ones in a network whose subnet it chose itself."""
    planned = plan(ClusterConfig(nodes=(CONTROL_PLANE, WORKER)), replace(FACTS, subnets=()))

    assert [node.address for node in planned.nodes] == ["", ""]
    assert [node.spec.ipv4_address for node in planned.nodes] == ["", ""]


@pytest.mark.parametrize(
    ("networking", "ip_versions", "pod_cidrs"),
    [
        (Networking(), (4,), ["10.244.1.0/24"]),
        (Networking(ip_family=IPFamily.IPV6), (6,), ["fd00:10:244:1::/64"]),
        (Networking(ip_family=IPFamily.DUAL), (4, 6), ["10.244.1.0/24", "fd00:10:244:1::/64"]),
        (
            Networking(ip_family=IPFamily.DUAL, pod_subnet="fd00:1::/56,10.1.0.0/16", service_subnet="fd00:2::/112,10.2.0.0/16"),
            (6, 4),
            ["fd00:1:0:1::/64", "10.1.1.0/24"],
        ),
    ],
)
def test_families(networking: Networking, ip_versions: tuple[int, ...], pod_cidrs: list[str]) -> None:
    """Nodes have a fixed address of each; the first Service subnet says which one comes first in Kubernetes."""
    planned = plan(ClusterConfig(nodes=(CONTROL_PLANE, CONTROL_PLANE, WORKER), networking=networking), FACTS)

    node, balancer = planned.nodes[1], planned.balancer
    assert planned.ip_versions == ip_versions
    assert list(node.pod_cidrs) == pod_cidrs
    assert node.spec.ipv6 is (6 in ip_versions)
    assert node.address == {4: node.spec.ipv4_address, 6: node.spec.ipv6_address}[ip_versions[0]]
    assert balancer is not None
    for ipv4, ipv6 in ((node.spec.ipv4_address, node.spec.ipv6_address), (balancer.ipv4_address, balancer.ipv6_address)):
        assert (ipv4.startswith("10.89."), ipv6.startswith("fc00::")) == (True, True)
    asked_for = [balancer.ipv4_address, balancer.ipv6_address]
    asked_for += [address for each in planned.nodes for address in (each.spec.ipv4_address, each.spec.ipv6_address)]
    assert len(set(asked_for)) == 2 * 4


def test_a_family_of_which_the_engine_gives_the_addresses() -> None:
    """As in a network of which somebody else has chosen one subnet."""
    spec = plan(ClusterConfig(networking=Networking(ip_family=IPFamily.DUAL)), replace(FACTS, subnets=(SUBNET,))).first.spec

    assert (spec.ipv4_address.startswith("10.89."), spec.ipv6_address) == (True, "")


def test_another_attempt_has_other_addresses_and_ports() -> None:
    """Somebody else was faster: nothing that was picked is tried twice; what was asked for stays."""
    config = ClusterConfig(nodes=(replace(CONTROL_PLANE, extra_port_mappings=(PortMapping(container_port=80, host_port=8080),)),))
    attempts = [plan(config, replace(FACTS, attempt=attempt)).first for attempt in range(5)]

    assert len({attempt.address for attempt in attempts}) == 5
    assert len({attempt.spec.ports[0].host_port for attempt in attempts}) == 5
    assert {attempt.spec.ports[1].host_port for attempt in attempts} == {8080}


def test_extras_are_for_the_node_at_their_place_in_the_configuration() -> None:
    """Wherever that is in the plan; the balancer, made like the first control plane, has none of them."""
    extras = ClusterExtras(nodes=(NodeExtras(cpus="500m"), NodeExtras(memory="2Gi", extra_hosts={"a": "10.0.0.1"}, labels={"team": "a"})))
    planned = plan(ClusterConfig(name="demo", nodes=(WORKER, CONTROL_PLANE, CONTROL_PLANE), extras=extras), FACTS)

    assert [(node.spec.nano_cpus, node.spec.memory_bytes, node.spec.extra_hosts) for node in planned.nodes] == [
        (0, 2 << 30, {"a": "10.0.0.1"}),
        (0, 0, {}),
        (500_000_000, 0, {}),
    ]
    assert [node.spec.labels.get("team") for node in planned.nodes] == ["a", None, None]
    assert planned.balancer is not None
    assert "team" not in planned.balancer.labels


@pytest.mark.parametrize(
    ("networking", "api_host", "binding"),
    [
        ({"api_server_port": 6443}, "127.0.0.1", ("127.0.0.1", 6443)),
        ({"api_server_port": -1}, "127.0.0.1", ("127.0.0.1", 0)),  # the Engine picks, at every start
        ({"api_server_port": 6443, "api_server_address": "192.168.1.5"}, "127.0.0.1", ("192.168.1.5", 6443)),
        ({"api_server_port": 6443}, "172.17.0.1", ("172.17.0.1", 6443)),
        ({"api_server_port": 6443}, "docker", ("0.0.0.0", 6443)),
        ({"api_server_port": 6443, "ip_family": IPFamily.IPV6}, "127.0.0.1", ("::1", 6443)),
        ({"api_server_port": 6443, "ip_family": IPFamily.IPV6, "api_server_address": "127.0.0.1"}, "127.0.0.1", ("127.0.0.1", 6443)),
        ({"api_server_port": 6443, "ip_family": IPFamily.IPV6}, "172.17.0.1", ("172.17.0.1", 6443)),  # there it is reached
        ({"api_server_port": 6443, "ip_family": IPFamily.DUAL}, "127.0.0.1", ("127.0.0.1", 6443)),
    ],
)
def test_where_the_api_server_is_published(networking: Mapping[str, Any], api_host: str, binding: tuple[str, int]) -> None:
    """Where it is reached from here; apiServerAddress wins."""
    planned = plan(ClusterConfig(networking=Networking(**networking)), replace(FACTS, engine=replace(FACTS.engine, api_host=api_host)))

    (port,) = planned.first.spec.ports
    assert (port.container_port, port.protocol) == (6443, "tcp")
    assert (port.host_ip, port.host_port) == binding


def test_of_several_control_planes_only_the_balancer_is_published_elsewhere() -> None:
    """Each of them is on loopback."""
    networking = Networking(api_server_address="0.0.0.0", api_server_port=6443)
    planned = plan(ClusterConfig(nodes=(CONTROL_PLANE, CONTROL_PLANE), networking=networking), FACTS)

    assert planned.balancer is not None
    assert (planned.balancer.port.host_ip, planned.balancer.port.host_port) == ("0.0.0.0", 6443)
    assert {port.host_ip for node in planned.nodes for port in node.spec.ports} == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("api_server_address", "api_host", "sans"),
    [
        ("", "127.0.0.1", ("localhost", "127.0.0.1")),
        ("::1", "127.0.0.1", ("localhost", "127.0.0.1", "::1")),
        ("192.168.1.5", "127.0.0.1", ("localhost", "127.0.0.1", "192.168.1.5")),
        ("", "docker", ("localhost", "127.0.0.1", "docker")),
        ("0.0.0.0", "10.0.0.5", ("localhost", "127.0.0.1", "0.0.0.0", "10.0.0.5")),
    ],
)
def test_names_in_the_certificate(api_server_address: str, api_host: str, sans: tuple[str, ...]) -> None:
    """All at which a client may reach the API server from here, each once."""
    config = ClusterConfig(networking=Networking(api_server_address=api_server_address))

    assert plan(config, replace(FACTS, engine=replace(FACTS.engine, api_host=api_host))).cert_sans == sans


def test_names_in_the_certificate_of_an_ipv6_cluster() -> None:
    """Its own loopback, too."""
    config = ClusterConfig(networking=Networking(ip_family=IPFamily.IPV6))

    assert plan(config, FACTS).cert_sans == ("localhost", "127.0.0.1", "::1")


@pytest.mark.parametrize(
    ("dns_search", "env"),
    [(None, {}), ((), {"KIND_DNS_SEARCH": ""}), (("a.example", "b"), {"KIND_DNS_SEARCH": "a.example b"})],
)
def test_dns_search(dns_search: tuple[str, ...] | None, env: Mapping[str, str]) -> None:
    """Every node's entrypoint is told, ours and kind's by the same variable; nothing is not the same as none."""
    config = ClusterConfig(nodes=(CONTROL_PLANE, WORKER), networking=Networking(dns_search=dns_search))

    assert [node.spec.env for node in plan(config, replace(FACTS, env={})).nodes] == [env, env]


@pytest.mark.parametrize(
    ("mapping", "binding"),
    [
        (PortMapping(container_port=80, host_port=8080), PortBinding(container_port=80, host_ip="0.0.0.0", host_port=8080)),
        (
            PortMapping(container_port=53, host_port=53, listen_address="127.0.0.1", protocol=Protocol.UDP),
            PortBinding(container_port=53, protocol="udp", host_ip="127.0.0.1", host_port=53),
        ),
        (PortMapping(container_port=80, host_port=-1), PortBinding(container_port=80, host_ip="0.0.0.0", host_port=0)),
    ],
)
def test_extra_ports(mapping: PortMapping, binding: PortBinding) -> None:
    """As asked for, on all addresses unless one is named; after the API server's own."""
    planned = plan(ClusterConfig(nodes=(CONTROL_PLANE, replace(WORKER, extra_port_mappings=(mapping,)))), FACTS)

    assert ports(planned)[1] == [binding]
    assert len(ports(planned)[0]) == 1


@pytest.mark.parametrize(("family", "address"), [(IPFamily.IPV4, "0.0.0.0"), (IPFamily.DUAL, "0.0.0.0"), (IPFamily.IPV6, "::")])
def test_extra_ports_of_a_family(family: IPFamily, address: str) -> None:
    """All addresses means all of IPv6 in a cluster that has nothing else."""
    nodes = (replace(CONTROL_PLANE, extra_port_mappings=(PortMapping(container_port=132, host_port=8132, protocol=Protocol.SCTP),)),)

    (published,) = ports(plan(ClusterConfig(nodes=nodes, networking=Networking(ip_family=family)), FACTS))

    assert published[1] == PortBinding(container_port=132, protocol="sctp", host_ip=address, host_port=8132)


def test_picked_ports_are_nobody_elses() -> None:
    """Of all nodes of the cluster, of other clusters, and of those that the configuration itself asks for."""
    picked = PortMapping(container_port=80)
    nodes = (
        replace(CONTROL_PLANE, extra_port_mappings=(picked, replace(picked, protocol=Protocol.UDP))),
        replace(WORKER, extra_port_mappings=(picked,)),
    )
    first = {port.host_port for node in ports(plan(ClusterConfig(nodes=nodes), FACTS)) for port in node}

    beside_others = ports(plan(ClusterConfig(nodes=nodes), replace(FACTS, taken_ports=frozenset(first))))
    asked = tuple(PortMapping(container_port=1000 + index, host_port=port) for index, port in enumerate(sorted(first)))
    beside_asked = ports(plan(ClusterConfig(nodes=(*nodes, replace(WORKER, extra_port_mappings=asked))), FACTS))

    assert len(first) == 4
    assert first.isdisjoint(port.host_port for node in beside_others for port in node)
    assert first.isdisjoint(port.host_port for node in beside_asked[:2] for port in node)
    assert [port.host_port for port in beside_asked[2]] == sorted(first)


def test_mounts_are_the_nodes() -> None:
    """They are handed on as they were written: whose working directory counts is decided where the container is made."""
    mount = ExtraMount(host_path="./data", container_path="/data")

    assert plan(ClusterConfig(nodes=(replace(CONTROL_PLANE, extra_mounts=(mount,)),)), FACTS).first.spec.mounts == (mount,)


@pytest.mark.parametrize(
    ("config", "facts"),
    [
        (ClusterConfig(nodes=(CONTROL_PLANE, WORKER)), {"subnets": (Subnet(subnet="10.0.0.0/30", gateway="10.0.0.1"),)}),
        (ClusterConfig(), {"subnets": (Subnet(subnet="10.0.0.0/30", gateway="10.0.0.1"),), "attempt": 1}),  # no second one to try
        (ClusterConfig(), {"taken_ports": frozenset(range(20000, 30000))}),
        (ClusterConfig(nodes=(CONTROL_PLANE, WORKER), networking=Networking(pod_subnet="10.244.0.0/24")), {}),
    ],
)
def test_what_is_used_up_is_an_error(config: ClusterConfig, facts: Mapping[str, Any]) -> None:
    """Addresses, host ports, podCIDRs: said before anything is made."""
    with pytest.raises(ClusterError):
        plan(config, replace(FACTS, **facts))
