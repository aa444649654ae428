"""The configuration: kind's v1alpha4 document, read strictly; every field, its default, its rule, and where a problem is.

Source: kind's configuration, apiVersion kind.x-k8s.io/v1alpha4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import FrozenInstanceError
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import yaml

from kindasync.config import (
    ClusterConfig,
    ExtraMount,
    IPFamily,
    Networking,
    NodeConfig,
    PatchJson6902,
    PortMapping,
    Propagation,
    Protocol,
    ProxyMode,
    Role,
    load,
    problems_of,
)
from kindasync.config._decode import load_node
from kindasync.errors import ConfigInvalid

HEAD = "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n"
META = {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4"}


def problems(source: str | bytes | Path | Mapping[str, Any]) -> list[str]:
    """What is wrong with a configuration, as "path: message"; empty for one that is right."""
    try:
        load(source)
    except ConfigInvalid as error:
        return [str(problem) for problem in error.problems]
    return []


def paths(source: str | Mapping[str, Any]) -> list[str]:
    """Where the problems of a configuration are."""
    return [problem.partition(": ")[0] for problem in problems(source)]


EVERYTHING = (
    HEAD
    + """
name: demo
nodes:
- role: control-plane
  image: kindest/node:v1.37.0
  labels: {tier: front}
  extraMounts:
  - {hostPath: ./data, containerPath: /data, readOnly: true, selinuxRelabel: true, propagation: HostToContainer}
  extraPortMappings:
  - {containerPort: 80, hostPort: 8080, listenAddress: 127.0.0.1, protocol: udp}
  kubeadmConfigPatches:
  - |
    kind: ClusterConfiguration
  kubeadmConfigPatchesJSON6902:
  - {group: kubeadm.k8s.io, version: v1beta4, kind: ClusterConfiguration, patch: "[]"}
- role: worker
networking:
  ipFamily: dual
  apiServerPort: 6443
  apiServerAddress: 0.0.0.0
  podSubnet: 10.1.0.0/16,fd00:1::/56
  serviceSubnet: 10.2.0.0/16,fd00:2::/112
  disableDefaultCNI: true
  kubeProxyMode: nftables
  dnsSearch: [example.com, corp]
featureGates: {InPlacePodVerticalScaling: true, Other: false}
runtimeConfig: {api/alpha: "false"}
kubeadmConfigPatches: ["kind: KubeletConfiguration"]
kubeadmConfigPatchesJSON6902:
- {group: kubelet.config.k8s.io, version: v1beta1, kind: KubeletConfiguration, patch: "[]"}
containerdConfigPatches: ["version = 3"]
containerdConfigPatchesJSON6902: ["[]"]
"""
)


def test_every_field() -> None:
    """All of kind's fields, under the same names in snake_case."""
    assert load(EVERYTHING) == ClusterConfig(
        name="demo",
        nodes=(
            NodeConfig(
                role=Role.CONTROL_PLANE,
                image="kindest/node:v1.37.0",
                labels={"tier": "front"},
                extra_mounts=(
                    ExtraMount(
                        host_path="./data",
                        container_path="/data",
                        read_only=True,
                        selinux_relabel=True,
                        propagation=Propagation.HOST_TO_CONTAINER,
                    ),
                ),
                extra_port_mappings=(PortMapping(container_port=80, host_port=8080, listen_address="127.0.0.1", protocol=Protocol.UDP),),
                kubeadm_config_patches=("kind: ClusterConfiguration\n",),
                kubeadm_config_patches_json6902=(
                    PatchJson6902(group="kubeadm.k8s.io", version="v1beta4", kind="ClusterConfiguration", patch="[]"),
                ),
            ),
            NodeConfig(role=Role.WORKER),
        ),
        networking=Networking(
            ip_family=IPFamily.DUAL,
            api_server_port=6443,
            api_server_address="0.0.0.0",
            pod_subnet="10.1.0.0/16,fd00:1::/56",
            service_subnet="10.2.0.0/16,fd00:2::/112",
            disable_default_cni=True,
            kube_proxy_mode=ProxyMode.NFTABLES,
            dns_search=("example.com", "corp"),
        ),
        feature_gates={"InPlacePodVerticalScaling": True, "Other": False},
        runtime_config={"api/alpha": "false"},
        kubeadm_config_patches=("kind: KubeletConfiguration",),
        kubeadm_config_patches_json6902=(
            PatchJson6902(group="kubelet.config.k8s.io", version="v1beta1", kind="KubeletConfiguration", patch="[]"),
        ),
        containerd_config_patches=("version = 3",),
        containerd_config_patches_json6902=("[]",),
    )


