"""kubeadm: the documents of one node's configuration, and the arguments that run its phases.

Source: kubernetes.io, "kubeadm Configuration (v1beta4)" and "(v1beta3)"; kind's values, and what is set beyond them.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from kindasync.config import ProxyMode
from kindasync.node._kubeadm import (
    API_PHASES,
    CONTROLLER_PHASES,
    FILE_PHASES,
    Kubeadm,
    Registration,
    addon_manifest,
    addons,
    documents,
    finalized,
    founding,
    init_argv,
    initialising,
    join_argv,
    join_documents,
    not_initialised,
    patch_files,
    registration,
    to_yaml,
    tuned,
)
from kindasync.versions import KubernetesVersion

TOKEN = "abcdef.0123456789abcdef"
SINGLE = Kubeadm(
    version=KubernetesVersion.parse("v1.37.0"),
    cluster="demo",
    node_name="demo-control-plane",
    node_addresses=("10.89.0.2",),
    control_plane_endpoint="demo-control-plane:6443",
    cert_sans=("localhost", "127.0.0.1"),
    token=TOKEN,
    pod_subnets=("10.244.0.0/16",),
    service_subnets=("10.96.0.0/16",),
)
V1_30 = replace(SINGLE, version=KubernetesVersion.parse("v1.30.4"))


def test_a_single_node_of_1_37() -> None:
    """v1beta4: arguments are lists of name and value."""
    assert (
        to_yaml(documents(SINGLE))
        == """\
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: v1.37.0
clusterName: demo
controlPlaneEndpoint: demo-control-plane:6443
apiServer:
  certSANs:
  - localhost
  - 127.0.0.1
  extraArgs:
  - name: runtime-config
    value: ''
controllerManager:
  extraArgs:
  - name: enable-hostpath-provisioner
    value: 'true'
  - name: kube-api-qps
    value: '300'
  - name: kube-api-burst
    value: '600'
  - name: leader-elect
    value: 'false'
  extraEnvs:
  - name: KINDASYNC_AWAIT
    value: /readyz
scheduler:
  extraArgs:
  - name: leader-elect
    value: 'false'
  extraEnvs:
  - name: KINDASYNC_AWAIT
    value: /readyz
networking:
  podSubnet: 10.244.0.0/16
  serviceSubnet: 10.96.0.0/16
etcd:
  local:
    extraArgs:
    - name: heartbeat-interval
      value: '20'
    - name: election-timeout
      value: '200'
encryptionAlgorithm: ECDSA-P256
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
bootstrapTokens:
- token: abcdef.0123456789abcdef
  ttl: '1h0m0s'
localAPIEndpoint:
  advertiseAddress: 10.89.0.2
  bindPort: 6443
nodeRegistration:
  criSocket: unix:///run/containerd/containerd.sock
  kubeletExtraArgs:
  - name: node-ip
    value: 10.89.0.2
  - name: provider-id
    value: kind://docker/demo/demo-control-plane
  - name: node-labels
    value: ''
  taints: []
timeouts:
  kubernetesAPICall: '3m0s'
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: systemd
cgroupRoot: /kubelet
failSwapOn: false
imageGCHighThresholdPercent: 100
evictionHard:
  nodefs.available: '0%'
  nodefs.inodesFree: '0%'
  imagefs.available: '0%'
---
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
iptables:
  minSyncPeriod: '1s'
conntrack:
  maxPerCore: 0
