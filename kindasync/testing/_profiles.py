"""Profiles: Engines that kindasync is used with, as far as they answer differently."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What one kind of Engine, `name`, says of itself.

    `api_version` and `oldest_api_version` are (major, minor); `server_version` is the program's; `info`: what its SystemInfo has beside what all have.
    `ipv6`: its networks can have it. `allows_duplicate_networks`: of one name. `sends_stream_type`: the Content-Type of framed streams. `program_missing`: the exit code of an exec of what is not there.
    """

    name: str
    api_version: tuple[int, int]
    oldest_api_version: tuple[int, int]
    server_version: str
    info: Mapping[str, Any] = field(default_factory=dict)
    ipv6: bool = True
    allows_duplicate_networks: bool = False
    sends_stream_type: bool = True
    program_missing: int = 127

    def info_document(self) -> dict[str, Any]:
        """SystemInfo's answer."""
        return {
            "ID": f"fake-{self.name}",
            "Name": socket.gethostname(),
            "ServerVersion": self.server_version,
            "Driver": "overlay2",
            "DriverStatus": [["Backing Filesystem", "extfs"]],
            "CgroupDriver": "systemd",
            "CgroupVersion": "2",
            "Architecture": "x86_64",
            "OperatingSystem": "Fake OS",
            "KernelVersion": "6.1.0",
            "OSType": "linux",
            "NCPU": 4,
            "MemTotal": 8 * 1024**3,
            "DockerRootDir": "/var/lib/docker",
            "SecurityOptions": ["name=seccomp,profile=builtin", "name=cgroupns"],
            "SystemTime": datetime.now(UTC).isoformat(),
            "Warnings": None,
            **self.info,
        }


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(name="docker-26", api_version=(1, 45), oldest_api_version=(1, 24), server_version="26.1.5", program_missing=126),
        Profile(
            name="docker-29",
            api_version=(1, 52),
            oldest_api_version=(1, 44),
            server_version="29.1.0",
            info={
                "Driver": "overlayfs",
                "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]],
            },
        ),
        Profile(
            name="podman",
            api_version=(1, 41),
            oldest_api_version=(1, 24),
            server_version="5.4.2",
            info={
                "BuildahVersion": "1.39.3",
                "DockerRootDir": "/var/lib/containers/storage",
                "Driver": "overlay",
            },
            allows_duplicate_networks=True,
            sends_stream_type=False,
        ),
        Profile(
            name="rootless",
            api_version=(1, 48),
            oldest_api_version=(1, 24),
            server_version="28.0.4",
            info={
                "SecurityOptions": ["name=seccomp,profile=builtin", "name=rootless", "name=cgroupns"],
                "DockerRootDir": "/home/user/.local/share/docker",
            },
            ipv6=False,
        ),
    )
}
