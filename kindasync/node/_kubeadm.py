"""kubeadm: its configuration as documents, and which of its phases run when.

Source: kubernetes.io, "kubeadm Configuration (v1beta4)" and (v1beta3); what is set beyond kind's values says why.
"""

from __future__ import annotations

import copy
import re
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from kindasync import go_yaml
from kindasync.config import ProxyMode
from kindasync.versions import KubernetesVersion

CONFIG_PATH = "/kind/kubeadm.conf"
ETCD_CONFIG_PATH = "/kind/etcd.conf"  # the same, for the manifest of etcd alone
DISCOVERY_PATH = "/kind/discovery.conf"  # the cluster's authority and a bootstrap token: whom a joining node trusts, and as whom it asks
PATCHES_PATH = "/kind/patches"  # of this node alone: KubeletConfiguration is the whole cluster's
API_PORT = 6443
AWAIT = "KINDASYNC_AWAIT"  # see node-image/kube/await
ROLES_ARGV = ("bootstrap-roles",)  # see node-image/kube/roles
CRI_SOCKET = "unix:///run/containerd/containerd.sock"
ADMIN_CONF = "/etc/kubernetes/admin.conf"
KUBELET_CONF = "/etc/kubernetes/kubelet.conf"
KUBELET_PKI = "/var/lib/kubelet/pki"
KUBELET_CURRENT = f"{KUBELET_PKI}/kubelet-client-current.pem"
# kubeadm init has the same phases in 1.35, 1.36 and 1.37; one that it does not know would be an error.
PHASES = (
    "preflight",
    "certs",
    "kubeconfig",
    "etcd",
    "control-plane/apiserver",
    "control-plane/controller-manager",
    "control-plane/scheduler",
    "kubelet-start",
    "wait-control-plane",
    "upload-config",
    "upload-certs",
    "mark-control-plane",
    "bootstrap-token",
    "kubelet-finalize",
    "addon",
    "show-join-command",
)
# These write files only. They run while the node is paused, so that systemd starts a kubelet that has all it needs.
FILE_PHASES = ("certs", "kubeconfig", "etcd", "control-plane/apiserver", "kubelet-start")
# So do these, as soon as the API server answers: before, they would only take processor time from it, and give Nodes podCIDRs.
CONTROLLER_PHASES = ("control-plane/controller-manager", "control-plane/scheduler")
# What is left to do on another control plane that is initialised at the same time as the first.
MEMBER_PHASES = (*CONTROLLER_PHASES, "wait-control-plane", "mark-control-plane")
# These talk to the API server, in two runs side by side: after ten requests, each may send five a second. Not among them: wait-control-plane,
# which we do for all nodes; kubelet-finalize, as `finalized` does that before the kubelet begins, which is not to be started anew; addon,
# whose objects we create, beside all this.
API_PHASES = (("upload-config", "mark-control-plane"), ("bootstrap-token",))
ADDONS = ("coredns", "kube-proxy")
_OF_THE_NODE = ("nodeRegistration", "patches", "timeouts")  # InitConfiguration and JoinConfiguration have these in common


@dataclass(frozen=True, slots=True, kw_only=True)
class Kubeadm:
    """All that kubeadm's configuration of one node depends on.

    Shape: `node_addresses`, one per address family, the primary one's first; `system_reserved`, what its kubelet has to leave
    of the host's resources; `cluster_configuration` of a cluster that is there: as that has it.
    """

    version: KubernetesVersion
    cluster: str
    node_name: str
    node_addresses: tuple[str, ...]
    control_plane_endpoint: str
    cert_sans: tuple[str, ...]
    token: str = field(repr=False)
    pod_subnets: tuple[str, ...]
    service_subnets: tuple[str, ...]
    proxy_mode: ProxyMode = ProxyMode.IPTABLES
    node_labels: Mapping[str, str] = field(default_factory=dict)
    feature_gates: Mapping[str, bool] = field(default_factory=dict)
    runtime_config: Mapping[str, str] = field(default_factory=dict)
    system_reserved: Mapping[str, str] = field(default_factory=dict)
    cgroup_version: int = 2
    rootless: bool = False
    single_node: bool = True
    single_control_plane: bool = True
    cluster_configuration: Mapping[str, Any] | None = None


