"""Our own document beside kind's: every field, its default, its rules, and where a problem is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from kindasync.config import (
    ClusterConfig,
    ClusterExtras,
    LocalRegistry,
    NetworkExtras,
    NodeConfig,
    NodeExtras,
    Registries,
    RegistryMirror,
    Role,
    load,
    problems_of,
)
from kindasync.config._quantity import quantity
from kindasync.errors import ConfigInvalid

ROOT = Path(__file__).parent.parent.parent
KIND = {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4"}
OURS = {"kind": "ClusterExtras", "apiVersion": "kindasync/v1alpha1"}
KIND_HEAD = "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n"
OUR_HEAD = "kind: ClusterExtras\napiVersion: kindasync/v1alpha1\n"
EVERYTHING = (
    KIND_HEAD
    + """
nodes: [{role: control-plane}, {role: worker}]
---
"""
    + OUR_HEAD
    + """
wait: 1m30s
waitForDNS: true
preload: [app.tar, /srv/db.tar]
network: {name: demo, ipv4Subnet: 10.200.0.0/24, ipv6Subnet: "fd00:200::/64"}
nodes:
- cpus: 1.5
  memory: 2Gi
  extraHosts: {registry.example.com: 10.0.0.5, host.docker.internal: host-gateway}
  labels: {team: storage}
- {cpus: 500m}
registries:
  local: {name: registry, hostPort: 5001}
  mirrors:
  - {host: docker.io}
  - {host: "example.com:5000", remoteURL: "http://example.com:5000"}
"""
)


def problems(source: Any) -> list[str]:
    """What is wrong with a configuration, as "path: message"; empty for one that is right."""
    try:
        load(source)
    except ConfigInvalid as error:
        return [str(problem) for problem in error.problems]
    return []


def of_extras(fields: Mapping[str, Any], **kind: Any) -> list[str]:
    """What is wrong with a ClusterExtras of these fields, beside a cluster of a control plane and a worker."""
    return problems([{**KIND, "nodes": [{"role": "control-plane"}, {"role": "worker"}], **kind}, {**OURS, **fields}])


def paths(fields: Mapping[str, Any], **kind: Any) -> list[str]:
    """Where that is."""
    return [problem.partition(": ")[0] for problem in of_extras(fields, **kind)]


def test_every_field() -> None:
    """All of ours, under the same names in snake_case; texts as written."""
    assert load(EVERYTHING) == ClusterConfig(
        nodes=(NodeConfig(), NodeConfig(role=Role.WORKER)),
        extras=ClusterExtras(
            wait="1m30s",
            wait_for_dns=True,
            preload=("app.tar", "/srv/db.tar"),
            network=NetworkExtras(name="demo", ipv4_subnet="10.200.0.0/24", ipv6_subnet="fd00:200::/64"),
            nodes=(
                NodeExtras(
                    cpus="1.5",
                    memory="2Gi",
                    extra_hosts={"registry.example.com": "10.0.0.5", "host.docker.internal": "host-gateway"},
                    labels={"team": "storage"},
                ),
                NodeExtras(cpus="500m"),
            ),
            registries=Registries(
                local=LocalRegistry(name="registry", host_port=5001),
                mirrors=(RegistryMirror(host="docker.io"), RegistryMirror(host="example.com:5000", remote_url="http://example.com:5000")),
            ),
        ),
    )


def test_what_texts_stand_for() -> None:
    """Seconds, billionths of a processor, bytes; what is not given has no limit, and a node without an entry nothing."""
    extras = load(EVERYTHING).extras

    assert extras.wait_s == 90.0
    assert [(node.nano_cpus, node.memory_bytes) for node in extras.nodes] == [(1_500_000_000, 2 << 30), (500_000_000, 0)]
    assert (extras.node(1), extras.node(2)) == (extras.nodes[1], NodeExtras())
    assert ClusterExtras().wait_s is None
    assert ClusterExtras(wait="0").wait_s == 0.0


@pytest.mark.parametrize("text", ["", "---\n" + OUR_HEAD, "---\n" + OUR_HEAD + "wait:\nnetwork:\nnodes: []\nregistries: {}\n"])
def test_defaults(text: str) -> None:
    """Without the document, or with nothing in it, all is as for kind."""
    assert load(KIND_HEAD + text) == ClusterConfig()


def test_documents_in_any_order() -> None:
    """kind itself reads the first one only: for it, kind's comes first."""
    first, second = EVERYTHING.split("---")

    assert load(second + "---\n" + first) == load(EVERYTHING)


