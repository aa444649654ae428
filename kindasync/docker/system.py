"""System: what an Engine is and can do, as facts; everything that differs between Engines is decided from them."""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from kindasync.docker._engine import Call, Connection, required
from kindasync.transport import Endpoint

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "ppc64le": "ppc64le", "s390x": "s390x", "riscv64": "riscv64"}
LOOPBACK, LOOPBACK_IPV6 = "127.0.0.1", "::1"
_WILDCARDS = ("", "0.0.0.0", "::")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFacts:
    """One Engine, as far as kindasync behaves differently for it.

    Shape: `engine_id` stays the same for as long as the Engine is; `architecture` as in image names ("amd64"); `api_version` the negotiated one; `host_name` of the Engine's host; `api_host`
    where the ports that the Engine publishes are reached from here;
    `containerd_store`: images live in containerd, exports hold whole indices; `warnings` in the Engine's words.
    """

    engine_id: str
    host_name: str
    product: str
    version: str
    api_version: tuple[int, int]
    architecture: str
    operating_system: str
    kernel: str
    storage_driver: str
    backing_filesystem: str
    containerd_store: bool
    cgroup_version: int
    cgroup_driver: str
    rootless: bool
    userns_remap: bool
    cpus: int
    memory_bytes: int
    data_root: str
    running_containers: int
    api_host: str = LOOPBACK
    warnings: tuple[str, ...] = ()

    @property
    def publish_address(self) -> str:
        """The address of the Engine's host to publish ports on, so that they are reached at `api_host` and, if that is loopback, from nowhere else.

        The Engine takes addresses only: for a host that is known by its name, it is all of them.
        """
        if self.api_host == "localhost":
            return LOOPBACK
        try:
            return str(ip_address(self.api_host))
        except ValueError:
            return "0.0.0.0"

    def reached_host(self, host_ip: str) -> str:
        """The host at which a port is reached from here that was published on `host_ip`: that address, if it names one."""
        if (host_ip, self.api_host) == ("::", LOOPBACK):
            return LOOPBACK_IPV6  # "::" is all IPv6 addresses, and none of IPv4
        return self.api_host if host_ip in _WILDCARDS or host_ip == self.publish_address else host_ip

    def reached_at(self, host_ip: str, host_port: int) -> str:
        """Where such a port is reached from here, as "host:port"."""
        host = self.reached_host(host_ip)
        return f"[{host}]:{host_port}" if ":" in host else f"{host}:{host_port}"

    @property
    def is_podman(self) -> bool:
        """Podman's compatible socket. It speaks most of the API, and fewer of its corners."""
        return self.product == "podman"

    @property
    def exports_platforms(self) -> bool:
        """ImageGet takes a platform, so that the export of a multi-platform image holds only what is there."""
        return self.api_version >= (1, 48)

    @property
    def mounts_device_mapper(self) -> bool:
        """Storage on which containerd in a node needs the host's device mapper."""
        return not self.rootless and (
            self.storage_driver in ("btrfs", "zfs", "devicemapper") or self.backing_filesystem in ("btrfs", "zfs", "xfs")
        )


async def system_info(connection: Connection) -> EngineFacts:
    """The facts of the Engine, and where its published ports are reached from this process.

    Source: Docker Engine API, SystemInfo, GET /info.
    """
    info = await connection.request_json(Call("SystemInfo", "GET", "/info"))
    assert connection.api_version is not None
    facts = facts_from(info, api_version=connection.api_version)
    # In a container of the Engine's own network namespace, or in a machine that only looks like one, loopback does.
    gateway = _gateway_in_container() if facts.host_name != socket.gethostname() else None
    return replace(facts, api_host=api_host_of(connection.engine.endpoint, os.environ, container_gateway=gateway))