def documents(kubeadm: Kubeadm) -> list[dict[str, Any]]:
    """ClusterConfiguration, InitConfiguration, KubeletConfiguration and KubeProxyConfiguration for `kubeadm`."""
    return [_cluster(kubeadm), _init(kubeadm), _kubelet(kubeadm)] + ([] if kubeadm.proxy_mode is ProxyMode.NONE else [_kube_proxy(kubeadm)])


def join_documents(kubeadm: Kubeadm, *, control_plane: bool) -> list[dict[str, Any]]:
    """JoinConfiguration for `kubeadm`, and for the node's own services the ClusterConfiguration; kubeadm reads that from the cluster."""
    join: dict[str, Any] = {
        "apiVersion": _api(kubeadm),
        "kind": "JoinConfiguration",
        "discovery": {"file": {"kubeConfigPath": DISCOVERY_PATH}, "tlsBootstrapToken": kubeadm.token},
        "nodeRegistration": _registration(kubeadm),
        **_patches(kubeadm),
        **_timeouts(kubeadm),
    }
    if control_plane:
        join["controlPlane"] = {"localAPIEndpoint": _endpoint(kubeadm)}
    return [_cluster(kubeadm), join]


def discovery(admin_conf: Mapping[str, Any], server: str) -> str:
    """The file at DISCOVERY_PATH: the cluster of kubeadm's admin.conf, without a user."""
    cluster = {**admin_conf["clusters"][0]["cluster"], "server": server}
    return go_yaml.dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "", "cluster": cluster}],
            "contexts": [],
            "users": [],
        }
    )


def patch_files(kubeadm: Kubeadm) -> dict[str, str]:
    """The patches, by path, that kubeadm applies to what it writes for this node alone."""
    if not kubeadm.system_reserved:
        return {}
    return {f"{PATCHES_PATH}/kubeletconfiguration+merge.yaml": go_yaml.dump({"systemReserved": dict(kubeadm.system_reserved)})}


def join_argv(documents: str) -> list[str]:
    """`kubeadm join`, but for the phases that its `documents` skip."""
    return ["kubeadm", "join", f"--config={CONFIG_PATH}", "--skip-phases=" + ",".join(("preflight", *_skipped(documents)))]


def etcd_argv() -> list[str]:
    """The manifest of etcd, for a member of a new one of several."""
    return ["kubeadm", "init", "phase", "etcd", "local", f"--config={ETCD_CONFIG_PATH}"]


def initialising(first: str, joining: str) -> str:
    """The documents of a control plane that is initialised at the same time as the first: of the cluster, that one's; of the node, its own.

    `joining`: those with which it would join, so that patches of JoinConfiguration count for it as for any node but the first.
    """
    join = _of_kind("JoinConfiguration", joining)
    init: dict[str, Any] = {
        "apiVersion": join["apiVersion"],
        "kind": "InitConfiguration",
        "localAPIEndpoint": join["controlPlane"]["localAPIEndpoint"],
        **{name: join[name] for name in _OF_THE_NODE if name in join},
    }
    return go_yaml.dump_all([init if each["kind"] == init["kind"] else each for each in go_yaml.load_all(first)])


def not_initialised(unpatched: str, joining: str) -> list[str]:
    """The fields of JoinConfiguration that patches have changed, and of which `initialising` takes nothing."""
    before, after = ({**join, **join["controlPlane"]} for join in (_of_kind("JoinConfiguration", text) for text in (unpatched, joining)))
    taken = {*_OF_THE_NODE, "controlPlane", "localAPIEndpoint"}
    return sorted(name for name in (before.keys() | after.keys()) - taken if before.get(name) != after.get(name))


def founding(documents: str, members: Mapping[str, str]) -> str:
    """`documents` with all members of a new etcd, addresses by name; empty if the cluster has an etcd of its own, elsewhere.

    kubeadm knows only of members that join one by one. It keeps its ClusterConfiguration without this, as for such.
    """
    cluster = _of_kind("ClusterConfiguration", documents)
    etcd: dict[str, Any] = cluster.get("etcd") or {}
    if "external" in etcd:
        return ""
    local: dict[str, Any] = etcd.get("local") or {}
    urls = {name: f"https://[{address}]:2380" if ":" in address else f"https://{address}:2380" for name, address in members.items()}
    value = ",".join(f"{name}={url}" for name, url in sorted(urls.items()))
    args: Any = local.get("extraArgs") or []
    args = {**args, "initial-cluster": value} if isinstance(args, dict) else [*args, {"name": "initial-cluster", "value": value}]
    cluster["etcd"] = {**etcd, "local": {**local, "extraArgs": args}}
    return go_yaml.dump_all([cluster if each["kind"] == cluster["kind"] else each for each in go_yaml.load_all(documents)])


