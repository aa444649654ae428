"""Facts: what an Engine is, from its own words; and where the ports that it publishes are reached."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kindasync.cluster._lookup import server_url
from kindasync.docker._engine import negotiate
from kindasync.docker.system import EngineFacts, _gateway_in_container, api_host_of, facts_from
from kindasync.errors import EngineError
from kindasync.transport import Endpoint, parse

# Excerpts of GET /info of a real Docker 26.1 on Debian.
DOCKER: dict[str, Any] = {
    "ID": "7a1b0e6e-0d3f-4b68-a5f3-8c2c6a5d9f10",
    "ContainersRunning": 3,
    "Driver": "overlay2",
    "DriverStatus": [["Backing Filesystem", "extfs"], ["Supports d_type", "true"], ["Native Overlay Diff", "true"]],
    "CgroupDriver": "systemd",
    "CgroupVersion": "2",
    "KernelVersion": "6.1.0-28-amd64",
    "OperatingSystem": "Debian GNU/Linux 12 (bookworm)",
    "OSType": "linux",
    "Architecture": "x86_64",
    "NCPU": 8,
    "MemTotal": 16_000_000_000,
    "DockerRootDir": "/var/lib/docker",
    "Name": "workstation",
    "ServerVersion": "26.1.5",
    "SecurityOptions": ["name=apparmor", "name=seccomp,profile=builtin", "name=cgroupns"],
    "Warnings": None,
}
PODMAN: dict[str, Any] = DOCKER | {
    "ID": "0b4f9c1e-2d1b-4d47-9d5c-5a8a1f1c2e00",
    "Architecture": "amd64",
    "BuildahVersion": "1.39.3",
    "Driver": "overlay",
    "DockerRootDir": "/var/lib/containers/storage",
    "OperatingSystem": "fedora",
    "ProductLicense": "Apache-2.0",
    "Rootless": False,
    "SecurityOptions": ["name=seccomp,profile=default", "name=selinux"],
    "ServerVersion": "5.4.2",
    "Warnings": [],
}
ENGINE = facts_from(DOCKER, api_version=(1, 45))


def test_facts_of_a_docker_engine() -> None:
    """Everything that the rest of kindasync decides upon, in one value."""
    assert (
        EngineFacts(
            engine_id="7a1b0e6e-0d3f-4b68-a5f3-8c2c6a5d9f10",
            host_name="workstation",
            product="docker",
            version="26.1.5",
            api_version=(1, 45),
            architecture="amd64",
            operating_system="Debian GNU/Linux 12 (bookworm)",
            kernel="6.1.0-28-amd64",
            storage_driver="overlay2",
            backing_filesystem="extfs",
            containerd_store=False,
            cgroup_version=2,
            cgroup_driver="systemd",
            rootless=False,
            userns_remap=False,
            cpus=8,
            memory_bytes=16_000_000_000,
            data_root="/var/lib/docker",
            running_containers=3,
            api_host="127.0.0.1",
            warnings=(),
        )
        == ENGINE
    )


@pytest.mark.parametrize(
    ("document", "fact", "value"),
    [
        ({"Architecture": "aarch64"}, "architecture", "arm64"),
        ({"Architecture": "armv7l"}, "architecture", "arm"),
        ({"Architecture": "riscv64"}, "architecture", "riscv64"),
        ({"Architecture": "loong64"}, "architecture", "loong64"),  # unknown ones as they are
        ({"CgroupVersion": "1"}, "cgroup_version", 1),
        ({"CgroupVersion": ""}, "cgroup_version", 1),  # what an Engine that does not say it has
        ({"CgroupVersion": "v2"}, "cgroup_version", 2),  # Podman before 4
        ({"SecurityOptions": ["name=seccomp,profile=builtin", "name=rootless", "name=cgroupns"]}, "rootless", True),
        ({"SecurityOptions": ["name=userns"]}, "userns_remap", True),
        ({"SecurityOptions": None}, "rootless", False),
        ({"Driver": "overlayfs", "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]]}, "containerd_store", True),  # Docker 29
        ({"DriverStatus": None}, "backing_filesystem", ""),
        ({"Warnings": ["WARNING: bridge-nf-call-iptables is disabled"]}, "warnings", ("WARNING: bridge-nf-call-iptables is disabled",)),
        ({"SecurityOptions": ["name=rootless"], "Driver": "btrfs"}, "mounts_device_mapper", False),
        ({"Driver": "zfs"}, "mounts_device_mapper", True),
        ({"DriverStatus": [["Backing Filesystem", "xfs"]]}, "mounts_device_mapper", True),
        ({}, "mounts_device_mapper", False),
    ],
)
def test_one_fact(document: dict[str, Any], fact: str, value: object) -> None:
    """A difference in the document, and the fact that it makes."""
    assert getattr(facts_from(DOCKER | document, api_version=(1, 45)), fact) == value


@pytest.mark.parametrize(("api_version", "exports"), [((1, 41), False), ((1, 47), False), ((1, 48), True), ((1, 52), True)])
def test_exports_by_platform_need_a_new_engine(api_version: tuple[int, int], exports: bool) -> None:
    """Features are gated by the number of the API."""
    assert replace(ENGINE, api_version=api_version).exports_platforms is exports


@pytest.mark.parametrize(
    "document",
    [
        PODMAN,
        {key: value for key, value in PODMAN.items() if key != "BuildahVersion"},
        PODMAN | {"DockerRootDir": "/home/me/.local/share/containers/storage", "Rootless": True},
    ],
)
def test_podman_is_told_from_docker(document: Mapping[str, Any]) -> None:
    """By what only its compatible socket says."""
    facts = facts_from(document, api_version=(1, 41))

    assert facts.is_podman
    assert facts.architecture == "amd64"
    assert facts.rootless is bool(document["Rootless"])


def test_an_engine_keeps_its_id() -> None:
    """State on the host is found by it. Podman makes up another `ID` for every answer: its name and storage say which it is."""
    first = facts_from(PODMAN, api_version=(1, 41))
    second = facts_from(PODMAN | {"ID": "aa0f9c1e-2d1b-4d47-9d5c-5a8a1f1c2e00"}, api_version=(1, 41))
    rootless = facts_from(PODMAN | {"DockerRootDir": "/home/me/.local/share/containers/storage"}, api_version=(1, 41))

    assert first.engine_id == second.engine_id
    assert first.engine_id != rootless.engine_id


def test_unknown_fields_are_ignored_and_missing_ones_named() -> None:
    """The Engine's schema is open; without an architecture no image could be chosen."""
    assert facts_from(DOCKER | {"NewInDocker99": {}}, api_version=(1, 45)) == ENGINE
    with pytest.raises(EngineError, match="SystemInfo lacks Architecture"):
        facts_from({}, api_version=(1, 45))


