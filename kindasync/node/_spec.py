"""The container of a node: every flag with its reason, decided from what the node is and what the Engine is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kindasync.config import ExtraMount, Propagation, Role
from kindasync.docker.containers import Bind, ContainerSpec, PortBinding, StrictBind
from kindasync.docker.system import EngineFacts
from kindasync.node._contract import BOOT_ENV

CLUSTER_LABEL = "io.x-k8s.kind.cluster"
ROLE_LABEL = "io.x-k8s.kind.role"
KUBECONFIG_TARGET = "/kind/host"
MODULES = "/lib/modules"

# Engines turn IPv6 off in containers of networks without it, and may in others; pods' packets are forwarded. kind's.
IPV6_SYSCTLS = {"net.ipv6.conf.all.disable_ipv6": "0", "net.ipv6.conf.all.forwarding": "1"}

_PROPAGATION = {Propagation.HOST_TO_CONTAINER: ("rslave",), Propagation.BIDIRECTIONAL: ("rshared",), Propagation.NONE: ()}


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSpec:
    """What one node is to be. Addresses that are empty are the Engine's to give; `ipv6`: Kubernetes uses it. `kubeconfig_dir`: a directory of the Engine's host, to be seen in control-plane nodes; empty: none."""

    name: str
    cluster: str
    role: Role
    image: str
    pauses: bool
    network: str
    ipv4_address: str = ""
    ipv6_address: str = ""
    ipv6: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[PortBinding, ...] = ()
    mounts: tuple[ExtraMount, ...] = ()
    nano_cpus: int = 0
    memory_bytes: int = 0
    extra_hosts: Mapping[str, str] = field(default_factory=dict)
    kubeconfig_dir: str = ""
    binds_modules: bool = True


def container_spec(node: NodeSpec, facts: EngineFacts, *, working_dir: Path) -> ContainerSpec:
    """The container of a node. Host paths that are relative are below `working_dir`."""
    env = dict(node.env)
    binds = [_bind(mount, working_dir) for mount in node.mounts]
    if node.role is Role.CONTROL_PLANE:
        env["KUBECONFIG"] = "/etc/kubernetes/admin.conf"  # kubectl by exec just works
        if node.kubeconfig_dir:
            # Of the form whose missing source is made anew: a lost cache never stops a node from starting.
            binds.append(Bind(source=node.kubeconfig_dir, target=KUBECONFIG_TARGET, options=("ro",)))
    if facts.mounts_device_mapper:
        binds.append(Bind(source="/dev/mapper", target="/dev/mapper"))
    return ContainerSpec(
        image=node.image,
        hostname=node.name,  # the kubelet's node name
        labels={CLUSTER_LABEL: node.cluster, ROLE_LABEL: node.role.value, **node.labels},
        env=env | (BOOT_ENV if node.pauses else {}),
        tty=True,  # systemd writes its progress to a console; it also makes the log one raw stream
        init=False,  # systemd has to be PID 1, whatever the Engine's default
        privileged=True,  # containers in the container: mounts, cgroups, network
        security_opt=("seccomp=unconfined", "apparmor=unconfined"),  # not implied by privileged on every Engine
        cgroupns_mode="private",  # the node's cgroups are its own
        userns_mode="host" if facts.userns_remap else "",
        restart_policy="on-failure",  # come back after a restart of the Engine or host…
        restart_retries=1,  # …but do not loop
        tmpfs={"/tmp": "", "/run": ""},  # systemd and containerd expect them to be empty at boot
        volumes=("/var",),  # a real file system for containerd's snapshots, etcd and logs: overlay cannot lie on overlay
        binds=tuple(binds),
        strict_binds=(StrictBind(source=MODULES, target=MODULES, read_only=True),)
        if node.binds_modules
        else (),  # kube-proxy loads modules
        devices=("/dev/fuse",) if facts.rootless else (),  # fuse-overlayfs
        nano_cpus=node.nano_cpus,
        memory_bytes=node.memory_bytes,
        extra_hosts=node.extra_hosts,
        sysctls=IPV6_SYSCTLS if node.ipv6 else {},
        ports=node.ports,
        network=node.network,
        ipv4_address=node.ipv4_address,
        ipv6_address=node.ipv6_address,
    )


def _bind(mount: ExtraMount, working_dir: Path) -> Bind:
    options = [*(["ro"] if mount.read_only else []), *(["Z"] if mount.selinux_relabel else []), *_PROPAGATION[mount.propagation]]
    return Bind(source=str(working_dir / mount.host_path), target=mount.container_path, options=tuple(options))