"""
    )


def test_a_single_node_of_1_30() -> None:
    """v1beta3: arguments are mappings, and there is no choice of a key's algorithm."""
    cluster, init, kubelet, kube_proxy = documents(V1_30)

    assert cluster == {
        "apiVersion": "kubeadm.k8s.io/v1beta3",
        "kind": "ClusterConfiguration",
        "kubernetesVersion": "v1.30.4",
        "clusterName": "demo",
        "controlPlaneEndpoint": "demo-control-plane:6443",
        "apiServer": {"certSANs": ["localhost", "127.0.0.1"], "extraArgs": {"runtime-config": ""}},
        "controllerManager": {
            "extraArgs": {
                "enable-hostpath-provisioner": "true",
                "kube-api-qps": "300",
                "kube-api-burst": "600",
                "leader-elect": "false",
            }
        },
        "scheduler": {"extraArgs": {"leader-elect": "false"}},
        "networking": {"podSubnet": "10.244.0.0/16", "serviceSubnet": "10.96.0.0/16"},
        "etcd": {"local": {"extraArgs": {"heartbeat-interval": "20", "election-timeout": "200"}}},
    }
    assert init["apiVersion"] == "kubeadm.k8s.io/v1beta3"
    assert init["nodeRegistration"]["kubeletExtraArgs"] == {
        "node-ip": "10.89.0.2",
        "provider-id": "kind://docker/demo/demo-control-plane",
        "node-labels": "",
    }
    assert [kubelet, kube_proxy] == documents(SINGLE)[2:]


def by_kind(kubeadm: Kubeadm) -> dict[str, Any]:
    return {document["kind"]: document for document in documents(kubeadm)}