@pytest.mark.parametrize(
    ("engine_newest", "spoken"),
    [("1.41", (1, 41)), ("1.45", (1, 45)), ("1.52", (1, 52)), ("1.99", (1, 52)), ("2.0", (1, 52))],
)
def test_the_api_version_is_the_newest_that_both_know(engine_newest: str, spoken: tuple[int, int]) -> None:
    """The floor is 1.41, Docker 20.10."""
    assert negotiate(engine_newest) == spoken


@pytest.mark.parametrize(("engine_newest", "what"), [("1.40", "too old"), ("", "not a Docker Engine"), ("v2", "not a Docker Engine")])
def test_an_engine_that_cannot_be_spoken_with(engine_newest: str, what: str) -> None:
    """It is refused at once, with the reason."""
    with pytest.raises(EngineError, match=what):
        negotiate(engine_newest)


@pytest.mark.parametrize(
    ("url", "env", "gateway", "host"),
    [
        ("unix:///var/run/docker.sock", {}, None, "127.0.0.1"),
        ("unix:///var/run/docker.sock", {}, "172.17.0.1", "172.17.0.1"),  # this process is in a container beside the Engine
        ("tcp://localhost:2375", {}, None, "127.0.0.1"),
        ("tcp://127.0.0.1:2375", {}, None, "127.0.0.1"),
        ("tcp://[::1]:2375", {}, None, "127.0.0.1"),
        ("tcp://127.0.0.2:2375", {}, None, "127.0.0.1"),  # loopback is a whole network
        ("tcp://0.0.0.0:2375", {}, None, "127.0.0.1"),  # nothing can be reached there: it stands for this machine
        ("tcp://[::]:2375", {}, None, "127.0.0.1"),
        ("tcp://0.0.0.0:2375", {}, "172.17.0.1", "172.17.0.1"),
        (":2375", {}, None, "127.0.0.1"),
        ("tcp://10.0.0.5:2376", {}, None, "10.0.0.5"),
        ("tcp://[fd00::5]:2376", {}, None, "fd00::5"),
        ("tcp://docker:2376", {}, "172.17.0.1", "docker"),  # Docker in Docker, as in CI
        ("tcp://10.0.0.5:2376", {"KINDASYNC_HOST_OVERRIDE": "proxy.example.com"}, "172.17.0.1", "proxy.example.com"),
        ("unix:///var/run/docker.sock", {"KINDASYNC_HOST_OVERRIDE": ""}, None, "127.0.0.1"),
    ],
)
def test_where_published_ports_are_reached(url: str, env: Mapping[str, str], gateway: str | None, host: str) -> None:
    """What KINDASYNC_HOST_OVERRIDE says; else the host of a remote Engine; else the gateway, in a container; else loopback."""
    assert api_host_of(parse(url), env, container_gateway=gateway) == host


