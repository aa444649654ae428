"""Containers on the wire: what is sent to ContainerCreate, and what is read from ContainerInspect.

Source: Docker Engine API, ContainerCreate and ContainerInspect.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from kindasync.docker.containers import Attachment, Bind, Container, ContainerSpec, Mount, PortBinding, StrictBind, from_inspect
from kindasync.errors import EngineError

BARE: dict[str, Any] = {
    "Image": "app:1",
    "Hostname": "",
    "Labels": {},
    "Env": [],
    "Tty": False,
    "Volumes": {},
    "ExposedPorts": {},
    "HostConfig": {
        "Privileged": False,
        "SecurityOpt": [],
        "Tmpfs": {},
        "Binds": [],
        "Mounts": [],
        "PortBindings": {},
        "Sysctls": {},
        "Devices": [],
    },
}


def test_a_bare_container() -> None:
    """What is not given is not sent, where the Engine has a default of its own (Init, cgroup namespace, restarts, command)."""
    assert ContainerSpec(image="app:1").to_wire() == BARE


@pytest.mark.parametrize(
    ("spec", "top", "host_config"),
    [
        ({"hostname": "demo-worker"}, {"Hostname": "demo-worker"}, {}),
        ({"labels": {"a": "b"}}, {"Labels": {"a": "b"}}, {}),
        ({"env": {"A": "1", "EMPTY": "", "EQUALS": "x=y"}}, {"Env": ["A=1", "EMPTY=", "EQUALS=x=y"]}, {}),
        ({"entrypoint": ("/bin/sh", "-c"), "cmd": ("true",)}, {"Entrypoint": ["/bin/sh", "-c"], "Cmd": ["true"]}, {}),
        ({"entrypoint": (), "cmd": ()}, {"Entrypoint": [], "Cmd": []}, {}),  # none, instead of the image's
        ({"tty": True}, {"Tty": True}, {}),
        ({"init": False}, {}, {"Init": False}),
        ({"privileged": True}, {}, {"Privileged": True}),
        ({"security_opt": ("seccomp=unconfined",)}, {}, {"SecurityOpt": ["seccomp=unconfined"]}),
        ({"cgroupns_mode": "private"}, {}, {"CgroupnsMode": "private"}),
        ({"userns_mode": "host"}, {}, {"UsernsMode": "host"}),
        (
            {"restart_policy": "on-failure", "restart_retries": 1},
            {},
            {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 1}},
        ),
        ({"tmpfs": {"/run": "", "/tmp": "size=1m"}}, {}, {"Tmpfs": {"/run": "", "/tmp": "size=1m"}}),
        ({"volumes": ("/var",)}, {"Volumes": {"/var": {}}}, {}),
        (
            {"binds": (Bind(source="/a", target="/b"), Bind(source="/c", target="/d", options=("ro", "Z", "rslave")))},
            {},
            {"Binds": ["/a:/b:rw", "/c:/d:ro,Z,rslave"]},
        ),
        (
            {"strict_binds": (StrictBind(source="/lib/modules", target="/lib/modules", read_only=True),)},
            {},
            {"Mounts": [{"Type": "bind", "Source": "/lib/modules", "Target": "/lib/modules", "ReadOnly": True}]},
        ),
        (
            {"devices": ("/dev/fuse",)},
            {},
            {"Devices": [{"PathOnHost": "/dev/fuse", "PathInContainer": "/dev/fuse", "CgroupPermissions": "rwm"}]},
        ),
        ({"nano_cpus": 1_500_000_000}, {}, {"NanoCpus": 1_500_000_000}),
        ({"memory_bytes": 2 << 30}, {}, {"Memory": 2 << 30}),
        (
            {"extra_hosts": {"a.example": "10.0.0.1", "b": "fd00::1", "c": "host-gateway"}},
            {},
            {"ExtraHosts": ["a.example:10.0.0.1", "b:fd00::1", "c:host-gateway"]},
        ),
        ({"sysctls": {"net.ipv6.conf.all.forwarding": "1"}}, {}, {"Sysctls": {"net.ipv6.conf.all.forwarding": "1"}}),
        (
            {
                "ports": (
                    PortBinding(container_port=6443, host_ip="127.0.0.1", host_port=20001),
                    PortBinding(container_port=53, protocol="udp", host_ip="0.0.0.0", host_port=53),
                    PortBinding(container_port=53, protocol="udp", host_ip="::1", host_port=0),
                )
            },
            {"ExposedPorts": {"6443/tcp": {}, "53/udp": {}}},
            {
                "PortBindings": {
                    "6443/tcp": [{"HostIp": "127.0.0.1", "HostPort": "20001"}],
                    "53/udp": [{"HostIp": "0.0.0.0", "HostPort": "53"}, {"HostIp": "::1", "HostPort": "0"}],
                }
            },
        ),
        ({"network_mode": "host"}, {}, {"NetworkMode": "host"}),
        (
            {"network": "kind"},
            {"NetworkingConfig": {"EndpointsConfig": {"kind": {"IPAMConfig": {}}}}},
            {"NetworkMode": "kind"},
        ),
        (
            {"network": "kind", "ipv4_address": "10.89.0.2", "ipv6_address": "fc00::2"},
            {"NetworkingConfig": {"EndpointsConfig": {"kind": {"IPAMConfig": {"IPv4Address": "10.89.0.2", "IPv6Address": "fc00::2"}}}}},
            {"NetworkMode": "kind"},
        ),
    ],
)
def test_a_field_on_the_wire(spec: Mapping[str, Any], top: dict[str, Any], host_config: Mapping[str, Any]) -> None:
    """One field of the specification, and what it adds to the body."""
    expected = BARE | top | {"HostConfig": {**BARE["HostConfig"], **host_config}}

    assert ContainerSpec(image="app:1", **spec).to_wire() == expected


RUNNING: dict[str, Any] = {
    "Id": "8c0c4a59",
    "Name": "/demo-control-plane",
    "Created": "2026-01-02T03:04:05.678Z",
    "State": {"Status": "running", "Running": True, "ExitCode": 0, "Pid": 4711, "OOMKilled": False, "Error": ""},
    "Config": {"Image": "kindest/node:v1.37.0", "Labels": {"io.x-k8s.kind.cluster": "demo"}, "Tty": True},
    "HostConfig": {"PortBindings": {"6443/tcp": [{"HostIp": "127.0.0.1", "HostPort": "20001"}]}},
    "Mounts": [
        {"Type": "volume", "Name": "0c9c1b6d", "Source": "/var/lib/docker/volumes/0c9c1b6d/_data", "Destination": "/var"},
        {"Type": "bind", "Source": "/lib/modules", "Destination": "/lib/modules"},
    ],
    "NetworkSettings": {
        "Ports": {"6443/tcp": [{"HostIp": "127.0.0.1", "HostPort": "20001"}], "80/tcp": None},
        "Networks": {
            "kind": {
                "NetworkID": "5b7dcbc9",
                "IPAddress": "10.89.0.2",
                "GlobalIPv6Address": "fc00::2",
                "Gateway": "10.89.0.1",
                "IPAMConfig": {"IPv4Address": "10.89.0.2"},
            }
        },
    },
}
CONTAINER = Container(
    id="8c0c4a59",
    name="demo-control-plane",
    image="kindest/node:v1.37.0",
    labels={"io.x-k8s.kind.cluster": "demo"},
    state="running",
    created="2026-01-02T03:04:05.678Z",
    attachments=(
        Attachment(
            network="kind",
            network_id="5b7dcbc9",
            ipv4_address="10.89.0.2",
            ipv6_address="fc00::2",
            fixed_ipv4="10.89.0.2",
            gateway="10.89.0.1",
        ),
    ),
    ports=(PortBinding(container_port=6443, protocol="tcp", host_ip="127.0.0.1", host_port=20001),),
    mounts=(
        Mount(kind="volume", name="0c9c1b6d", source="/var/lib/docker/volumes/0c9c1b6d/_data", target="/var"),
        Mount(kind="bind", source="/lib/modules", target="/lib/modules"),
    ),
    pid=4711,
    tty=True,
)


def test_a_running_container() -> None:
    """Its name has no slash, it has no exit code, and a port that is exposed but not published is none."""
    assert from_inspect(RUNNING) == CONTAINER
    assert CONTAINER.subject == "container demo-control-plane"


def test_a_stopped_container() -> None:
    """Its ports are those that it asked for, its addresses are gone but for the one it asked for, and it tells how it ended."""
    stopped = from_inspect(
        RUNNING
        | {
            "State": {"Status": "exited", "Running": False, "ExitCode": 137, "Pid": 0, "OOMKilled": True, "Error": "boom"},
            "NetworkSettings": {
                "Ports": {},
                "Networks": {"kind": {"NetworkID": "5b7dcbc9", "IPAddress": "", "IPAMConfig": {"IPv4Address": "10.89.0.2"}}},
            },
        }
    )

    assert (stopped.state, stopped.exit_code, stopped.oom_killed, stopped.error, stopped.pid) == ("exited", 137, True, "boom", 0)
    assert stopped.ports == CONTAINER.ports
    assert stopped.attachments == (Attachment(network="kind", network_id="5b7dcbc9", fixed_ipv4="10.89.0.2"),)


def test_the_port_that_the_engine_picked_is_the_one_in_force() -> None:
    """Asked for was 0; what was given is what can be connected to, also on two addresses."""
    picked = from_inspect(
        RUNNING
        | {
            "HostConfig": {"PortBindings": {"6443/tcp": [{"HostIp": "", "HostPort": "0"}]}},
            "NetworkSettings": {"Ports": {"6443/tcp": [{"HostIp": "0.0.0.0", "HostPort": "32768"}, {"HostIp": "::", "HostPort": "32768"}]}},
        }
    )

    assert [(port.host_ip, port.host_port) for port in picked.ports] == [("0.0.0.0", 32768), ("::", 32768)]


@pytest.mark.parametrize(("asked", "port"), [("", 0), ("0", 0), ("8000", 8000), ("8000-8010", 8000), (None, 0)])
def test_the_port_that_another_program_asked_for(asked: str | None, port: int) -> None:
    """Of a container that has not been started: `docker create -p 8000-8010:80` leaves a range."""
    created = from_inspect(
        RUNNING | {"HostConfig": {"PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": asked}]}}, "NetworkSettings": {"Ports": {}}}
    )

    assert created.ports == (PortBinding(container_port=80, protocol="tcp", host_ip="", host_port=port),)


def test_nulls_are_as_good_as_nothing() -> None:
    """Go writes null for what is empty."""
    bare = from_inspect(
        {
            "Id": "8c0c4a59",
            "Name": "/x",
            "State": {"Status": "created", "Running": False},
            "Config": {"Image": "app:1", "Labels": None},
            "HostConfig": {"PortBindings": None},
            "NetworkSettings": {"Ports": None, "Networks": {"kind": {"IPAMConfig": None}}},
            "Mounts": None,
            "NewInDocker99": {},
        }
    )

    assert (bare.labels, bare.ports, bare.mounts, bare.tty) == ({}, (), (), False)
    assert bare.attachments == (Attachment(network="kind", network_id=""),)


@pytest.mark.parametrize("field", ["Id", "Name", "State", "Config"])
def test_a_missing_field_is_named(field: str) -> None:
    """What answers is then no Engine that we know."""
    document = {key: value for key, value in RUNNING.items() if key != field}

    with pytest.raises(EngineError, match=f"ContainerInspect lacks {field}"):
        from_inspect(document)


def test_the_place_of_a_container_in_a_network() -> None:
    """By the network's name or ID."""
    assert CONTAINER.attachment("kind") == CONTAINER.attachment("5b7dcbc9") == CONTAINER.attachments[0]
    assert CONTAINER.attachment("bridge") is None
