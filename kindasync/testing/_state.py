"""The state of the fake: containers, networks, images, volumes, and what the Engine lets be done with them."""

from __future__ import annotations

import asyncio
import itertools
import re
import signal
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from kindasync.testing._images import FakeImage, ImageStore
from kindasync.testing._profiles import Profile
from kindasync.testing._refused import Refused

if TYPE_CHECKING:
    from kindasync.testing._programs import ProgramResult

_CONTAINER_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
START_FAILED = 128
_API = "6443/tcp"
_ON_EVERY_HOST = "/lib/modules"  # of an Engine; this machine may have none


@dataclass(slots=True, kw_only=True)
class FakeNetwork:
    """A network: `id`, `name`, `labels`, `subnets` (IPAM's Config), `enable_ipv6`, `options` and `created` as NetworkInspect has them. `fixed`: its subnet was asked for, so that containers may ask for addresses in it."""

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
    """A container: what it was made from, its state, its files, and what it prints.

    `body`: of the request that made it; `id`, `name` and `image`, `created` (seconds since 1970). `state`, `paused`, `exit_code`, `error` and `oom_killed` as ContainerInspect
    has them; `removed`: it is gone. `signals`: those sent to it; `on_signal`: what comes of them; `starts`, `booted`: how often it was started, whether it has booted.
    `log`: what it has printed. `volumes`: its anonymous ones. `address` and `ipv6_address`: in its network, while it runs. `api_socket`: that of its Kubernetes API.
    `links`, `directories` and `modes`: symbolic links, directories, and modes of files, by absolute path. `files`: what programs in it see, by absolute path; `covered`: what archives have put under a tmpfs, where no program sees
    it. `network_id`: of the network that it was in when it was started last. `ends`: how often its first process has ended.
    `connected`: whether it has its place in its network, of which there is one.
    """

    id: str
    name: str
    body: dict[str, Any]
    image: FakeImage
    created: float
    state: str = "created"
    exit_code: int = 0
    error: str = ""
    oom_killed: bool = False
    files: dict[str, bytes] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    directories: set[str] = field(default_factory=set)
    modes: dict[str, int] = field(default_factory=dict)
    covered: dict[str, bytes] = field(default_factory=dict)
    signals: list[str] = field(default_factory=list)
    on_signal: Mapping[str, ProgramResult] = field(default_factory=dict)
    volumes: list[str] = field(default_factory=list)
    address: str = ""
    ipv6_address: str = ""
    network_id: str = ""
    log: bytearray = field(default_factory=bytearray)
    starts: int = 0
    ends: int = 0
    removed: bool = False
    paused: bool = False
    connected: bool = True
    booted: bool = False
    api_socket: socket.socket | None = None
    _watchers: set[asyncio.Event] = field(default_factory=set)

    @property
    def host_config(self) -> dict[str, Any]:
        """Its HostConfig."""
        result: dict[str, Any] = self.body.get("HostConfig") or {}
        return result

    @property
    def labels(self) -> dict[str, str]:
        """Its own and its image's."""
        return {**self.image.labels, **(self.body.get("Labels") or {})}

    @property
    def env(self) -> dict[str, str]:
        """Its own and its image's variables."""
        return {**self.image.env, **dict(item.split("=", 1) for item in self.body.get("Env") or [])}

    @property
    def command(self) -> list[str]:
        """The program that it was made to run instead of the image's."""
        return [*(self.body.get("Entrypoint") or []), *(self.body.get("Cmd") or [])] if self.body.get("Entrypoint") else []

    @property
    def tty(self) -> bool:
        """Whether it has a terminal."""
        return bool(self.body.get("Tty"))

    @property
    def network(self) -> str:
        """What its NetworkMode names."""
        mode = str(self.host_config.get("NetworkMode") or "default")
        return "bridge" if mode == "default" else mode

    @property
    def asked_address(self) -> str:
        """The IPv4 address that it was to have; empty: any."""
        return self.asked_addresses.get("IPv4Address", "")

    @property
    def asked_addresses(self) -> dict[str, str]:
        """By "IPv4Address" and "IPv6Address"."""
        return self.endpoint.get("IPAMConfig") or {}

    @property
    def endpoint(self) -> dict[str, Any]:
        """What it asked for of its network."""
        endpoints = (self.body.get("NetworkingConfig") or {}).get("EndpointsConfig") or {}
        return endpoints.get(self.network) or {}

    @property
    def running(self) -> bool:
        """Also while it is paused."""
        return self.state == "running"

    @property
    def answers(self) -> bool:
        """Whether what runs in it can be reached."""
        return self.running and self.connected and not self.paused

    def say(self, text: str) -> None:
        """Print to the console."""
        self.log.extend(text.encode())
        self.changed()

    def print(self, data: bytes) -> None:
        """Print as a program does; a terminal makes its own ends of lines."""
        self.log.extend(data.replace(b"\n", b"\r\n") if self.tty else data)
        self.changed()

    def changed(self) -> None:
        """Wake who watches."""
        for watcher in self._watchers:
            watcher.set()

    def watch(self) -> asyncio.Event:
        """An event that is set at the next change, for `unwatch` to give back."""
        watcher = asyncio.Event()
        self._watchers.add(watcher)
        return watcher

    def unwatch(self, watcher: asyncio.Event) -> None:
        """End a `watch`."""
        self._watchers.discard(watcher)


