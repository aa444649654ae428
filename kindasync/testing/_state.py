"""The state of the fake: containers, networks, images, volumes, and what the Engine lets be done with them."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import tarfile
import time
from dataclasses import dataclass, field
from hashlib import sha256
from ipaddress import ip_address, ip_network
from pathlib import Path, PurePosixPath
from typing import Any

from kindasync.testing._profiles import Profile


class Refused(Exception):
    """The Engine's refusal of an operation."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(slots=True, kw_only=True)
class FakeImage:
    """An image. `files` by absolute path; `layers` are bytes that a pull or export sends."""

    reference: str
    labels: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    architecture: str = "amd64"
    env: dict[str, str] = field(default_factory=dict)
    content: bytes = b"layer"

    @property
    def id(self) -> str:
        text = json.dumps([self.reference, self.labels, self.architecture, sorted(self.files)])
        return "sha256:" + sha256(text.encode()).hexdigest()


@dataclass(slots=True, kw_only=True)
class FakeNetwork:
    """A network. `fixed`: its subnet was asked for, so that containers may ask for addresses in it."""

    id: str
    name: str
    labels: dict[str, str]
    subnets: list[dict[str, str]]
    enable_ipv6: bool
    options: dict[str, str]
    fixed: bool
    created: str


@dataclass(slots=True, kw_only=True)
class FakeContainer:
    """A container: what it was made from, its state, its files, and what it prints."""

    id: str
    name: str
    body: dict[str, Any]
    image: FakeImage
    created: float
    state: str = "created"
    exit_code: int = 0
    oom_killed: bool = False
    files: dict[str, bytes] = field(default_factory=dict)
    signals: list[str] = field(default_factory=list)
    volumes: list[str] = field(default_factory=list)
    address: str = ""
    log: bytearray = field(default_factory=bytearray)
    starts: int = 0
    booted: bool = False
    _watchers: set[asyncio.Event] = field(default_factory=set)

    @property
    def host_config(self) -> dict[str, Any]:
        result: dict[str, Any] = self.body.get("HostConfig") or {}
        return result

    @property
    def labels(self) -> dict[str, str]:
        return {**self.image.labels, **(self.body.get("Labels") or {})}

    @property
    def env(self) -> dict[str, str]:
        return {**self.image.env, **dict(item.split("=", 1) for item in self.body.get("Env") or [])}

    @property
    def network(self) -> str:
        return str(self.host_config.get("NetworkMode") or "bridge")

    @property
    def asked_address(self) -> str:
        endpoints = (self.body.get("NetworkingConfig") or {}).get("EndpointsConfig") or {}
        return str(((endpoints.get(self.network) or {}).get("IPAMConfig") or {}).get("IPv4Address") or "")

    @property
    def running(self) -> bool:
        return self.state == "running"

    def say(self, text: str) -> None:
        """Print to the console."""
        self.log.extend(text.encode())
        self.changed()

    def changed(self) -> None:
        for watcher in self._watchers:
            watcher.set()

    def watch(self) -> asyncio.Event:
        watcher = asyncio.Event()
        self._watchers.add(watcher)
        return watcher

    def unwatch(self, watcher: asyncio.Event) -> None:
        self._watchers.discard(watcher)


