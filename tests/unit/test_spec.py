"""The container of a node: each flag, and on what it depends. Source: kind's, with their reasons beside them in the module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kindasync.config import ExtraMount, Propagation, Role
from kindasync.docker.containers import Bind, ContainerSpec, PortBinding, StrictBind
from kindasync.docker.system import facts_from
from kindasync.node._spec import NodeSpec, container_spec

WORKING_DIR = Path("/work")
ENGINE = facts_from({"Architecture": "x86_64", "Driver": "overlay2", "CgroupVersion": "2"}, api_version=(1, 45))
WORKER = NodeSpec(name="demo-worker", cluster="demo", role=Role.WORKER, image="kindest/node:v1.37.0", pauses=False, network="kind")
CONTROL_PLANE = replace(WORKER, name="demo-control-plane", role=Role.CONTROL_PLANE)
SPEC = ContainerSpec(
    image="kindest/node:v1.37.0",
    hostname="demo-worker",
    labels={"io.x-k8s.kind.cluster": "demo", "io.x-k8s.kind.role": "worker"},
    env={},
    tty=True,
    init=False,
    privileged=True,
    security_opt=("seccomp=unconfined", "apparmor=unconfined"),
    cgroupns_mode="private",
    userns_mode="",
    restart_policy="on-failure",
    restart_retries=1,
    tmpfs={"/tmp": "", "/run": ""},
    volumes=("/var",),
    binds=(),
    strict_binds=(StrictBind(source="/lib/modules", target="/lib/modules", read_only=True),),
    devices=(),
    ports=(),
    network="kind",
    ipv4_address="",
)


def test_a_worker() -> None:
    """The whole container, with the image's own entrypoint and command."""
    assert container_spec(WORKER, ENGINE, working_dir=WORKING_DIR) == SPEC


@pytest.mark.parametrize(
    ("node", "difference"),
    [
        ({"name": "other"}, {"hostname": "other"}),
        ({"labels": {"kindasync.run": "1"}}, {"labels": {**SPEC.labels, "kindasync.run": "1"}}),
        ({"env": {"NO_PROXY": "x"}}, {"env": {"NO_PROXY": "x"}}),
        ({"pauses": True}, {"env": {"KINDASYNC_BOOT": "paused"}}),
        ({"pauses": True, "env": {"KINDASYNC_BOOT": "through"}}, {"env": {"KINDASYNC_BOOT": "paused"}}),  # the plan counts
        ({"ports": (PortBinding(container_port=80),)}, {"ports": (PortBinding(container_port=80),)}),
        ({"network": "other", "ipv4_address": "10.89.0.3"}, {"network": "other", "ipv4_address": "10.89.0.3"}),
        ({"nano_cpus": 500_000_000, "memory_bytes": 1 << 30}, {"nano_cpus": 500_000_000, "memory_bytes": 1 << 30}),
        ({"extra_hosts": {"a": "10.0.0.1"}}, {"extra_hosts": {"a": "10.0.0.1"}}),
        ({"ipv6_address": "fc00::3"}, {"ipv6_address": "fc00::3"}),
        ({"ipv6": True}, {"sysctls": {"net.ipv6.conf.all.disable_ipv6": "0", "net.ipv6.conf.all.forwarding": "1"}}),  # as kind does
        ({"binds_modules": False}, {"strict_binds": ()}),  # hosts that have none
        ({"kubeconfig_dir": "/state/demo"}, {}),  # for control planes only
    ],
)
def test_what_the_node_asks_for(node: Mapping[str, Any], difference: Mapping[str, Any]) -> None:
    """One field of the node, and what it changes in the container."""
    assert container_spec(replace(WORKER, **node), ENGINE, working_dir=WORKING_DIR) == replace(SPEC, **difference)


@pytest.mark.parametrize(
    ("facts", "difference"),
    [
        ({"userns_remap": True}, {"userns_mode": "host"}),
        ({"rootless": True}, {"devices": ("/dev/fuse",)}),
        ({"storage_driver": "zfs"}, {"binds": (Bind(source="/dev/mapper", target="/dev/mapper"),)}),
        ({"storage_driver": "zfs", "rootless": True}, {"devices": ("/dev/fuse",)}),
        ({"backing_filesystem": "xfs"}, {"binds": (Bind(source="/dev/mapper", target="/dev/mapper"),)}),
        ({"cgroup_version": 1}, {}),
    ],
)
def test_what_the_engine_needs(facts: Mapping[str, Any], difference: Mapping[str, Any]) -> None:
    """One fact about the Engine, and what it changes in the container."""
    assert container_spec(WORKER, replace(ENGINE, **facts), working_dir=WORKING_DIR) == replace(SPEC, **difference)


@pytest.mark.parametrize(
    ("kubeconfig_dir", "binds"),
    [("", ()), ("/state/demo", (Bind(source="/state/demo", target="/kind/host", options=("ro",)),))],
)
def test_a_control_plane(kubeconfig_dir: str, binds: tuple[Bind, ...]) -> None:
    """kubectl by exec just works, and the directory with the cluster's kubeconfig is seen, where there is one."""
    spec = container_spec(replace(CONTROL_PLANE, kubeconfig_dir=kubeconfig_dir), ENGINE, working_dir=WORKING_DIR)

    assert spec.env == {"KUBECONFIG": "/etc/kubernetes/admin.conf"}
    assert spec.labels["io.x-k8s.kind.role"] == "control-plane"
    assert spec.binds == binds


@pytest.mark.parametrize(
    ("mount", "bind"),
    [
        ({}, Bind(source="/data", target="/target")),
        ({"host_path": "data"}, Bind(source="/work/data", target="/target")),  # relative to where kindasync runs
        ({"read_only": True}, Bind(source="/data", target="/target", options=("ro",))),
        ({"selinux_relabel": True}, Bind(source="/data", target="/target", options=("Z",))),
        ({"propagation": Propagation.HOST_TO_CONTAINER}, Bind(source="/data", target="/target", options=("rslave",))),
        ({"propagation": Propagation.BIDIRECTIONAL}, Bind(source="/data", target="/target", options=("rshared",))),
        (
            {"read_only": True, "selinux_relabel": True, "propagation": Propagation.HOST_TO_CONTAINER},
            Bind(source="/data", target="/target", options=("ro", "Z", "rslave")),
        ),
    ],
)
def test_extra_mounts(mount: Mapping[str, Any], bind: Bind) -> None:
    """In Docker's words for what Kubernetes calls propagation."""
    extra = ExtraMount(**{"host_path": "/data", "container_path": "/target", **mount})

    assert container_spec(replace(WORKER, mounts=(extra,)), ENGINE, working_dir=WORKING_DIR).binds == (bind,)


def test_the_users_mounts_come_first() -> None:
    """In the order in which they were written."""
    mounts = tuple(ExtraMount(host_path=f"/{name}", container_path=f"/{name}") for name in "ba")

    spec = container_spec(replace(CONTROL_PLANE, mounts=mounts, kubeconfig_dir="/state"), ENGINE, working_dir=WORKING_DIR)

    assert [bind.target for bind in spec.binds] == ["/b", "/a", "/kind/host"]