class State:
    """All objects of one fake Engine."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.engine_id = f"fake-{profile.name}-{token_hex(8)}"
        self.containers: dict[str, FakeContainer] = {}
        self.networks: dict[str, FakeNetwork] = {}
        self.images = ImageStore()
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

    def close(self) -> None:
        """Give back what is real: the ports of Kubernetes APIs."""
        for container in self.containers.values():
            self._stop_listening(container)

    # -- containers

    def container(self, reference: str) -> FakeContainer:
        """By name, ID or the beginning of an ID."""
        for container in self.containers.values():
            if reference in (container.id, container.name) or (len(reference) >= 12 and container.id.startswith(reference)):
                return container
        raise Refused(404, f"No such container: {reference}")

    def create(self, name: str, body: dict[str, Any]) -> FakeContainer:
        if name and not _CONTAINER_NAME.fullmatch(name):
            raise Refused(400, f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
        for mount in (body.get("HostConfig") or {}).get("Mounts") or []:
            if mount["Type"] == "bind" and mount["Source"] != _ON_EVERY_HOST and not Path(mount["Source"]).exists():
                raise Refused(400, f'invalid mount config for type "bind": bind source path does not exist: {mount["Source"]}')
        image = self.images.find(body["Image"])
        container_id = next(self._ids)
        name = name or f"fake_{container_id[:8]}"
        if name in self.containers:
            holder = self.containers[name].id
            message = f'Conflict. The container name "/{name}" is already in use by container "{holder}". You have to remove (or rename) that container to be able to reuse that name.'
            raise Refused(409, message)
        container = FakeContainer(
            id=container_id, name=name, body=body, image=image, created=time.time(), files=dict(image.files), links=dict(image.links)
        )
        if container.asked_addresses and not all(network.fixed for network in self._networks_named(container.network)):
            what = f"invalid config for network {container.network}: invalid endpoint settings:\n"
            raise Refused(
                400, what + "user specified IP address is supported only when connecting to networks with user configured subnets"
            )
        self._make_volumes(container)
        self.containers[name] = container
        self.emit_of(container, "create")
        return container

    def _make_volumes(self, container: FakeContainer) -> None:
        """The named volumes that it mounts, and the anonymous ones, which go with it."""
        for bind in container.host_config.get("Binds") or []:
            source, target, *_ = bind.split(":")
            if not source.startswith("/"):
                self.volumes.setdefault(source, {})
                container.body.setdefault("_volumes", {})[target] = source
        for path in container.body.get("Volumes") or {}:
            volume = next(self._ids)
            self.volumes[volume] = {}
            container.volumes.append(volume)
            container.body.setdefault("_volumes", {})[path] = volume

    def users_of_volume(self, name: str) -> list[FakeContainer]:
        return [container for container in self.containers.values() if name in (container.body.get("_volumes") or {}).values()]

    def start(self, container: FakeContainer) -> bool:
        """Start; False if it runs already."""
        if container.running:
            return False
        try:
            network = self.network(container.network_id or container.network)
            container.network_id = network.id
            container.address = self._address_in(network, container, 4)
            container.ipv6_address = self._address_in(network, container, 6) if network.enable_ipv6 else ""
            self._publish(container)
        except Refused as refused:
            container.address = container.ipv6_address = ""
            container.error, container.exit_code = refused.message, START_FAILED
            raise
        self.emit_network(network, "connect", container)
        container.state, container.exit_code, container.error = "running", 0, ""
        container.starts += 1
        self.emit_of(container, "start")
        return True

    def _address_in(self, network: FakeNetwork, container: FakeContainer, version: int) -> str:
        if not network.subnets:
            return ""
        held = {address for other in self.attached(network) for address in (other.address, other.ipv6_address)}
        asked = container.asked_addresses.get(f"IPv{version}Address")
        if asked:
            if asked in held:
                raise Refused(403, "Address already in use")
            return asked
        config = next(subnet for subnet in network.subnets if ip_network(subnet["Subnet"]).version == version)
        pool = ip_network(config.get("IPRange") or config["Subnet"])
        gateway = ip_address(config.get("Gateway") or _first_address(pool, config["Subnet"]))
        return next(
            str(address) for address in pool if address not in (gateway, ip_network(config["Subnet"])[0]) and str(address) not in held
        )

    def _publish(self, container: FakeContainer) -> None:
        held = {
            port for other in self.containers.values() if other.running for port in other.body.get("_published", {}).values()
        } | self.taken_ports
        published = {}
        for key, bindings in (container.host_config.get("PortBindings") or {}).items():
            for binding in bindings:
                asked = int(binding.get("HostPort") or 0)
                wanted = [asked] if asked else range(32768, 61000)
                port = next((number for number in wanted if number not in held and self._can_listen(container, key, number)), None)
                if port is None:
                    self._stop_listening(container)
                    address = binding.get("HostIp") or "0.0.0.0"
                    message = (
                        f"driver failed programming external connectivity on endpoint {container.name}: "
                        f"Bind for {address}:{asked} failed: port is already allocated"
                    )
                    raise Refused(500, message)
                held.add(port)
                published[key] = port
        container.body["_published"] = published

    @staticmethod
    def _can_listen(container: FakeContainer, key: str, port: int) -> bool:
        """The port of a Kubernetes API is a real one, of this machine: another program, or another fake, may have it."""
        if key == _API:
            host_ip = container.host_config["PortBindings"][key][0].get("HostIp", "")
            host, family = ("::1", socket.AF_INET6) if ":" in host_ip else ("127.0.0.1", socket.AF_INET)
            try:
                container.api_socket = socket.create_server((host, port), family=family)
                container.api_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else each handshake takes 40 ms
            except OSError:
                return False
        return True

    @staticmethod
    def _stop_listening(container: FakeContainer) -> None:
        if container.api_socket:
            container.api_socket.close()
            container.api_socket = None

    def end(self, container: FakeContainer, exit_code: int, *, oom_killed: bool = False) -> None:
        """The first process of the container ends."""
        if container.running:
            container.state, container.exit_code, container.oom_killed, container.paused = "exited", exit_code, oom_killed, False
            container.address = container.ipv6_address = ""
            self._stop_listening(container)
            container.ends += 1
            if container.network_id in self.networks:
                self.emit_network(self.networks[container.network_id], "disconnect", container)
            self.emit_of(container, "die", exitCode=str(exit_code))
            container.changed()

    def pause(self, container: FakeContainer) -> None:
        if not container.running:
            raise Refused(409, f"Container {container.id} is not running")
        if container.paused:
            raise Refused(409, f"Container {container.id} is already paused")
        container.paused = True
        self.emit_of(container, "pause")

    def unpause(self, container: FakeContainer) -> None:
        if not container.paused:
            raise Refused(409, f"Container {container.id} is not paused")
        container.paused = False
        self.emit_of(container, "unpause")

    def remove(self, container: FakeContainer, *, with_volumes: bool) -> None:
        if container.running:
            self.emit_of(container, "kill", signal=str(signal.SIGKILL.value))
        self.end(container, 137)
        del self.containers[container.name]
        if with_volumes:
            for volume in container.volumes:
                self.volumes.pop(volume, None)
        self.emit_of(container, "destroy")
        container.removed = True
        container.changed()

    def matching(self, wanted: dict[str, list[str]], *, everything: bool) -> list[FakeContainer]:
        """The containers that the filters of a list let through."""
        networks = wanted.get("network") or []
        return [
            container
            for container in self.containers.values()
            if (everything or container.running)
            and has_labels(container.labels, wanted)
            and (not networks or any(self._is_in(container, network) for network in networks))
        ]

    def _is_in(self, container: FakeContainer, network: str) -> bool:
        """By name, or, if it has been started, by ID: before, the Engine has not looked that up."""
        names = {each.name for each in self._networks_named(container.network)} or {container.network}
        if not container.connected:
            return False
        return network in names or (bool(container.network_id) and container.network_id.startswith(network))

    # -- networks

    def _networks_named(self, reference: str) -> list[FakeNetwork]:
        return [network for network in self.networks.values() if reference in (network.id, network.name)]

    def network(self, reference: str) -> FakeNetwork:
        found = self._networks_named(reference)
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
        subnets = list(config)
        if all(":" in subnet["Subnet"] for subnet in config):
            subnets.append({"Subnet": f"172.{18 + len(self.networks)}.0.0/16", "Gateway": f"172.{18 + len(self.networks)}.0.1"})
        network = self._add_network(
            name,
            body.get("Labels") or {},
            subnets,
            enable_ipv6=bool(body.get("EnableIPv6")),
            options=body.get("Options") or {},
            fixed=bool(config),
        )
        self.emit_network(network, "create")
        return network

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

    def attached(self, network: FakeNetwork) -> list[FakeContainer]:
        """The containers that run in it."""
        return [
            container
            for container in self.containers.values()
            if container.running and container.connected and container.network_id == network.id
        ]

    def connect(self, network: FakeNetwork, container: FakeContainer, endpoint: dict[str, Any]) -> None:
        """Only to the network that it was made for: a container of the fake has one."""
        if container.connected:
            raise Refused(403, f"endpoint with name {container.name} already exists in network {network.name}")
        if endpoint.get("IPAMConfig") and not network.fixed:
            raise Refused(400, "user specified IP address is supported only when connecting to networks with user configured subnets")
        container.body["NetworkingConfig"] = {"EndpointsConfig": {container.network: endpoint}}
        if container.running:
            container.address = self._address_in(network, container, 4)
            container.ipv6_address = self._address_in(network, container, 6) if network.enable_ipv6 else ""
        container.connected = True
        self.emit_network(network, "connect", container)

    def disconnect(self, network: FakeNetwork, container: FakeContainer) -> None:
        if not container.connected or container.network not in (network.id, network.name):
            raise Refused(403, f"container {container.id} is not connected to network {network.name}")
        container.connected = False
        container.address = container.ipv6_address = ""
        self.emit_network(network, "disconnect", container)

    def remove_network(self, network: FakeNetwork) -> None:
        if self.attached(network):
            raise Refused(403, f"error while removing network: network {network.name} id {network.id} has active endpoints")
        del self.networks[network.id]
        self.emit_network(network, "destroy")

    # -- events

    def emit_of(self, container: FakeContainer, action: str, **attributes: str) -> None:
        self.emit("container", action, container.id, {**container.labels, "name": container.name, **attributes})

    def emit_network(self, network: FakeNetwork, action: str, container: FakeContainer | None = None) -> None:
        attributes = {"name": network.name, "type": "bridge"}
        self.emit("network", action, network.id, attributes | ({"container": container.id} if container else {}))

    def emit(self, kind: str, action: str, object_id: str, attributes: dict[str, str]) -> None:
        now = max(time.time_ns(), self.events[-1]["timeNano"] + 1 if self.events else 0)
        self.events.append({"Type": kind, "Action": action, "Actor": {"ID": object_id, "Attributes": attributes}, "timeNano": now})
        self.event_added.set()
        self.event_added = asyncio.Event()


def has_labels(labels: dict[str, str], wanted: dict[str, list[str]]) -> bool:
    """Whether labels satisfy the `label` filter."""
    for each in wanted.get("label") or []:
        name, equals, value = each.partition("=")
        if name not in labels or (equals and labels[name] != value):
            return False
    return True


def _first_address(pool: IPv4Network | IPv6Network, subnet: str) -> str:
    """The one that the Engine takes for itself: the first of the range, but for the network's own."""
    return str(pool[1] if pool[0] == ip_network(subnet)[0] else pool[0])