class State:
    """All objects of one fake Engine."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.containers: dict[str, FakeContainer] = {}
        self.networks: dict[str, FakeNetwork] = {}
        self.images: dict[str, FakeImage] = {}
        self.volumes: dict[str, dict[str, str]] = {}
        self.registry: dict[str, FakeImage] = {}
        self.taken_ports: set[int] = set()
        self.execs: dict[str, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        self.event_added = asyncio.Event()
        self._ids = (sha256(str(number).encode()).hexdigest() for number in itertools.count())
        for name in ("bridge", "host", "none"):
            subnets = [{"Subnet": "172.17.0.0/16", "Gateway": "172.17.0.1"}] if name == "bridge" else []
            self._add_network(name, {}, subnets, enable_ipv6=False, options={"com.docker.network.driver.mtu": "1500"}, fixed=False)

    # -- containers

    def container(self, reference: str) -> FakeContainer:
        """By name, ID or the beginning of an ID."""
        for container in self.containers.values():
            if reference in (container.id, container.name) or (len(reference) >= 12 and container.id.startswith(reference)):
                return container
        raise Refused(404, f"No such container: {reference}")

    def create(self, name: str, body: dict[str, Any]) -> FakeContainer:
        for mount in (body.get("HostConfig") or {}).get("Mounts") or []:
            if mount["Type"] == "bind" and not Path(mount["Source"]).exists():
                raise Refused(400, f'invalid mount config for type "bind": bind source path does not exist: {mount["Source"]}')
        image = self.image(body["Image"])
        container_id = next(self._ids)
        name = name or f"fake_{container_id[:8]}"
        if name in self.containers:
            holder = self.containers[name].id
            message = f'Conflict. The container name "/{name}" is already in use by container "{holder}". You have to remove (or rename) that container to be able to reuse that name.'
            raise Refused(409, message)
        container = FakeContainer(id=container_id, name=name, body=body, image=image, created=time.time(), files=dict(image.files))
        for path in body.get("Volumes") or {}:
            volume = next(self._ids)
            self.volumes[volume] = {}
            container.volumes.append(volume)
            container.body.setdefault("_volumes", {})[path] = volume
        self.containers[name] = container
        self.emit("container", "create", container)
        return container

    def start(self, container: FakeContainer) -> bool:
        """Start; False if it runs already."""
        if container.running:
            return False
        network = self._network_of(container)
        if network:
            container.address = self._address_in(network, container)
        self._publish(container)
        container.state, container.exit_code = "running", 0
        container.starts += 1
        self.emit("container", "start", container)
        return True

    def _network_of(self, container: FakeContainer) -> FakeNetwork | None:
        if container.network in ("default", "bridge", "host", "none"):
            return None
        return self.network(container.network)

    def _address_in(self, network: FakeNetwork, container: FakeContainer) -> str:
        held = {other.address for other in self.containers.values() if other.running and other.network in (network.name, network.id)}
        asked = container.asked_address
        if asked:
            if not network.fixed:
                raise Refused(400, "user specified IP address is supported only when connecting to networks with user configured subnets")
            if asked in held:
                raise Refused(403, "Address already in use")
            return asked
        config = next(subnet for subnet in network.subnets if ":" not in subnet["Subnet"])
        pool = ip_network(config.get("IPRange") or config["Subnet"])
        gateway = ip_address(config.get("Gateway") or str(pool[1]))
        return next(str(address) for address in pool.hosts() if address != gateway and str(address) not in held)

    def _publish(self, container: FakeContainer) -> None:
        held = {
            port for other in self.containers.values() if other.running for port in other.body.get("_published", {}).values()
        } | self.taken_ports
        published = {}
        for key, bindings in (container.host_config.get("PortBindings") or {}).items():
            for binding in bindings:
                port = int(binding.get("HostPort") or 0) or next(number for number in range(32768, 61000) if number not in held)
                if port in held:
                    address = binding.get("HostIp") or "0.0.0.0"
                    message = (
                        f"driver failed programming external connectivity on endpoint {container.name}: "
                        f"Bind for {address}:{port} failed: port is already allocated"
                    )
                    raise Refused(500, message)
                held.add(port)
                published[key] = port
        container.body["_published"] = published

    def end(self, container: FakeContainer, exit_code: int, *, oom_killed: bool = False) -> None:
        """The first process of the container ends."""
        if container.running:
            container.state, container.exit_code, container.oom_killed = "exited", exit_code, oom_killed
            container.address = ""
            self.emit("container", "die", container)
            container.changed()

    def remove(self, container: FakeContainer, *, with_volumes: bool) -> None:
        self.end(container, 137)
        del self.containers[container.name]
        if with_volumes:
            for volume in container.volumes:
                self.volumes.pop(volume, None)
        self.emit("container", "destroy", container)

    def matching(self, wanted: dict[str, list[str]], *, everything: bool) -> list[FakeContainer]:
        """The containers that the filters of a list let through."""
        networks = wanted.get("network") or []
        names = {name for each in networks for name in self._aliases(each)}
        return [
            container
            for container in self.containers.values()
            if (everything or container.running) and has_labels(container.labels, wanted) and (not networks or container.network in names)
        ]

    def _aliases(self, network: str) -> set[str]:
        return {network} | {alias for each in self.networks.values() if network in (each.id, each.name) for alias in (each.id, each.name)}

    # -- networks

    def network(self, reference: str) -> FakeNetwork:
        found = [network for network in self.networks.values() if reference in (network.id, network.name)]
        if not found:
            raise Refused(404, f"network {reference} not found")
        if len(found) > 1 and all(network.id != reference for network in found):
            raise Refused(400, f"network {reference} is ambiguous (2 matches found on name)")
        return found[0]

    def create_network(self, body: dict[str, Any]) -> FakeNetwork:
        name = body["Name"]
        if not self.profile.allows_duplicate_networks and any(network.name == name for network in self.networks.values()):
            raise Refused(409, f"network with name {name} already exists")
        if body.get("EnableIPv6") and not self.profile.ipv6:
            raise Refused(
                500, "Failed to Setup IP tables: Unable to enable NAT rule:  (iptables failed: ip6tables --wait -t nat -I POSTROUTING)"
            )
        config = (body.get("IPAM") or {}).get("Config") or []
        taken = [ip_network(subnet["Subnet"]) for network in self.networks.values() for subnet in network.subnets]
        for each in config:
            subnet = ip_network(each["Subnet"])
            if any(subnet.version == other.version and subnet.overlaps(other) for other in taken):
                raise Refused(403, "Pool overlaps with other one on this address space")
        subnets = config or [{"Subnet": f"172.{18 + len(self.networks)}.0.0/16"}]
        return self._add_network(
            name,
            body.get("Labels") or {},
            subnets,
            enable_ipv6=bool(body.get("EnableIPv6")),
            options=body.get("Options") or {},
            fixed=bool(config),
        )

    def _add_network(
        self, name: str, labels: dict[str, str], subnets: list[dict[str, str]], *, enable_ipv6: bool, options: dict[str, str], fixed: bool
    ) -> FakeNetwork:
        network = FakeNetwork(
            id=next(self._ids),
            name=name,
            labels=labels,
            subnets=subnets,
            enable_ipv6=enable_ipv6,
            options=options,
            fixed=fixed,
            created=f"2026-01-01T00:00:{len(self.networks):02d}Z",
        )
        self.networks[network.id] = network
        return network

    def remove_network(self, network: FakeNetwork) -> None:
        if any(container.running and container.network in (network.id, network.name) for container in self.containers.values()):
            raise Refused(403, f"error while removing network: network {network.name} has active endpoints")
        del self.networks[network.id]

    # -- images

    def image(self, reference: str) -> FakeImage:
        for each, image in self.images.items():
            if reference in (each, image.id, f"{each}:latest") or each == f"{reference}:latest":
                return image
        raise Refused(404, f"No such image: {reference}")

    # -- files

    @staticmethod
    def under_tmpfs(container: FakeContainer, path: str) -> bool:
        return any(path == mount or path.startswith(mount + "/") for mount in container.host_config.get("Tmpfs") or {})

    def unpack(self, container: FakeContainer, directory: str, content: bytes) -> None:
        """Unpack a tar stream. What lies below a tmpfs is written under it: nobody in the container sees it."""
        if directory != "/" and not self.exists(container, directory):
            raise Refused(404, f"Could not find the file {directory} in container {container.id}")
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            for member in tar:
                path = str(PurePosixPath(directory) / member.name.rstrip("/"))
                file = tar.extractfile(member) if member.isreg() else None
                if file and not (container.running and self.under_tmpfs(container, path)):
                    container.files[path] = file.read()

    @staticmethod
    def exists(container: FakeContainer, path: str) -> bool:
        return path in container.files or any(name.startswith(path.rstrip("/") + "/") for name in container.files)

    def pack(self, container: FakeContainer, path: str) -> bytes:
        """A file or directory as a tar stream, named by its last component."""
        if not self.exists(container, path):
            raise Refused(404, f"Could not find the file {path} in container {container.id}")
        buffer = io.BytesIO()
        base = PurePosixPath(path)
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for name, content in sorted(container.files.items()):
                if name == path or name.startswith(path.rstrip("/") + "/"):
                    info = tarfile.TarInfo(str(PurePosixPath(name).relative_to(base.parent)))
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
        return buffer.getvalue()

    # -- events

    def emit(self, kind: str, action: str, container: FakeContainer) -> None:
        attributes = {**container.labels, "name": container.name}
        actor = {"ID": container.id, "Attributes": attributes}
        self.events.append({"Type": kind, "Action": action, "Actor": actor, "timeNano": time.time_ns()})
        self.event_added.set()
        self.event_added = asyncio.Event()


def has_labels(labels: dict[str, str], wanted: dict[str, list[str]]) -> bool:
    """Whether labels satisfy the `label` filter."""
    for each in wanted.get("label") or []:
        name, equals, value = each.partition("=")
        if name not in labels or (equals and labels[name] != value):
            return False
    return True