@pytest.mark.parametrize("text", [HEAD, HEAD + "nodes: []\n", HEAD + "nodes: null\nnetworking: {}\nname: ''\nfeatureGates: null\n"])
def test_defaults(text: str) -> None:
    """One control plane, IPv4, a port that is picked, iptables; null and empty are as good as not given. It equals the one made in Python."""
    config = load(text)

    assert config == ClusterConfig()
    assert config.nodes == (NodeConfig(role=Role.CONTROL_PLANE, image="", labels={}),)
    assert config.networking.api_server_port == 0
    assert config.networking.kube_proxy_mode is ProxyMode.IPTABLES
    assert config.networking.disable_default_cni is False
    assert (config.control_planes, config.dns_search_text) == (1, None)


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("nodes: [{role: ''}]", {"nodes": [{"role": ""}]}),
        ("networking: {ipFamily: '', kubeProxyMode: ''}", {"networking": {"ipFamily": "", "kubeProxyMode": ""}}),
        ('networking: {ipFamily: "", apiServerAddress: "", podSubnet: "", serviceSubnet: ""}', {"networking": {"podSubnet": ""}}),
        ("nodes: [{image: '', role: }]", {"nodes": [{"image": "", "role": None}]}),
    ],
)
def test_empty_words_are_as_good_as_not_given(text: str, data: Mapping[str, Any]) -> None:
    """As for kind, whose fields of several words are Go strings: "" is their zero."""
    assert load(HEAD + text) == load({**META, **data}) == ClusterConfig()


def test_empty_words_below_nodes() -> None:
    """Propagation and protocol."""
    mount, port = {"hostPath": "/a", "containerPath": "/b"}, {"containerPort": 80}
    empty = {"nodes": [{"extraMounts": [mount | {"propagation": ""}], "extraPortMappings": [port | {"protocol": "", "listenAddress": ""}]}]}

    config = load({**META, **empty})

    assert config == load({**META, "nodes": [{"extraMounts": [mount], "extraPortMappings": [port]}]})
    assert config.nodes[0].extra_mounts[0].propagation is Propagation.NONE
    assert config.nodes[0].extra_port_mappings[0].protocol is Protocol.TCP


@pytest.mark.parametrize("field", ["kind", "apiVersion"])
def test_what_is_required_may_not_be_empty(field: str) -> None:
    """These have no default."""
    assert problems(META | {field: ""}) == [f"{field}: is required"]


@pytest.mark.parametrize("empty", ["''", "", "null"])
def test_empty_labels_are_given(empty: str) -> None:
    """Only words that are one of several have a default to fall back to."""
    config = load(HEAD + f"nodes: [{{labels: {{a: {empty}}}}}]\nruntimeConfig:\n  api/all: {empty}\n")

    assert (config.nodes[0].labels, config.runtime_config) == ({"a": ""}, {"api/all": ""})


def test_defaults_below_nodes() -> None:
    """A mount is writable and propagates nothing; a port is TCP, and picked; a node is a control plane."""
    config = load(HEAD + "nodes: [{extraMounts: [{hostPath: /a, containerPath: /b}], extraPortMappings: [{containerPort: 80}]}]")

    assert config.nodes == (
        NodeConfig(
            role=Role.CONTROL_PLANE,
            extra_mounts=(ExtraMount(host_path="/a", container_path="/b", read_only=False, propagation=Propagation.NONE),),
            extra_port_mappings=(PortMapping(container_port=80, host_port=0, listen_address="", protocol=Protocol.TCP),),
        ),
    )


@pytest.mark.parametrize(
    ("family", "pods", "services"),
    [
        ("ipv4", ("10.244.0.0/16",), ("10.96.0.0/16",)),
        ("ipv6", ("fd00:10:244::/56",), ("fd00:10:96::/112",)),
        ("dual", ("10.244.0.0/16", "fd00:10:244::/56"), ("10.96.0.0/16", "fd00:10:96::/112")),
    ],
)
def test_default_subnets(family: str, pods: tuple[str, ...], services: tuple[str, ...]) -> None:
    """Those of the family; for dual, both."""
    networking = load(HEAD + f"networking: {{ipFamily: {family}}}").networking

    assert (networking.pod_subnets, networking.service_subnets) == (pods, services)