def advertised(documents: str) -> str:
    """The address at which a control plane's API server and etcd are reached, by its documents."""
    for each in go_yaml.load_all(documents):
        endpoint = each.get("localAPIEndpoint") or (each.get("controlPlane") or {}).get("localAPIEndpoint")
        if endpoint:
            return str(endpoint["advertiseAddress"])
    raise AssertionError("every control plane has a localAPIEndpoint")


def _of_kind(kind: str, documents: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in go_yaml.load_all(documents) if each["kind"] == kind)
    return found


def to_yaml(kubeadm_documents: Sequence[Mapping[str, Any]]) -> str:
    """One stream of YAML documents."""
    return go_yaml.dump_all(kubeadm_documents)


def init_argv(documents: str, *, only: tuple[str, ...] = (), proxy_mode: ProxyMode = ProxyMode.IPTABLES) -> list[str]:
    """`kubeadm init`, whole or with only some of its phases, and without those that its `documents` skip: the flag would win over them."""
    argv = ["kubeadm", "init", f"--config={CONFIG_PATH}", "--skip-token-print"]
    skipped = [phase for phase in PHASES if phase not in only] if only else ["preflight"]
    if not only and proxy_mode is ProxyMode.NONE:
        skipped.append("addon/kube-proxy")
    return [*argv, "--skip-phases=" + ",".join((*skipped, *_skipped(documents)))]


def _skipped(documents: str) -> tuple[str, ...]:
    return tuple(phase for each in go_yaml.load_all(documents) for phase in each.get("skipPhases") or ())