def test_data() -> None:
    """A list of the documents, with Python's numbers where there are numbers."""
    config = load([KIND, OURS | {"wait": 0, "nodes": [{"cpus": 1.5, "memory": 2 << 30}]}])

    assert config.extras.wait_s == 0
    assert config.extras.nodes == (NodeExtras(cpus="1.5", memory="2147483648"),)
    assert load([KIND]) == load(KIND)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (OUR_HEAD, ["there is no kind: Cluster and apiVersion: kind.x-k8s.io/v1alpha4 beside it"]),
        (
            KIND_HEAD + "---\n" + OUR_HEAD + "---\n" + OUR_HEAD,
            ["document 3: one Cluster and one ClusterExtras are a configuration; this document would be ignored"],
        ),
        (
            "kind: Pod\n---\n" + KIND_HEAD + "---\n" + OUR_HEAD,
            ["document 1: one Cluster and one ClusterExtras are a configuration; this document would be ignored"],
        ),
        (KIND_HEAD + "---\nkind: ClusterExtras", ["extras.apiVersion: is required"]),
        (KIND_HEAD + "---\napiVersion: kindasync/v1alpha1", ["extras.kind: is required"]),
        (
            KIND_HEAD + "---\nkind: ClusterExtras\napiVersion: kindasync/v1",
            ["extras.apiVersion: must be 'kindasync/v1alpha1', not \"kindasync/v1\""],
        ),
        (KIND_HEAD + "---\n" + OUR_HEAD + "wait: 1s\nwait: 2s", ["extras.wait: given twice, the second time in line 7"]),
        (KIND_HEAD + "---\n" + OUR_HEAD + "wait: [1s", ["line 7, column 1: not YAML: did not find expected ',' or ']'"]),
        (KIND_HEAD + "extras: {}", ["extras: there is no such field"]),
    ],
)
def test_problems_of_the_documents(text: str, expected: list[str]) -> None:
    """One Cluster, and at most one ClusterExtras."""
    assert problems(text) == expected


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"foo": 1}, "extras.foo: there is no such field"),
        ({"nodes": [{"cpu": 1}]}, "extras.nodes[0].cpu: there is no such field; cpus is one"),
        ({"nodes": {}}, "extras.nodes: must be a list, not {}"),
        ({"nodes": ["big"]}, 'extras.nodes[0]: must be a mapping, not "big"'),
        ({"nodes": [{"cpus": True}]}, "extras.nodes[0].cpus: must be a text, not True"),
        ({"nodes": [{"labels": {"a": 1}}]}, "extras.nodes[0].labels.a: must be a text, not 1"),
        ({"preload": "app.tar"}, 'extras.preload: must be a list, not "app.tar"'),
        ({"wait": []}, "extras.wait: must be a text, not []"),
        ({"network": "kind"}, 'extras.network: must be a mapping, not "kind"'),
        ({"registries": {"local": True}}, "extras.registries.local: must be a mapping, not True"),
        ({"registries": {"local": {"hostPort": "5001"}}}, 'extras.registries.local.hostPort: must be an integer, not "5001"'),
        (
            {"registries": {"mirrors": [{"remoteUrl": "https://a"}]}},
            "extras.registries.mirrors[0].remoteUrl: there is no such field; remoteURL is one",
        ),
    ],
)
def test_problems_of_shape(fields: Mapping[str, Any], problem: str) -> None:
    """As for kind's document: unknown fields and wrong types, each with its path."""
    assert problem in of_extras(fields)


@pytest.mark.parametrize(
    ("wait", "valid"),
    [("90s", True), ("1m30s", True), ("0", True), ("0s", True), (0, True), ("90", False), (90, False), ("-1s", False), ("long", False)],
)
def test_wait(wait: object, valid: bool) -> None:
    """A duration as Go writes them."""
    assert paths({"wait": wait}) == ([] if valid else ["extras.wait"])


def test_preload() -> None:
    """Paths; whether files are there is looked at when they are needed."""
    assert paths({"preload": ["app.tar", ""]}) == ["extras.preload[1]"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"name": "demo_1.a-b"}, []),
        ({"name": "a b"}, ["extras.network.name"]),
        ({"name": "-a"}, ["extras.network.name"]),
        ({"name": "host"}, ["extras.network.name"]),
        ({"name": "bridge"}, ["extras.network.name"]),
        ({"ipv4Subnet": "10.200.0.0/28"}, []),
        ({"ipv4Subnet": "10.200.0.0/29"}, []),  # two beside the network's address and the gateway's
        ({"ipv4Subnet": "10.200.0.0/30"}, ["extras.network.ipv4Subnet"]),
        ({"ipv4Subnet": "10.200.0.0/32"}, ["extras.network.ipv4Subnet"]),
        ({"ipv4Subnet": "10.200.0.1/24"}, ["extras.network.ipv4Subnet"]),
        ({"ipv4Subnet": "10.200.0.0"}, ["extras.network.ipv4Subnet"]),
        ({"ipv4Subnet": "10.200.0.0/255.255.255.0"}, ["extras.network.ipv4Subnet"]),
        ({"ipv4Subnet": "fd00:200::/64"}, ["extras.network.ipv4Subnet"]),
        ({"ipv6Subnet": "fd00:200::/64"}, []),
        ({"ipv6Subnet": "10.200.0.0/24"}, ["extras.network.ipv6Subnet"]),
        ({"ipv4Subnet": "10.244.7.0/24"}, ["networking.podSubnet"]),
        ({"ipv4Subnet": "10.0.0.0/8"}, ["networking.podSubnet", "networking.serviceSubnet"]),
    ],
)
def test_network(fields: Mapping[str, str], expected: list[str]) -> None:
    """A name that Engines take, and subnets that have room and are not the pods' or Services'."""
    assert paths({"network": fields}) == expected