def args(component: Mapping[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in component.get("extraArgs", ())}


def test_feature_gates_go_to_all_components() -> None:
    """Sorted, so that a change of order is no change."""
    kinds = by_kind(replace(SINGLE, feature_gates={"B": False, "A": True}))

    for component in ("apiServer", "controllerManager", "scheduler"):
        assert args(kinds["ClusterConfiguration"][component])["feature-gates"] == "A=true,B=false"
    for kind in ("KubeletConfiguration", "KubeProxyConfiguration"):
        assert list(kinds[kind]["featureGates"].items()) == [("A", True), ("B", False)]


def test_runtime_config_goes_to_the_api_server() -> None:
    """Sorted, too."""
    cluster = by_kind(replace(SINGLE, runtime_config={"api/beta": "true", "api/alpha": "false"}))["ClusterConfiguration"]

    assert args(cluster["apiServer"]) == {"runtime-config": "api/alpha=false,api/beta=true"}
    assert "runtime-config" not in args(cluster["controllerManager"])


def test_node_labels_go_to_the_kubelet() -> None:
    """Sorted, where kind takes them as they come out of a map."""
    (labels,) = [
        each["value"]
        for each in by_kind(replace(SINGLE, node_labels={"b": "2", "a": "1"}))["InitConfiguration"]["nodeRegistration"]["kubeletExtraArgs"]
        if each["name"] == "node-labels"
    ]

    assert labels == "a=1,b=2"


def test_two_families() -> None:
    """Both subnets and addresses, in the order given; the API server advertises the first."""
    dual = replace(SINGLE, node_addresses=("fc00::2", "10.89.0.2"))
    dual = replace(dual, pod_subnets=("10.244.0.0/16", "fd00:10:244::/56"), service_subnets=("10.96.0.0/16", "fd00:10:96::/112"))

    assert by_kind(dual)["ClusterConfiguration"]["networking"] == {
        "podSubnet": "10.244.0.0/16,fd00:10:244::/56",
        "serviceSubnet": "10.96.0.0/16,fd00:10:96::/112",
    }
    assert by_kind(dual)["InitConfiguration"]["localAPIEndpoint"]["advertiseAddress"] == "fc00::2"
    assert by_kind(dual)["InitConfiguration"]["nodeRegistration"]["kubeletExtraArgs"][0] == {
        "name": "node-ip",
        "value": "fc00::2,10.89.0.2",
    }


def test_a_control_plane_among_others() -> None:
    """With workers its taint stays; with more control planes there is a leader to elect, and etcd has peers to wait for."""
    with_workers = by_kind(replace(SINGLE, single_node=False))
    highly_available = by_kind(replace(SINGLE, single_node=False, single_control_plane=False))

    assert "taints" not in with_workers["InitConfiguration"]["nodeRegistration"]  # absent: kubeadm's own; empty: none
    assert args(with_workers["ClusterConfiguration"]["scheduler"]) == {"leader-elect": "false"}
    assert "leader-elect" not in args(highly_available["ClusterConfiguration"]["scheduler"])
    assert "leader-elect" not in args(highly_available["ClusterConfiguration"]["controllerManager"])
    assert "etcd" not in highly_available["ClusterConfiguration"]


@pytest.mark.parametrize(
    ("version", "cgroup_version", "field"),
    [
        ("v1.37.0", 1, {"failCgroupV1": False}),  # which refuses cgroup v1 from 1.35 on
        ("v1.31.0", 1, {"failCgroupV1": False}),
        ("v1.30.4", 1, {}),  # does not know the field
        ("v1.37.0", 2, {}),
    ],
)
def test_cgroup_v1(version: str, cgroup_version: int, field: Mapping[str, bool]) -> None:
    """The kubelet is told to put up with it, where it knows the word."""
    kubelet = by_kind(replace(SINGLE, version=KubernetesVersion.parse(version), cgroup_version=cgroup_version))["KubeletConfiguration"]

    assert {key: value for key, value in kubelet.items() if key == "failCgroupV1"} == field


def test_cgroup_driver() -> None:
    """That of containerd in kind's images, which changed with 1.24."""
    older = by_kind(replace(SINGLE, version=KubernetesVersion.parse("v1.23.17")))

    assert older["KubeletConfiguration"]["cgroupDriver"] == "cgroupfs"
    assert by_kind(SINGLE)["KubeletConfiguration"]["cgroupDriver"] == "systemd"


@pytest.mark.parametrize(
    ("mode", "rootless", "conntrack"),
    [
        (ProxyMode.IPTABLES, False, {"maxPerCore": 0}),
        (ProxyMode.IPVS, False, {"maxPerCore": 0}),
        (ProxyMode.NFTABLES, False, {"maxPerCore": 0, "tcpBeLiberal": True}),  # kubernetes#117924
        # a rootless node may not write these of the host's
        (ProxyMode.IPTABLES, True, {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"}),
        (ProxyMode.NFTABLES, True, {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"}),
    ],
)
def test_proxy_modes(mode: ProxyMode, rootless: bool, conntrack: Mapping[str, Any]) -> None:
    """Of conntrack only what the node may set: its size is the host's."""
    kube_proxy = by_kind(replace(SINGLE, proxy_mode=mode, rootless=rootless))["KubeProxyConfiguration"]

    assert (kube_proxy["mode"], kube_proxy["conntrack"]) == (mode.value, conntrack)


def test_no_proxy() -> None:
    """No document, and kubeadm does not install it."""
    assert list(by_kind(replace(SINGLE, proxy_mode=ProxyMode.NONE))) == [
        "ClusterConfiguration",
        "InitConfiguration",
        "KubeletConfiguration",
    ]
    assert init_argv("", proxy_mode=ProxyMode.NONE)[-1] == "--skip-phases=preflight,addon/kube-proxy"


def test_rootless() -> None:
    """The kubelet's gate for user namespaces, beside the user's own gates, of which it is none for other components."""
    kinds = by_kind(replace(SINGLE, rootless=True, feature_gates={"A": True}))

    assert kinds["KubeletConfiguration"]["featureGates"] == {"A": True, "KubeletInUserNamespace": True}
    assert kinds["KubeProxyConfiguration"]["featureGates"] == {"A": True}
    assert args(kinds["ClusterConfiguration"]["apiServer"])["feature-gates"] == "A=true"


def test_the_token_is_shown_nowhere() -> None:
    """It is in the document, and in nothing that may be logged."""
    assert TOKEN in to_yaml(documents(SINGLE))
    assert TOKEN not in repr(SINGLE)
    assert not any(TOKEN in argument for argument in init_argv(to_yaml(documents(SINGLE))))


def test_yaml_reads_as_it_was_meant() -> None:
    """Whatever is in it: a text that looks like a number stays a text."""
    odd = replace(SINGLE, cluster="1.30", node_labels={"on": "0755"}, cert_sans=("0x10", "::1"))

    assert [*yaml.safe_load_all(to_yaml(documents(odd)))] == documents(odd)


def test_all_of_init() -> None:
    """Preflight would test the host; nothing else is left out, and the token is not printed."""
    assert init_argv(to_yaml(documents(SINGLE))) == [
        "kubeadm",
        "init",
        "--config=/kind/kubeadm.conf",
        "--skip-token-print",
        "--skip-phases=preflight",
    ]


def test_phases_that_are_skipped() -> None:
    """Beside those that are skipped anyway: the flag wins over the documents."""
    init, join = (
        {"kind": kind, "skipPhases": ["mark-control-plane", "addon/kube-proxy"]} for kind in ("InitConfiguration", "JoinConfiguration")
    )

    assert init_argv(to_yaml([init]))[-1] == "--skip-phases=preflight,mark-control-plane,addon/kube-proxy"
    assert init_argv(to_yaml([init]), only=API_PHASES[0])[-1].endswith(",show-join-command,mark-control-plane,addon/kube-proxy")
    assert join_argv(to_yaml([join]))[-1] == "--skip-phases=preflight,mark-control-plane,addon/kube-proxy"


@pytest.mark.parametrize(
    ("cluster", "init", "proxy_mode", "expected"),
    [
        ({}, {}, ProxyMode.IPTABLES, ("coredns", "kube-proxy")),
        ({}, {}, ProxyMode.NONE, ("coredns",)),
        ({}, {"skipPhases": ["addon/kube-proxy"]}, ProxyMode.IPTABLES, ("coredns",)),
        ({}, {"skipPhases": ["addon"]}, ProxyMode.IPTABLES, ()),
        ({"dns": {"disabled": True}}, {}, ProxyMode.IPTABLES, ("kube-proxy",)),
        ({"proxy": {"disabled": True}, "dns": {"imageTag": "v1"}}, {}, ProxyMode.IPTABLES, ("coredns",)),
    ],
)
def test_addons(cluster: dict[str, Any], init: dict[str, Any], proxy_mode: ProxyMode, expected: tuple[str, ...]) -> None:
    """Those that nobody wants to do without."""
    text = to_yaml([{"kind": "ClusterConfiguration", **cluster}, {"kind": "InitConfiguration", **init}])

    assert addons(text, proxy_mode) == expected


DB = {"key": "dedicated", "value": "db", "effect": "NoSchedule"}
EXTERNAL = {"key": "node.cloudprovider.kubernetes.io/uninitialized", "value": "true", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("registered", "kubelet", "expected"),
    [
        ({"taints": [DB]}, {}, Registration(labels={}, taints=[DB])),
        ({"taints": [DB]}, {"registerWithTaints": [EXTERNAL]}, Registration(labels={}, taints=[DB])),
        ({}, {"registerWithTaints": [DB]}, Registration(labels={}, taints=[DB])),
        (
            {"taints": [EXTERNAL], "kubeletExtraArgs": [{"name": "register-with-taints", "value": "dedicated=db:NoSchedule,a:NoExecute"}]},
            {},
            Registration(labels={}, taints=[DB, {"key": "a", "effect": "NoExecute"}]),
        ),
        (
            {"kubeletExtraArgs": {"cloud-provider": "external", "node-labels": "tier=db,b=", "provider-id": "kind://x"}},
            {},
            Registration(labels={"tier": "db", "b": ""}, taints=[EXTERNAL], provider_id="kind://x"),
        ),
    ],
)
def test_what_a_kubelet_would_set_on_a_new_node(registered: dict[str, Any], kubelet: dict[str, Any], expected: Registration) -> None:
    """Of a worker, by kubeadm's own means and by the kubelet's."""
    text = to_yaml([{"kind": "ClusterConfiguration"}, {"kind": "JoinConfiguration", "nodeRegistration": registered}])

    assert registration(text, kubelet) == expected


def test_taints_of_a_control_plane_are_set_by_kubeadm() -> None:
    """When it marks it."""
    text = to_yaml([{"kind": "InitConfiguration", "nodeRegistration": {"taints": [DB]}}])

    assert registration(text, {}) == Registration(labels={}, taints=[])


def test_phases_are_run_once() -> None:
    """While the node is paused those that write files, but for the controllers', and later those that need the API server; the rest is ours."""
    files, controllers, *api = (init_argv("", only=phases)[-1] for phases in (FILE_PHASES, CONTROLLER_PHASES, *API_PHASES))

    later = "wait-control-plane,upload-config,upload-certs,mark-control-plane,bootstrap-token,kubelet-finalize,addon,show-join-command"
    assert files == f"--skip-phases=preflight,control-plane/controller-manager,control-plane/scheduler,{later}"
    assert controllers == f"--skip-phases=preflight,certs,kubeconfig,etcd,control-plane/apiserver,kubelet-start,{later}"
    others = "--skip-phases=preflight,certs,kubeconfig,etcd,control-plane/apiserver,control-plane/controller-manager,control-plane/scheduler,kubelet-start,wait-control-plane"
    assert api == [
        f"{others},upload-certs,bootstrap-token,kubelet-finalize,addon,show-join-command",
        f"{others},upload-config,upload-certs,mark-control-plane,kubelet-finalize,addon,show-join-command",
    ]


def test_an_addon_is_kubeadms_own_but_for_what_makes_dns_ready_late() -> None:
    """On several nodes with as many pods as kubeadm has."""
    probe: dict[str, Any] = {"httpGet": {"path": "/ready"}}
    dns: dict[str, Any] = {
        "kind": "Deployment",
        "spec": {"replicas": 2, "template": {"spec": {"containers": [{"name": "coredns", "readinessProbe": probe}]}}},
    }

    alone, among_others = (tuned(dns, single_node=single)["spec"] for single in (True, False))

    assert (alone["replicas"], among_others["replicas"]) == (1, 2)
    assert alone["template"] == among_others["template"]
    assert alone["template"]["spec"]["containers"][0]["readinessProbe"] == {**probe, "periodSeconds": 1}
    assert tuned({"kind": "Service", "spec": {}}, single_node=True) == {"kind": "Service", "spec": {}}


@pytest.mark.parametrize(
    "output",
    [
        "---\napiVersion: v1\nkind: A\n---\nkind: B\n",
        '[patches] Reading patches from path "/kind/patches"\n[patches] Found: [x.yaml]\n---apiVersion: v1\nkind: A\n---\nkind: B\n',
    ],
)
def test_a_manifest_is_what_kubeadm_prints_but_for_what_it_says(output: str) -> None:
    """As its versions 1.35 to 1.37 do it with patches, and without."""
    assert [*yaml.safe_load_all(addon_manifest(output))] == [{"apiVersion": "v1", "kind": "A"}, {"kind": "B"}]


def test_a_kubelet_rotates_its_certificate_from_the_start() -> None:
    """As after kubelet-finalize, without a second start of the kubelet."""
    data = {name: b64encode(name.encode()).decode() for name in ("certificate", "key")}
    user = {"client-certificate-data": data["certificate"], "client-key-data": data["key"]}
    conf = {"clusters": [{"name": "demo"}], "users": [{"name": "system:node:demo", "user": user}]}

    text, path, content = finalized(yaml.safe_dump(conf).encode(), datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))

    current = "/var/lib/kubelet/pki/kubelet-client-current.pem"
    assert yaml.safe_load(text) == {
        "clusters": [{"name": "demo"}],
        "users": [{"name": "system:node:demo", "user": {"client-certificate": current, "client-key": current}}],
    }
    assert (path, content) == ("/var/lib/kubelet/pki/kubelet-client-2026-01-02-03-04-05.pem", b"certificatekey")


@pytest.mark.parametrize("kubeadm", [SINGLE, V1_30])
def test_what_a_node_reserves_is_its_own(kubeadm: Kubeadm) -> None:
    """A patch of what kubeadm writes there: KubeletConfiguration itself is the cluster's."""
    limited = replace(kubeadm, system_reserved={"cpu": "500m", "memory": "1024"})
    init, join = documents(limited)[1], join_documents(limited, control_plane=False)[1]

    assert init["patches"] == join["patches"] == {"directory": "/kind/patches"}
    assert {path: yaml.safe_load(text) for path, text in patch_files(limited).items()} == {
        "/kind/patches/kubeletconfiguration+merge.yaml": {"systemReserved": {"cpu": "500m", "memory": "1024"}}
    }
    assert documents(limited)[2] == documents(kubeadm)[2]
    assert patch_files(kubeadm) == {}
    assert "patches" not in documents(kubeadm)[1]


@pytest.mark.parametrize("version", ["v1.37.0", "v1.30.4"])
def test_the_members_of_a_new_etcd_are_all_in_its_manifest(version: str) -> None:
    """In either form of arguments, beside those that a user has given; an IPv6 address in brackets."""
    text = to_yaml(documents(replace(SINGLE, version=KubernetesVersion.parse(version))))

    (cluster, *others) = yaml.safe_load_all(founding(text, {"b": "10.89.0.3", "a": "fd00::2"}))

    args = cluster["etcd"]["local"]["extraArgs"]
    args = args if isinstance(args, dict) else {arg["name"]: arg["value"] for arg in args}
    assert args == {
        "heartbeat-interval": "20",
        "election-timeout": "200",
        "initial-cluster": "a=https://[fd00::2]:2380,b=https://10.89.0.3:2380",
    }
    assert others == [*yaml.safe_load_all(text)][1:]


def test_an_etcd_elsewhere_is_not_founded() -> None:
    """Then kubeadm makes no manifest, on no node."""
    text = to_yaml([{**documents(SINGLE)[0], "etcd": {"external": {"endpoints": ["https://etcd:2379"]}}}])

    assert founding(text, {"a": "10.89.0.2"}) == ""


def test_a_control_plane_beside_the_first_is_what_it_would_be_if_it_joined() -> None:
    """Its own part is that of its JoinConfiguration; all else is the first one's."""
    second = replace(SINGLE, node_name="demo-control-plane2", node_addresses=("10.89.0.3",))
    joining = to_yaml(join_documents(second, control_plane=True))

    cluster, init, *others = yaml.safe_load_all(initialising(to_yaml(documents(SINGLE)), joining))

    _, join = yaml.safe_load_all(joining)
    assert init["nodeRegistration"] == join["nodeRegistration"]
    assert init["localAPIEndpoint"] == {"advertiseAddress": "10.89.0.3", "bindPort": 6443}
    assert "bootstrapTokens" not in init
    assert [cluster, *others] == [each for each in documents(SINGLE) if each["kind"] != "InitConfiguration"]


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({}, []),
        ({"nodeRegistration": {"name": "other"}, "timeouts": {}}, []),
        ({"skipPhases": ["preflight"], "caCertPath": "/ca.crt"}, ["caCertPath", "skipPhases"]),
        ({"controlPlane": {"localAPIEndpoint": {"bindPort": 6444}}}, []),
        ({"controlPlane": {"certificateKey": "e6a2"}}, ["certificateKey"]),
    ],
)
def test_what_a_control_plane_beside_the_first_does_not_take_over(change: dict[str, Any], names: list[str]) -> None:
    """What only a node that joins has; it is told."""
    cluster, join = join_documents(SINGLE, control_plane=True)

    assert not_initialised(to_yaml([cluster, join]), to_yaml([cluster, {**join, **change}])) == names