@pytest.mark.parametrize(("search", "text"), [("null", None), ("[]", ""), ("[a.example]", "a.example"), ("[a.example, b]", "a.example b")])
def test_dns_search(search: str, text: str | None) -> None:
    """Not given: as the Engine's host; an empty list: none at all."""
    assert load(HEAD + f"networking: {{dnsSearch: {search}}}").dns_search_text == text


@pytest.mark.parametrize("source", [EVERYTHING, EVERYTHING.encode(), "\ufeff" + EVERYTHING, EVERYTHING + "\n---\n", "---\n" + EVERYTHING])
def test_text_and_bytes(source: str | bytes) -> None:
    """YAML, in UTF-8, with or without a byte order mark; empty documents around it are none."""
    assert load(source) == load(EVERYTHING)


def test_a_path(tmp_path: Path) -> None:
    """The file that it names; one that is not there is the operating system's error."""
    file = tmp_path / "kind.yaml"
    file.write_text(EVERYTHING)

    assert load(file) == load(EVERYTHING)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "other.yaml")


def test_data() -> None:
    """The same as data: kind's names, Python's types."""
    source = {
        **META,
        "nodes": [{"role": "control-plane", "extraPortMappings": [{"containerPort": 80, "protocol": "udp"}]}, {"role": Role.WORKER}],
        "networking": {"disableDefaultCNI": True, "dnsSearch": None},
        "featureGates": {"A": True},
    }

    config = load(MappingProxyType(source))

    assert [node.role for node in config.nodes] == [Role.CONTROL_PLANE, Role.WORKER]
    assert config.nodes[0].extra_port_mappings[0].protocol is Protocol.UDP
    assert config.networking.disable_default_cni
    assert config.feature_gates == {"A": True}


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("1.30", "1.30"),
        ("on", "on"),
        ("no", "no"),
        ("0755", "0755"),
        ("1e3", "1e3"),
        ("12:30", "12:30"),
        ("2026-01-02", "2026-01-02"),
        ("2026-01-02T03:04:05.678Z", "2026-01-02T03:04:05.678Z"),
        ("2026-1-2 3:04:05 -5", "2026-1-2 3:04:05 -5"),
        ("'null'", "null"),
        ('"1.30"', "1.30"),
        ("|\n      two\n      lines", "two\nlines\n"),
    ],
)
def test_texts_keep_their_spelling(written: str, kept: str) -> None:
    """Whatever YAML would make of them: `1.30` is not 1.3, `on` is not true, `0755` is not 493."""
    config = load(HEAD + f"nodes:\n- image: {written}\nruntimeConfig:\n  api/all: {written}\n")

    assert config.nodes[0].image == kept
    assert config.runtime_config == {"api/all": kept}


@pytest.mark.parametrize(("written", "port"), [("80", 80), ("0x50", 80), ("-1", -1), ("8_080", 8080)])
def test_integers_are_what_yaml_takes_for_one(written: str, port: int) -> None:
    """A port in whatever spelling."""
    config = load(HEAD + f"nodes: [{{extraPortMappings: [{{containerPort: 80, hostPort: {written}}}]}}]")

    assert config.nodes[0].extra_port_mappings[0].host_port == port


@pytest.mark.parametrize(
    ("written", "value"), [("true", True), ("True", True), ("on", True), ("yes", True), ("false", False), ("off", False)]
)
def test_booleans_are_what_yaml_takes_for_one(written: str, value: bool) -> None:
    """All of YAML 1.1's spellings, as kind's parser has them."""
    assert load(HEAD + f"featureGates: {{A: {written}}}").feature_gates == {"A": value}


@pytest.mark.parametrize("protocol", ["TCP", "tcp", "Tcp"])
def test_protocols_in_any_case(protocol: str) -> None:
    """As kind has it."""
    text = HEAD + f"nodes: [{{extraPortMappings: [{{containerPort: 80, protocol: {protocol}}}]}}]"

    assert load(text).nodes[0].extra_port_mappings[0].protocol is Protocol.TCP