def test_room_for_the_balancer() -> None:
    """It is a container, too."""
    nodes = [{"role": "control-plane"}, {"role": "control-plane"}]

    assert of_extras({"network": {"ipv4Subnet": "10.200.0.0/29"}}, nodes=nodes) == [
        'extras.network.ipv4Subnet: "10.200.0.0/29" has room for 2 containers; the cluster has 3'
    ]


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([{}, {}], []),
        ([{}, {}, {}, {}], ["extras.nodes[2]", "extras.nodes[3]"]),
        ([{"cpus": "1"}, {"cpus": "250m"}], []),
        ([{"cpus": "0.9"}, {"cpus": "249m"}], ["extras.nodes[0].cpus", "extras.nodes[1].cpus"]),
        ([{"cpus": "two"}], ["extras.nodes[0].cpus"]),
        ([{"cpus": "-1"}], ["extras.nodes[0].cpus"]),
        ([{"memory": "1700Mi"}, {"memory": "256Mi"}], []),
        ([{"memory": "1699Mi"}, {"memory": "255Mi"}], ["extras.nodes[0].memory", "extras.nodes[1].memory"]),
        ([{"memory": "2GB"}], ["extras.nodes[0].memory"]),
        ([{"extraHosts": {"a.example": "10.0.0.1", "b": "fd00::1", "c_d": "host-gateway"}}], []),
        ([{"extraHosts": {"a:b": "10.0.0.1", "": "10.0.0.1"}}], ["extras.nodes[0].extraHosts", "extras.nodes[0].extraHosts"]),
        ([{"extraHosts": {"a": "b"}}], ["extras.nodes[0].extraHosts.a"]),
        ([{"labels": {"team": "", "kindasync": "x"}}], []),
        ([{"labels": {"io.x-k8s.kind.role": "worker"}}], ["extras.nodes[0].labels.io.x-k8s.kind.role"]),
        ([{"labels": {"kindasync.run": "x"}}], ["extras.nodes[0].labels.kindasync.run"]),
        ([{"labels": {"": "x"}}], ["extras.nodes[0].labels."]),
    ],
)
def test_nodes(nodes: list[Mapping[str, Any]], expected: list[str]) -> None:
    """Each for the node of its position; limits in which a node of that role can do its work."""
    assert paths({"nodes": nodes}) == expected


@pytest.mark.parametrize(
    ("registries", "expected"),
    [
        ({"local": {}}, []),
        ({"local": {"name": "a b"}}, ["local.name"]),
        ({"local": {"name": "Images"}}, ["local.name"]),
        ({"local": {"name": "a" * 64}}, ["local.name"]),
        ({"local": {"hostPort": 65536}}, ["local.hostPort"]),
        ({"local": {"hostPort": -1}}, ["local.hostPort"]),
        ({"mirrors": [{}]}, ["mirrors[0].host"]),
        ({"mirrors": [{"host": "https://docker.io"}]}, ["mirrors[0].host"]),
        ({"mirrors": [{"host": "docker.io"}, {"host": "docker.io"}]}, ["mirrors[1].host"]),
        ({"mirrors": [{"host": "a", "remoteURL": "https://a:5000/"}]}, []),
        ({"mirrors": [{"host": "a", "remoteURL": "https://a:5000/path"}]}, ["mirrors[0].remoteURL"]),
        ({"mirrors": [{"host": "a", "remoteURL": "a:5000"}]}, ["mirrors[0].remoteURL"]),
        ({"mirrors": [{"host": "a", "remoteURL": "https://"}]}, ["mirrors[0].remoteURL"]),
        ({"mirrors": [{"host": "a", "remoteURL": "https://a:port"}]}, ["mirrors[0].remoteURL"]),
        ({"mirrors": [{"host": "a", "remoteURL": "https://user:word@a"}]}, ["mirrors[0].remoteURL"]),
        ({"mirrors": [{"host": "a", "username": "me", "passwordFile": "token"}]}, []),
        ({"mirrors": [{"host": "a", "username": "me"}]}, ["mirrors[0].passwordFile"]),
        ({"mirrors": [{"host": "a", "passwordFile": "token"}]}, ["mirrors[0].username"]),
    ],
)
def test_registries(registries: Mapping[str, Any], expected: list[str]) -> None:
    """One mirror per registry; no credentials in a URL."""
    assert paths({"registries": registries}) == [f"extras.registries.{path}" for path in expected]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2", Fraction(2)),
        ("1.5", Fraction(3, 2)),
        (".5", Fraction(1, 2)),
        ("5.", Fraction(5)),
        ("100m", Fraction(1, 10)),
        ("1u", Fraction(1, 10**6)),
        ("1n", Fraction(1, 10**9)),
        ("2k", Fraction(2000)),
        ("2Ki", Fraction(2048)),
        ("1.5Gi", Fraction(3 << 29)),
        ("1M", Fraction(10**6)),
        ("1E", Fraction(10**18)),
        ("1Ei", Fraction(1 << 60)),
        ("1e3", Fraction(1000)),
        ("1E-1", Fraction(1, 10)),
    ],
)
def test_quantities(text: str, value: Fraction) -> None:
    """As Kubernetes writes them, exactly."""
    assert quantity(text) == value