async def engine_time(connection: Connection) -> datetime:
    """What the clock of the Engine's host says, which is that of its containers, too.

    Source: Docker Engine API, SystemInfo, GET /info.
    """
    info = await connection.request_json(Call("SystemInfo", "GET", "/info"))
    return datetime.fromisoformat(str(required("SystemInfo", info, "SystemTime")))


def facts_from(info: Mapping[str, Any], *, api_version: tuple[int, int]) -> EngineFacts:
    """What SystemInfo says, decided upon."""
    driver_status = {str(key): str(value) for key, value in info.get("DriverStatus") or []}
    security = [str(option) for option in info.get("SecurityOptions") or []]
    machine = str(required("SystemInfo", info, "Architecture"))
    operating_system = str(info.get("OperatingSystem", ""))
    is_podman = (
        "BuildahVersion" in info
        or "podman" in str(info.get("ProductLicense", "")).lower()
        or str(info.get("DockerRootDir", "")).endswith("containers/storage")
    )
    return EngineFacts(
        # Podman makes up an ID for every answer (its pkg/api/handlers/compat/info.go).
        engine_id=f"podman {info.get('Name')} {info.get('DockerRootDir')}"
        if is_podman
        else str(info.get("ID") or info.get("Name") or "unknown"),
        host_name=str(info.get("Name", "")),
        product="podman" if is_podman else "docker",
        version=str(info.get("ServerVersion", "")),
        api_version=api_version,
        architecture=_ARCHITECTURES.get(machine, machine),
        operating_system=operating_system,
        kernel=str(info.get("KernelVersion", "")),
        storage_driver=str(info.get("Driver", "")),
        backing_filesystem=driver_status.get("Backing Filesystem", ""),
        containerd_store="io.containerd" in driver_status.get("driver-type", ""),
        cgroup_version=int(str(info.get("CgroupVersion") or "1").removeprefix("v")),
        cgroup_driver=str(info.get("CgroupDriver", "")),
        rootless=any("name=rootless" in option for option in security) or bool(info.get("Rootless")),
        userns_remap=any("name=userns" in option for option in security),
        cpus=int(info.get("NCPU") or 0),
        memory_bytes=int(info.get("MemTotal") or 0),
        data_root=str(info.get("DockerRootDir", "")),
        running_containers=int(info.get("ContainersRunning") or 0),
        warnings=tuple(str(warning) for warning in info.get("Warnings") or []),
    )


def api_host_of(endpoint: Endpoint, env: Mapping[str, str], *, container_gateway: str | None) -> str:
    """Where ports that the Engine publishes are reached from here.

    In order: KINDASYNC_HOST_OVERRIDE; the host of a remote endpoint; the gateway, when this process runs in a container
    beside the Engine, whose loopback is another one (`container_gateway`, None elsewhere); loopback.
    """
    if env.get("KINDASYNC_HOST_OVERRIDE"):
        return env["KINDASYNC_HOST_OVERRIDE"]
    if endpoint.host and not _is_here(endpoint.host):
        return endpoint.host
    return container_gateway or LOOPBACK


def _is_here(host: str) -> bool:
    """Whether a host is this machine: its loopback, or the address that stands for all of its own."""
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost"
    return address.is_loopback or address.is_unspecified


def _gateway_in_container(
    marks: tuple[Path, ...] = (Path("/.dockerenv"), Path("/run/.containerenv")), routes: Path = Path("/proc/net/route")
) -> str | None:
    """The default gateway, if this process runs in a container; None elsewhere."""
    if not any(mark.exists() for mark in marks):
        return None
    try:
        lines = routes.read_text().splitlines()[1:]
    except OSError:
        return None
    for line in lines:
        _, destination, gateway, *_ = line.split()
        if destination == "00000000":
            return socket.inet_ntoa(bytes.fromhex(gateway)[::-1])
    return None


def native_architecture() -> str:
    """This machine's architecture, as in image names."""
    machine = platform.machine()
    return _ARCHITECTURES.get(machine, machine)