def test_anchors_and_merge_keys() -> None:
    """Nodes that differ little are often written so; a key that is given wins over a merged one, the first merged one over the next."""
    config = load(
        HEAD
        + """
nodes:
- &first {role: control-plane, image: a, labels: {x: "1"}}
- &second {<<: *first, role: worker}
- {<<: [{image: b}, *second]}
- *second
"""
    )

    assert [(node.role, node.image, node.labels) for node in config.nodes] == [
        ("control-plane", "a", {"x": "1"}),
        ("worker", "a", {"x": "1"}),
        ("worker", "b", {"x": "1"}),
        ("worker", "a", {"x": "1"}),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["empty: it needs at least kind: Cluster and apiVersion: kind.x-k8s.io/v1alpha4"]),
        ("# nothing\n---\n", ["empty: it needs at least kind: Cluster and apiVersion: kind.x-k8s.io/v1alpha4"]),
        ("name: demo", ["kind: is required", "apiVersion: is required"]),
        ("kind: Pod\napiVersion: v1", ["kind: must be 'Cluster', not \"Pod\"", "apiVersion: must be 'kind.x-k8s.io/v1alpha4', not \"v1\""]),
        ("[a]", ["must be a mapping, not ['a']"]),
        ("just text", ['must be a mapping, not "just text"']),
        ("kind/cluster.yaml", ['must be a mapping, not "kind/cluster.yaml"; text is read as YAML, a path is a pathlib.Path']),
        (HEAD + "name: a: b", ["line 3, column 8: not YAML: mapping values are not allowed in this context"]),
        (HEAD + "nodes: &all [*all]", ["not a configuration: it contains itself, or is nested without end"]),
        (
            HEAD + "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9)),
            ["not YAML: its aliases make more than 200000 values of it"],
        ),
        (HEAD + "---\n" + HEAD, ["document 2: one Cluster and one ClusterExtras are a configuration; this document would be ignored"]),
        (HEAD + "name: a\nname: b", ["name: given twice, the second time in line 4"]),
        (HEAD + "nodes: [{role: worker, role: control-plane}]", ["nodes[0].role: given twice, the second time in line 3"]),
        (HEAD + "<<: text", ["<<: must be a mapping, or a list of them"]),
    ],
)
def test_problems_of_the_text(text: str, expected: list[str]) -> None:
    """What is no configuration at all, or not one alone."""
    assert problems(text) == expected


@pytest.mark.parametrize(("source", "message"), [(b"\xff\xfe", "not UTF-8"), ("name: \x00", "not YAML")])
def test_bytes_that_are_no_text(source: str | bytes, message: str) -> None:
    """A problem like any other."""
    assert [problem.startswith(message) for problem in problems(source)] == [True]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("foo: 1", "foo: there is no such field"),
        ("name: [a]", "name: must be a text, not ['a']"),
        ("nodes: worker", 'nodes: must be a list, not "worker"'),
        ("nodes: [worker]", 'nodes[0]: must be a mapping, not "worker"'),
        ("nodes: [{role: master}]", "nodes[0].role: must be 'control-plane' or 'worker', not \"master\""),
        ("nodes: [{role: external-load-balancer}]", "nodes[0].role: must be 'control-plane' or 'worker', not \"external-load-balancer\""),
        ("nodes: [{extramounts: []}]", "nodes[0].extramounts: there is no such field; extraMounts is one"),
        ("nodes: [{labels: [a]}]", "nodes[0].labels: must be a mapping, not ['a']"),
        ("nodes: [{labels: {a: []}}]", "nodes[0].labels.a: must be a text, not []"),
        (
            "nodes: [{extraMounts: [{hostPath: /a, containerPath: /b, propagation: rshared}]}]",
            "nodes[0].extraMounts[0].propagation: must be 'None', 'HostToContainer' or 'Bidirectional', not \"rshared\"",
        ),
        (
            'nodes: [{extraMounts: [{hostPath: /a, containerPath: /b, readOnly: "true"}]}]',
            'nodes[0].extraMounts[0].readOnly: must be true or false, not "true"',
        ),
        (
            'nodes: [{extraPortMappings: [{containerPort: "80"}]}]',
            'nodes[0].extraPortMappings[0].containerPort: must be an integer, not "80"',
        ),
        (
            "nodes: [{extraPortMappings: [{containerPort: 80.5}]}]",
            'nodes[0].extraPortMappings[0].containerPort: must be an integer, not "80.5"',
        ),
        (
            "nodes: [{extraPortMappings: [{containerPort: true}]}]",
            'nodes[0].extraPortMappings[0].containerPort: must be an integer, not "true"',
        ),
        (
            "nodes: [{extraPortMappings: [{containerPort: 80, protocol: icmp}]}]",
            "nodes[0].extraPortMappings[0].protocol: must be 'TCP', 'UDP' or 'SCTP', not \"ICMP\"",
        ),
        ("networking: {ipFamily: IPv4}", "networking.ipFamily: must be 'ipv4', 'ipv6' or 'dual', not \"IPv4\""),
        (
            "networking: {kubeProxyMode: userspace}",
            "networking.kubeProxyMode: must be 'iptables', 'ipvs', 'nftables' or 'none', not \"userspace\"",
        ),
        ("networking: {dnsSearch: example.com}", 'networking.dnsSearch: must be a list, not "example.com"'),
        ("featureGates: {A: 1}", 'featureGates.A: must be true or false, not "1"'),
        ("kubeadmConfigPatches: [{kind: X}]", "kubeadmConfigPatches[0]: must be a text, as after a |, not {'kind': 'X'}"),
        ("kubeadmConfigPatchesJSON6902: [text]", 'kubeadmConfigPatchesJSON6902[0]: must be a mapping, not "text"'),
    ],
)
def test_problems_of_shape(text: str, problem: str) -> None:
    """Unknown fields, wrong types and words that are not among those allowed; each with its path."""
    assert problems(HEAD + text) == [problem]