@pytest.mark.parametrize("text", ["", "Gi", "-1", "1 Gi", "1gi", "1GB", "1K", "1.2.3", "1e999999999", "inf", "\u0661"])
def test_what_is_no_quantity(text: str) -> None:
    """Nor is a negative one of any use here."""
    with pytest.raises(ValueError, match="is not a quantity, such as"):
        quantity(text)


def test_ten_mistakes_in_two_documents() -> None:
    """All are told, whichever document they are in; none hides another, and none is made up."""
    text = (
        KIND_HEAD
        + """
name: Demo
nodes:
- role: control-plane
  extraPortMappings: [{containerPort: 0}]
- role: master
- {role: worker, image: [a]}
networking: {kubeProxyMode: ipvs, apiServerPort: "80"}
---
"""
        + OUR_HEAD
        + """
wait: 90
wait: 90
nodes:
- {cpus: 500m, memory: 2GB}
- {cpus: 1m, labels: {kindasync.run: x}, disk: 10Gi}
- {extraHosts: {a: b}}
preload: app.tar
registries: {mirrors: [{host: docker.io, remoteURL: docker.io}]}
"""
    )

    with pytest.raises(ConfigInvalid, match="has 14 problems") as invalid:
        load(text)

    assert sorted(problem.path for problem in invalid.value.problems) == [
        "extras.nodes[0].cpus",
        "extras.nodes[0].memory",
        # What is enough for nodes[1] depends on its role, which is not known.
        "extras.nodes[1].disk",
        "extras.nodes[1].labels.kindasync.run",
        "extras.nodes[2].extraHosts.a",
        "extras.preload",
        "extras.registries.mirrors[0].remoteURL",
        "extras.wait",  # given twice
        "extras.wait",  # and not a duration
        "name",
        "networking.apiServerPort",
        "nodes[0].extraPortMappings[0].containerPort",
        "nodes[1].role",
        "nodes[2].image",
    ]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ({"nodes": "worker"}, ["nodes", "networking.podSubnet"]),  # how many there are is not known
        ({"nodes": [{}], "networking": []}, ["networking", "extras.nodes[1]"]),
        ({"nodes": [{}], "networking": {"podSubnet": 1}}, ["networking.podSubnet", "extras.nodes[1]"]),
    ],
)
def test_rules_of_both_documents_need_both(kind: Mapping[str, Any], expected: list[str]) -> None:
    """Where one is broken, nothing is said that may not be so."""
    assert paths({"nodes": [{}, {}], "network": {"ipv4Subnet": "10.244.0.0/16"}}, **kind) == expected


def test_the_rules_hold_for_configurations_made_in_python() -> None:
    """They need not come from documents."""
    config = ClusterConfig(extras=ClusterExtras(wait="long", nodes=(NodeExtras(memory="1Mi"), NodeExtras())))

    assert [problem.path for problem in problems_of(config)] == ["extras.wait", "extras.nodes[0].memory", "extras.nodes[1]"]


def test_the_documentations_example() -> None:
    """It is right, and says what it means to."""
    text, _added_node = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/config.md").read_text(), re.DOTALL)

    extras = load(text).extras

    assert (extras.wait_s, extras.network.name, [node.memory_bytes for node in extras.nodes]) == (180, "demo", [0, 2 << 30])