def addons(documents: str, proxy_mode: ProxyMode) -> tuple[str, ...]:
    """The addons that a cluster of these documents is to have."""
    cluster, skipped = _of_kind("ClusterConfiguration", documents), {*_skipped(documents)}
    without = {"coredns": cluster.get("dns"), "kube-proxy": cluster.get("proxy")}
    return tuple(
        name
        for name in ADDONS
        if not skipped & {"addon", f"addon/{name}"}
        and not (without[name] or {}).get("disabled")
        and not (name == "kube-proxy" and proxy_mode is ProxyMode.NONE)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """What a kubelet sets on a Node that it makes itself, and leaves as it is on one that is there."""

    labels: Mapping[str, str]
    taints: Sequence[Mapping[str, str]]
    provider_id: str = ""


def registration(documents: str, kubelet: Mapping[str, Any]) -> Registration:
    """As a node's `documents` have it, and `kubelet`, the cluster's KubeletConfiguration.

    Source: kubernetes.io, "kubelet", --node-labels, --register-with-taints, --cloud-provider. kubeadm makes the taints of a worker's
    registration such a flag, which wins over the file; those of a control plane it sets itself.
    """
    given = next(each for each in go_yaml.load_all(documents) if each["kind"] in ("InitConfiguration", "JoinConfiguration"))
    of_node = given.get("nodeRegistration") or {}
    is_worker = given["kind"] == "JoinConfiguration" and not given.get("controlPlane")
    args = arguments(of_node.get("kubeletExtraArgs"))
    if "register-with-taints" in args:
        taints = [_taint(text) for text in args["register-with-taints"].split(",") if text]
    else:
        taints = [*((is_worker and of_node.get("taints")) or kubelet.get("registerWithTaints") or ())]
    if args.get("cloud-provider") == "external":
        taints.append(_taint("node.cloudprovider.kubernetes.io/uninitialized=true:NoSchedule"))
    labels = dict(label.partition("=")[::2] for label in args.get("node-labels", "").split(",") if label)
    return Registration(labels=labels, taints=taints, provider_id=args.get("provider-id", ""))


def _taint(text: str) -> dict[str, str]:
    what, _, effect = text.rpartition(":")
    key, _, value = what.partition("=")
    return {"key": key, "effect": effect, **({"value": value} if value else {})}


def arguments(args: Any) -> dict[str, str]:
    """Extra arguments of either form, by name."""
    pairs = args.items() if isinstance(args, Mapping) else ((each["name"], each.get("value", "")) for each in args or ())
    return {name: str(value) for name, value in pairs}


def mask_sizes(documents: str) -> list[str]:
    """The arguments that would give Nodes podCIDRs of other sizes, if they had none."""
    controller_manager = _of_kind("ClusterConfiguration", documents).get("controllerManager") or {}
    return [name for name in arguments(controller_manager.get("extraArgs")) if name.startswith("node-cidr-mask-size")]


def kubelet_of(documents: str) -> dict[str, Any]:
    """The KubeletConfiguration of a cluster's first documents."""
    return _of_kind("KubeletConfiguration", documents)


def addon_argv(addon: str) -> list[str]:
    """The manifest of an addon, on stdout."""
    return ["kubeadm", "init", "phase", "addon", addon, f"--config={CONFIG_PATH}", "--print-manifest"]


def addon_manifest(output: str) -> str:
    """The manifest in what `addon_argv` prints. Where there are patches, kubeadm says so before it, and ends no line after a `---`."""
    return re.sub(r"(?m)^---(?=\S)", "---\n", re.sub(r"(?m)^\[[a-z-]+\] .*\n", "", output))


def tuned(document: Mapping[str, Any], *, single_node: bool) -> dict[str, Any]:
    """An object of an addon, as we create it: DNS is asked each second whether it is ready, not each ten; on a single node one pod does."""
    result: dict[str, Any] = copy.deepcopy(dict(document))
    if result["kind"] == "Deployment":
        for container in result["spec"]["template"]["spec"]["containers"]:
            container["readinessProbe"]["periodSeconds"] = 1
        if single_node:
            result["spec"]["replicas"] = 1
    return result


def finalized(kubelet_conf: bytes, now: datetime) -> tuple[str, str, bytes]:
    """What kubelet-finalize makes of kubelet.conf: one that names a file whose certificate the kubelet will rotate.

    Shape: kubelet.conf; the path of that file, to which `kubelet-client-current.pem` has to point; its content.
    """
    conf = go_yaml.load(kubelet_conf)
    user = conf["users"][0]["user"]
    content = b64decode(user["client-certificate-data"]) + b64decode(user["client-key-data"])
    conf["users"][0]["user"] = {"client-certificate": KUBELET_CURRENT, "client-key": KUBELET_CURRENT}
    return go_yaml.dump(conf), f"{KUBELET_PKI}/kubelet-client-{now:%Y-%m-%d-%H-%M-%S}.pem", content


def _cluster(kubeadm: Kubeadm) -> dict[str, Any]:
    if kubeadm.cluster_configuration:
        return dict(kubeadm.cluster_configuration)
    gates = {"feature-gates": _gates_text(kubeadm)} if kubeadm.feature_gates else {}
    api_server = {"runtime-config": ",".join(f"{key}={value}" for key, value in sorted(kubeadm.runtime_config.items()))} | gates
    # The default, 20 requests a second for some 35 controllers that start, makes the last of them (and with it the
    # default ServiceAccount) wait for seconds.
    controller_manager = {"enable-hostpath-provisioner": "true", "kube-api-qps": "300", "kube-api-burst": "600"} | gates
    scheduler = dict(gates)
    etcd: dict[str, str] = {}
    if kubeadm.single_control_plane:
        # Nobody to elect against: a missed first try would cost up to 4 s.
        controller_manager["leader-elect"] = scheduler["leader-elect"] = "false"
        # A member alone elects itself after a tick or more; ticks of 100 ms are for networks. Writes stay synced to disk.
        etcd = {"heartbeat-interval": "20", "election-timeout": "200"}
    result: dict[str, Any] = {
        "apiVersion": _api(kubeadm),
        "kind": "ClusterConfiguration",
        "kubernetesVersion": str(kubeadm.version),
        "clusterName": kubeadm.cluster,
        "controlPlaneEndpoint": kubeadm.control_plane_endpoint,
        "apiServer": {"certSANs": list(kubeadm.cert_sans), "extraArgs": _args(kubeadm, api_server)},
        "controllerManager": {"extraArgs": _args(kubeadm, controller_manager), **_awaiting(kubeadm)},
        "scheduler": {"extraArgs": _args(kubeadm, scheduler), **_awaiting(kubeadm)},
        "networking": {"podSubnet": ",".join(kubeadm.pod_subnets), "serviceSubnet": ",".join(kubeadm.service_subnets)},
    }
    if etcd:
        result["etcd"] = {"local": {"extraArgs": _args(kubeadm, etcd)}}
    if kubeadm.version.kubeadm_api == "v1beta4":
        result["encryptionAlgorithm"] = "ECDSA-P256"  # made and used in a fraction of RSA's time, on every handshake
    return result


def _init(kubeadm: Kubeadm) -> dict[str, Any]:
    registration = _registration(kubeadm)
    if kubeadm.single_node:
        registration["taints"] = []  # the one node runs everything
    return {
        "apiVersion": _api(kubeadm),
        "kind": "InitConfiguration",
        "bootstrapTokens": [
            {"token": kubeadm.token, "ttl": "1h0m0s"}
        ],  # removed when creation ends; the hour is for ends that we do not see
        "localAPIEndpoint": _endpoint(kubeadm),
        "nodeRegistration": registration,
        **_patches(kubeadm),
        **_timeouts(kubeadm),
    }


def _patches(kubeadm: Kubeadm) -> dict[str, Any]:
    return {"patches": {"directory": PATCHES_PATH}} if patch_files(kubeadm) else {}


def _awaiting(kubeadm: Kubeadm) -> dict[str, Any]:
    """Let a controller begin as soon as the API server is ready for it. By itself it asks too early, and comes back a second or more later."""
    return {"extraEnvs": [{"name": AWAIT, "value": "/readyz"}]} if kubeadm.version.kubeadm_api == "v1beta4" else {}


def _timeouts(kubeadm: Kubeadm) -> dict[str, Any]:
    """How long kubeadm waits for the API server's answers: three times as long as by itself, for hosts where many clusters start at once."""
    return {"timeouts": {"kubernetesAPICall": "3m0s"}} if kubeadm.version.kubeadm_api == "v1beta4" else {}


def _endpoint(kubeadm: Kubeadm) -> dict[str, Any]:
    return {"advertiseAddress": kubeadm.node_addresses[0], "bindPort": API_PORT}


def _registration(kubeadm: Kubeadm) -> dict[str, Any]:
    args = {
        "node-ip": ",".join(kubeadm.node_addresses),
        "provider-id": f"kind://docker/{kubeadm.cluster}/{kubeadm.node_name}",
        "node-labels": ",".join(f"{key}={value}" for key, value in sorted(kubeadm.node_labels.items())),
    }
    return {"criSocket": CRI_SOCKET, "kubeletExtraArgs": _args(kubeadm, args)}


def _kubelet(kubeadm: Kubeadm) -> dict[str, Any]:
    traits = kubeadm.version.traits
    result: dict[str, Any] = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "cgroupDriver": traits.cgroup_driver,
        "cgroupRoot": "/kubelet",  # pods below a group of their own, so that what the kubelet sums up is the node
        "failSwapOn": False,  # the host's swap is not ours to turn off
        # The disk that the kubelet sees is the host's: nothing it could remove would help.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%"},
    }
    if kubeadm.cgroup_version == 1 and traits.may_fail_cgroup_v1:
        result["failCgroupV1"] = False
    gates = dict(sorted(kubeadm.feature_gates.items()))
    if kubeadm.rootless:
        gates["KubeletInUserNamespace"] = True
    if gates:
        result["featureGates"] = gates
    return result