def mapping(**fields: object) -> dict[str, object]:
    return {"containerPort": 80, "hostPort": 8080} | fields


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"name": "a.b-1"}, []),
        ({"name": "x" * 51}, []),  # kind warns above 50
        ({"name": "Demo"}, ["name"]),
        ({"name": "a_b"}, ["name"]),
        ({"name": "-a"}, ["name"]),
        ({"name": "a."}, ["name"]),
        ({"name": "ci-"}, []),  # ci--control-plane
        ({"name": "a..b"}, ["name"]),
        ({"name": "a.-b"}, ["name"]),
        ({"nodes": [{"role": "worker"}]}, ["nodes"]),
        ({"nodes": [{"role": "worker"}, {"role": "control-plane"}]}, []),
        ({"networking": {"apiServerPort": -1}}, []),
        ({"networking": {"apiServerPort": 65535}}, []),
        ({"networking": {"apiServerPort": -2}}, ["networking.apiServerPort"]),
        ({"networking": {"apiServerPort": 65536}}, ["networking.apiServerPort"]),
        ({"networking": {"apiServerAddress": "::1"}}, []),
        ({"networking": {"apiServerAddress": "localhost"}}, ["networking.apiServerAddress"]),
        ({"networking": {"dnsSearch": ["a.example", "b"]}}, []),
        (
            {
                "nodes": [
                    {
                        "labels": {
                            "ingress-ready": "true",
                            "example.com/a_b": "",
                            "topology.kubernetes.io/zone": "a",
                            "node.kubernetes.io/x": "1",
                        }
                    }
                ]
            },
            [],
        ),
        (
            {"nodes": [{"labels": {"a": "x,b=y", "b": "x y", "c": "x" * 64, "d": "-x", "e": "", "f": "1.2_3-a"}}]},
            [f"nodes[0].labels.{label}" for label in "abcd"],
        ),
        (
            {"nodes": [{"labels": {"a b": "c", "x" * 64: "", "Example.com/a": "", "a/": ""}}]},
            [f"nodes[0].labels.{label}" for label in ("a b", "x" * 64, "Example.com/a", "a/")],
        ),
        (
            {"nodes": [{"labels": {"node-role.kubernetes.io/x": "", "k8s.io/a": "", "a.k8s.io/b": ""}}]},
            [f"nodes[0].labels.{label}" for label in ("node-role.kubernetes.io/x", "k8s.io/a", "a.k8s.io/b")],
        ),
        ({"networking": {"dnsSearch": ["a b", "", "c\nnameserver 192.0.2.1"]}}, [f"networking.dnsSearch[{index}]" for index in range(3)]),
    ],
)
def test_rules(fields: dict[str, Any], expected: list[str]) -> None:
    """Names, roles, the API server."""
    assert paths(META | fields) == expected