@pytest.mark.parametrize(
    ("api_host", "publish_address"),
    [
        ("127.0.0.1", "127.0.0.1"),  # from nowhere else
        ("localhost", "127.0.0.1"),
        ("172.17.0.1", "172.17.0.1"),
        ("fd00::5", "fd00::5"),
        ("docker", "0.0.0.0"),  # HostIp of a binding is an address
    ],
)
def test_ports_are_published_where_they_are_reached(api_host: str, publish_address: str) -> None:
    """On that address alone; on all of them where the host is known only by its name."""
    assert replace(ENGINE, api_host=api_host).publish_address == publish_address


@pytest.mark.parametrize(
    ("api_host", "host_ip", "reached"),
    [
        ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "0.0.0.0", "127.0.0.1"),
        ("127.0.0.1", "::", "::1"),  # all addresses of IPv6, and none of IPv4
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", "192.168.1.5", "192.168.1.5"),  # apiServerAddress wins
        ("docker", "0.0.0.0", "docker"),
        ("172.17.0.1", "172.17.0.1", "172.17.0.1"),
        ("localhost", "127.0.0.1", "localhost"),
    ],
)
def test_the_host_of_a_binding(api_host: str, host_ip: str, reached: str) -> None:
    """A port that is published on all addresses, or where we publish, is reached at `api_host`; another address names itself."""
    assert replace(ENGINE, api_host=api_host).reached_host(host_ip) == reached


@pytest.mark.parametrize(
    ("api_host", "host_ip", "reached"),
    [
        ("127.0.0.1", "0.0.0.0", "127.0.0.1:6443"),
        ("127.0.0.1", "::1", "[::1]:6443"),
        ("fd00::5", "fd00::5", "[fd00::5]:6443"),
        ("fd00::5", "::", "[fd00::5]:6443"),
        ("engine.example", "0.0.0.0", "engine.example:6443"),
    ],
)
def test_where_a_binding_is_reached(api_host: str, host_ip: str, reached: str) -> None:
    """As URLs and other programs take it: an address of IPv6 is in brackets."""
    facts = replace(ENGINE, api_host=api_host)

    assert facts.reached_at(host_ip, 6443) == reached
    assert server_url(host_ip, 6443, facts) == f"https://{reached}"


ROUTES = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0
"""


@pytest.mark.parametrize(
    ("mark", "routes", "gateway"),
    [
        (True, ROUTES, "172.17.0.1"),
        (False, ROUTES, None),
        (True, ROUTES.rsplit("eth0", 1)[0], None),  # no way out
        (True, None, None),
    ],
)
def test_the_gateway_of_a_container(tmp_path: Path, mark: bool, routes: str | None, gateway: str | None) -> None:
    """The kernel's table has addresses in hexadecimal, in the order of a little-endian machine. Outside a container there is none."""
    (tmp_path / "other").touch()
    if mark:
        (tmp_path / ".containerenv").touch()
    if routes is not None:
        (tmp_path / "route").write_text(routes)

    assert _gateway_in_container((tmp_path / ".dockerenv", tmp_path / ".containerenv"), tmp_path / "route") == gateway


def test_an_endpoint_in_words() -> None:
    """For errors: where it is, and who says so."""
    assert str(Endpoint(host="fd00::5", port=2376, source="DOCKER_HOST")) == "tcp://[fd00::5]:2376 (DOCKER_HOST)"