def _kube_proxy(kubeadm: Kubeadm) -> dict[str, Any]:
    # maxPerCore 0: nf_conntrack_max is the host's, shared with everything on it.
    conntrack: dict[str, Any] = {"maxPerCore": 0}
    if kubeadm.proxy_mode is ProxyMode.NFTABLES and not kubeadm.rootless:
        conntrack["tcpBeLiberal"] = True  # kubernetes#117924, kernels before 6.1
    if kubeadm.rootless:
        conntrack |= {"tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"}
    result: dict[str, Any] = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": kubeadm.proxy_mode.value,
        "iptables": {"minSyncPeriod": "1s"},
        "conntrack": conntrack,
    }
    if kubeadm.feature_gates:
        result["featureGates"] = dict(sorted(kubeadm.feature_gates.items()))
    return result


def _api(kubeadm: Kubeadm) -> str:
    return f"kubeadm.k8s.io/{kubeadm.version.kubeadm_api}"


def _args(kubeadm: Kubeadm, args: Mapping[str, str]) -> Any:
    """Extra arguments, as the version of kubeadm's API has them: a list from v1beta4 on, a mapping before."""
    if kubeadm.version.kubeadm_api == "v1beta4":
        return [{"name": name, "value": value} for name, value in args.items()]
    return dict(args)


def _gates_text(kubeadm: Kubeadm) -> str:
    return ",".join(f"{name}={str(on).lower()}" for name, on in sorted(kubeadm.feature_gates.items()))