@pytest.mark.parametrize(
    ("family", "subnet", "valid"),
    [
        ("ipv4", "10.1.0.0/16", True),
        ("ipv4", "10.1.2.3/16", True),  # the host's part does not matter, as for kind
        ("ipv4", "10.1.0.0", False),
        ("ipv4", "10.1.0.0/255.255.0.0", False),
        ("ipv4", "10.1.0.0/33", False),
        ("ipv4", "fd00::/56", False),
        ("ipv4", "10.1.0.0/16,10.2.0.0/16", False),
        ("ipv4", "10.1.0.0/16,fd00::/56", False),
        ("ipv4", "text", False),
        ("ipv6", "fd00::/56", True),
        ("ipv6", "10.1.0.0/16", False),
        ("dual", "10.1.0.0/16,fd00::/56", True),
        ("dual", "fd00::/56,10.1.0.0/16", True),
        ("dual", "10.1.0.0/16", True),
        ("dual", "10.1.0.0/16,10.2.0.0/16", False),
        ("dual", "10.1.0.0/16,fd00::/56,10.2.0.0/16", False),
        ("dual", "10.1.0.0/16,", False),
    ],
)
@pytest.mark.parametrize("field", ["podSubnet", "serviceSubnet"])
def test_subnets(field: str, family: str, subnet: str, valid: bool) -> None:
    """CIDRs: one of the family; for dual, one, or two of different families."""
    assert paths(META | {"networking": {"ipFamily": family, field: subnet}}) == ([] if valid else [f"networking.{field}"])


@pytest.mark.parametrize(
    ("mount", "expected"),
    [
        ({"hostPath": "relative", "containerPath": "/b"}, []),
        ({"containerPath": "/b"}, ["hostPath"]),
        ({"hostPath": "/a"}, ["containerPath"]),
        ({"hostPath": "/a", "containerPath": "b"}, ["containerPath"]),
        ({"hostPath": "/a:b", "containerPath": "/c:d"}, ["hostPath", "containerPath"]),
    ],
)
def test_mounts(mount: Mapping[str, str], expected: list[str]) -> None:
    """Both paths are required; the one in the node is absolute."""
    assert paths(META | {"nodes": [{"extraMounts": [mount]}]}) == [f"nodes[0].extraMounts[0].{field}" for field in expected]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"containerPort": 1, "hostPort": -1}, []),
        ({"containerPort": 65535, "hostPort": 65535}, []),
        ({"containerPort": 0}, ["containerPort"]),
        ({"containerPort": 65536}, ["containerPort"]),
        ({"containerPort": 80, "hostPort": -2}, ["hostPort"]),
        ({"containerPort": 80, "hostPort": 99999}, ["hostPort"]),
        ({"containerPort": 80, "listenAddress": "localhost"}, ["listenAddress"]),
        ({"containerPort": 80, "listenAddress": "::1"}, []),
    ],
)
def test_ports(fields: Mapping[str, object], expected: list[str]) -> None:
    """A host port may be 0 or -1, which somebody picks; an address is one, no name."""
    assert paths(META | {"nodes": [{"extraPortMappings": [fields]}]}) == [f"nodes[0].extraPortMappings[0].{field}" for field in expected]


@pytest.mark.parametrize(
    ("other", "clash"),
    [
        (mapping(), True),
        (mapping(containerPort=81), True),
        (mapping(hostPort=8081), False),
        (mapping(protocol="UDP"), False),
        (mapping(protocol="tcp"), True),
        (mapping(listenAddress="127.0.0.1"), True),  # the other is on all addresses
        (mapping(listenAddress="::"), True),
    ],
)
def test_a_host_port_twice_in_one_node(other: Mapping[str, object], clash: bool) -> None:
    """Refused for the same port and protocol at the same address, or at all of them."""
    config = META | {"nodes": [{"extraPortMappings": [mapping(), other]}]}

    assert paths(config) == (["nodes[0].extraPortMappings[1].hostPort"] if clash else [])


@pytest.mark.parametrize(
    ("mappings", "clash"),
    [
        ([mapping(listenAddress="127.0.0.1"), mapping(listenAddress="127.0.0.2")], False),
        ([mapping(listenAddress="127.0.0.1"), mapping(listenAddress="127.0.0.1")], True),
        ([mapping(listenAddress="127.0.0.1"), mapping(listenAddress="0.0.0.0")], True),
        ([mapping(listenAddress="::"), mapping(listenAddress="0.0.0.0")], True),  # the same, as for kind
        ([mapping(listenAddress="::0"), mapping(listenAddress="::1")], True),  # another spelling of ::
        ([mapping(listenAddress="0::1"), mapping(listenAddress="::1")], True),
        ([mapping(hostPort=0), mapping(hostPort=0)], False),  # picked ones differ
        ([mapping(hostPort=-1), mapping(hostPort=-1)], False),
    ],
)
def test_addresses_of_host_ports(mappings: list[Mapping[str, object]], clash: bool) -> None:
    """Two addresses may share a port; a wildcard shares with none."""
    assert bool(paths(META | {"nodes": [{"extraPortMappings": mappings}]})) is clash


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ({}, ["nodes[1].extraPortMappings[0].hostPort"]),
        ({"networking": {"apiServerPort": 8080}}, ["nodes[1].extraPortMappings[0].hostPort", "networking.apiServerPort"]),
        ({"networking": {"apiServerPort": 8081}}, ["nodes[1].extraPortMappings[0].hostPort"]),
    ],
)
def test_a_host_port_of_a_cluster_twice(others: dict[str, Any], expected: list[str]) -> None:
    """kind leaves it to the Engine, which refuses the second one when the first is there."""
    nodes = [{"extraPortMappings": [mapping()]}, {"role": "worker", "extraPortMappings": [mapping()]}]

    assert paths(META | {"nodes": nodes} | others) == expected


@pytest.mark.parametrize(("address", "clash"), [("127.0.0.1", True), ("127.0.0.2", False), ("", True)])
def test_a_host_port_and_those_on_loopback(address: str, clash: bool) -> None:
    """The API server's and the registry's are there if nothing else is said."""
    extras = {"apiVersion": "kindasync/v1alpha1", "kind": "ClusterExtras", "registries": {"local": {"hostPort": 5001}}}
    nodes = [{"extraPortMappings": [mapping(hostPort=port, listenAddress=address) for port in (6443, 5001)]}]
    config = META | {"nodes": nodes, "networking": {"apiServerPort": 6443}}

    found = paths(yaml.safe_dump_all([config, extras]))

    assert found == (["networking.apiServerPort", "extras.registries.local.hostPort"] if clash else [])


def test_ten_mistakes_are_ten_problems() -> None:
    """All at once, whether of syntax, shape or rules, each with its path; none hides another, and none is made up."""
    text = (
        HEAD
        + """
name: Demo
name: Demo
nodes:
- role: worker
  extraPortMappings:
  - {containerPort: 80, hostPort: 99999}
  - {containerPort: "80", hostPort: 8080, protocol: TCP}
  - {containerPort: 80, hostPort: 8080, comment: none}
- role: master
  extraMounts:
  - {hostPath: /a, containerPath: b}
- nonsense
networking:
  ipFamily: ipv5
  podSubnet: fd00::/56
featuregates: {}
---
kind: Pod
"""
    )

    with pytest.raises(ConfigInvalid, match="has 12 problems") as invalid:
        load(text)

    assert sorted(problem.path for problem in invalid.value.problems) == [
        "document 2",
        "featuregates",
        "name",  # twice in the file
        "name",  # and not a name
        "networking.ipFamily",
        "nodes[0].extraPortMappings[0].hostPort",
        "nodes[0].extraPortMappings[1].containerPort",
        "nodes[0].extraPortMappings[2].comment",
        "nodes[0].extraPortMappings[2].hostPort",  # that of the one before
        "nodes[1].extraMounts[0].containerPath",
        "nodes[1].role",
        "nodes[2]",
    ]


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        (
            "networking: {kubeProxyMode: IPTables, podSubnet: x, serviceSubnet: y, apiServerAddress: localhost, apiServerPort: 70000, dnsSearch: ['']}",
            ["apiServerAddress", "apiServerPort", "dnsSearch[0]", "kubeProxyMode", "podSubnet", "serviceSubnet"],
        ),
        ("networking: {ipFamily: v6, podSubnet: 'fd00::/48', serviceSubnet: x}", ["ipFamily", "serviceSubnet"]),  # of which family is not known
        ("kubeadmConfigPatches: [{kind: X}, 'kind: Foo', '[']", ["kubeadmConfigPatches[0]", "kubeadmConfigPatches[1].kind", "kubeadmConfigPatches[2]"]),
        (
            "kubeadmConfigPatches: [[]]\nkubeadmConfigPatchesJSON6902: [{kind: Foo, patch: '[]'}]",
            ["kubeadmConfigPatches[0]", "kubeadmConfigPatchesJSON6902[0].kind"],  # not below the other
        ),
        ("containerdConfigPatches: [{a: b}, 'x']\ncontainerdConfigPatchesJSON6902: ['{}']", ["containerdConfigPatches[0]", "containerdConfigPatches[1]", "containerdConfigPatchesJSON6902[0]"]),
        ("nodes: [{role: master, extraMounts: [{propagation: x, containerPath: a}]}]", ["nodes[0].extraMounts[0].containerPath", "nodes[0].extraMounts[0].hostPath", "nodes[0].extraMounts[0].propagation", "nodes[0].role"]),
        ("nodes: [{extraPortMappings: [{containerPort: 22:22, listenAddress: 1, hostPort: 80}, {containerPort: 1, hostPort: 80, protocol: x}]}]", ["nodes[0].extraPortMappings[0].containerPort", "nodes[0].extraPortMappings[0].listenAddress", "nodes[0].extraPortMappings[1].protocol"]),
        ("networking: {podsubnet: }\nnmae:", ["networking.podsubnet", "nmae"]),
        ("networking: {apiServerPort: 0x_}", ["networking.apiServerPort"]),
        ("networking: {apiServerPort: !!int '*a'}", ["networking.apiServerPort"]),
        ("kubeadmConfigPatchesJSON6902: [{kind: ClusterConfiguration, patch: '[{\"op\": \"add\", \"path\": \"/a\", \"value\": \"\\ud800\"}]'}]", ["kubeadmConfigPatchesJSON6902[0].patch"]),
    ],
)  # fmt: skip
def test_no_mistake_hides_another(text: str, paths: list[str]) -> None:
    """Wherever it is: in the same mapping, in the same list, beside a field whose name begins with the same word."""
    with pytest.raises(ConfigInvalid) as invalid:
        load(f"{HEAD}{text}\n")

    assert sorted(problem.path.removeprefix("networking.") for problem in invalid.value.problems) == sorted(
        path.removeprefix("networking.") for path in paths
    )


def test_the_rules_hold_for_configurations_made_in_python() -> None:
    """They need not come from a document."""
    config = ClusterConfig(name="Demo", nodes=(NodeConfig(role=Role.WORKER),), networking=Networking(api_server_port=70000))

    assert [problem.path for problem in problems_of(config)] == ["name", "nodes", "networking.apiServerPort"]
    assert problems_of(ClusterConfig()) == []


def test_a_configuration_does_not_change() -> None:
    """It is a value: decided once, handed on to any number of tasks."""
    with pytest.raises(FrozenInstanceError):
        ClusterConfig().name = "other"  # type: ignore[misc]


# -- one more node


@pytest.mark.parametrize(
    ("source", "role", "expected"),
    [
        ("", "", Role.WORKER),  # who adds a node seldom means a control plane, kind's default
        ("labels: {a: b}", "", Role.WORKER),
        ("role: null", "", Role.WORKER),
        ("role: control-plane", "", Role.CONTROL_PLANE),
        ("role: control-plane", "worker", Role.WORKER),
        ({}, "control-plane", Role.CONTROL_PLANE),
    ],
)
def test_a_node_alone_is_a_worker_unless_it_says_so(source: str | dict[str, Any], role: str, expected: Role) -> None:
    """Who asks for a role wins."""
    assert [node.role for node in load_node(source, role).nodes] == [expected]


def test_a_node_alone_is_an_entry_of_each_document() -> None:
    """kind's first, then ours."""
    config = load_node("labels: {tier: 1}\n---\nmemory: 2Gi\n")

    assert config.nodes == (NodeConfig(role=Role.WORKER, labels={"tier": "1"}),)
    assert [node.memory_bytes for node in config.extras.nodes] == [2 << 30]


def test_all_that_is_wrong_with_a_node_alone() -> None:
    """With the paths that it would have as the first."""
    with pytest.raises(ConfigInvalid) as raised:
        load_node("role: boss\nimage: a\nimage: b\nextraMounts: [{hostPath: a}]\n---\nmemory: 1Mi\ncpu: 1\n---\n{a: b}\n")

    assert sorted(problem.path for problem in raised.value.problems) == [
        "document 3",
        "extras.nodes[0].cpu",
        "nodes[0].extraMounts[0].containerPath",
        "nodes[0].image",
        "nodes[0].role",
    ]


@pytest.mark.parametrize("source", ["[{role: worker}]", "worker"])
def test_what_is_no_node(source: str) -> None:
    """A list of them is none."""
    with pytest.raises(ConfigInvalid, match=r"nodes\[0\]: must be a mapping"):
        load_node(source)
