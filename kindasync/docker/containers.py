"""Containers: the Engine's operations on them, typed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import anyio

from kindasync._shielded import answered, undoing
from kindasync.docker._engine import Call, Connection, Labels, filters, required
from kindasync.docker._frames import demultiplexed
from kindasync.docker._hints import Refusal, refusal_of
from kindasync.docker._json_stream import messages
from kindasync.errors import ApiError, EngineTimeout, NotFound, StreamFailed

STOP_GRACE_S = 10
REMOVE_ATTEMPTS = 5
REMOVE_PAUSE_S = 1.0
FREEZE_ATTEMPTS = 5
FREEZE_PAUSE_S = 0.2
REMOVED_BY_OTHERS_S = 60.0
TEMPORARY_REMOVED_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PortBinding:
    """A port of a container, published on the Engine's host. `host_port` 0: the Engine picks one, at every start anew."""

    container_port: int
    protocol: str = "tcp"
    host_ip: str = ""
    host_port: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind:
    """A directory or file of the Engine's host, mounted. A source that is not there is made, as a directory, at each start.

    Shape: `options` as after the second colon of `docker run -v`: "ro", "rshared", "Z".
    """

    source: str
    target: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StrictBind:
    """A bind mount whose source must be there: ContainerCreate refuses one that is not (Refusal.MOUNT_SOURCE_MISSING)."""

    source: str
    target: str
    read_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """What a container is made from. Names are those of ContainerCreate's body, in snake_case; it is sent by `to_wire` alone.

    Shape: `nano_cpus` in billionths of a processor, and `memory_bytes`, are limits; 0: none. `extra_hosts`: addresses by host name.
    """

    image: str
    hostname: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    tty: bool = False
    init: bool | None = None
    privileged: bool = False
    security_opt: tuple[str, ...] = ()
    cgroupns_mode: str = ""
    userns_mode: str = ""
    restart_policy: str = ""
    restart_retries: int = 0
    stop_signal: str = ""
    tmpfs: Mapping[str, str] = field(default_factory=dict)
    volumes: tuple[str, ...] = ()
    binds: tuple[Bind, ...] = ()
    strict_binds: tuple[StrictBind, ...] = ()
    devices: tuple[str, ...] = ()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    nano_cpus: int = 0
    memory_bytes: int = 0
    extra_hosts: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[PortBinding, ...] = ()
    network: str = ""
    network_mode: str = ""
    ipv4_address: str = ""
    ipv6_address: str = ""

    def to_wire(self) -> dict[str, Any]:
        """The body of ContainerCreate."""
        bindings: dict[str, list[dict[str, str]]] = {}
        for port in self.ports:
            bindings.setdefault(f"{port.container_port}/{port.protocol}", []).append(
                {"HostIp": port.host_ip, "HostPort": str(port.host_port)}
            )
        host_config: dict[str, Any] = {
            "Privileged": self.privileged,
            "SecurityOpt": list(self.security_opt),
            "Tmpfs": dict(self.tmpfs),
            "Binds": [":".join((bind.source, bind.target, ",".join(bind.options) or "rw")) for bind in self.binds],
            "Mounts": [
                {"Type": "bind", "Source": bind.source, "Target": bind.target, "ReadOnly": bind.read_only} for bind in self.strict_binds
            ],
            "PortBindings": bindings,
            "Sysctls": dict(self.sysctls),
            "Devices": [{"PathOnHost": device, "PathInContainer": device, "CgroupPermissions": "rwm"} for device in self.devices],
        }
        if self.nano_cpus:
            host_config["NanoCpus"] = self.nano_cpus
        if self.memory_bytes:
            host_config["Memory"] = self.memory_bytes
        if self.extra_hosts:
            host_config["ExtraHosts"] = [f"{name}:{address}" for name, address in self.extra_hosts.items()]
        if self.init is not None:
            host_config["Init"] = self.init
        if self.cgroupns_mode:
            host_config["CgroupnsMode"] = self.cgroupns_mode
        if self.userns_mode:
            host_config["UsernsMode"] = self.userns_mode
        if self.restart_policy:
            host_config["RestartPolicy"] = {"Name": self.restart_policy, "MaximumRetryCount": self.restart_retries}
        body: dict[str, Any] = {
            "Image": self.image,
            "Hostname": self.hostname,
            "Labels": dict(self.labels),
            "Env": [f"{name}={value}" for name, value in self.env.items()],
            "Tty": self.tty,
            "Volumes": {path: {} for path in self.volumes},
            "ExposedPorts": {port: {} for port in bindings},
            "HostConfig": host_config,
        }
        if self.entrypoint is not None:
            body["Entrypoint"] = list(self.entrypoint)
        if self.cmd is not None:
            body["Cmd"] = list(self.cmd)
        if self.stop_signal:
            body["StopSignal"] = self.stop_signal
        if self.network_mode:
            host_config["NetworkMode"] = self.network_mode
        if self.network:
            host_config["NetworkMode"] = self.network
            addresses = {"IPv4Address": self.ipv4_address, "IPv6Address": self.ipv6_address}
            body["NetworkingConfig"] = {
                "EndpointsConfig": {self.network: {"IPAMConfig": {name: address for name, address in addresses.items() if address}}}
            }
        return body


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A container's place in one network. Addresses are empty while it does not run; `fixed_ipv4` and `fixed_ipv6` are those it asked for.

    `aliases`: names by which it is known there, beside its own.
    """

    network: str
    network_id: str
    ipv4_address: str = ""
    ipv6_address: str = ""
    fixed_ipv4: str = ""
    fixed_ipv6: str = ""
    gateway: str = ""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A mount of a container, as the Engine reports it. `kind`: bind, volume, tmpfs."""

    kind: str
    source: str
    target: str
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container, as ContainerList and ContainerInspect report it.

    Shape: `name` without slash; `state`: created, running, paused, restarting, removing, exited, dead; `exit_code`,
    `oom_killed`, `error`, `pid`, `tty` and `started_at` (RFC 3339) only from ContainerInspect; `ports` the bindings that are in force (list) or asked for (inspect).
    """

    id: str
    name: str
    image: str
    labels: Mapping[str, str]
    state: str
    created: str | int = ""
    attachments: tuple[Attachment, ...] = ()
    ports: tuple[PortBinding, ...] = ()
    mounts: tuple[Mount, ...] = ()
    exit_code: int | None = None
    oom_killed: bool = False
    error: str = ""
    pid: int = 0
    tty: bool | None = None
    started_at: str = ""

    @property
    def subject(self) -> str:
        return f"container {self.name}"

    @property
    def has_fixed_address(self) -> bool:
        """Whether it asked for an address, in any network: that comes back with each start."""
        return any(each.fixed_ipv4 or each.fixed_ipv6 for each in self.attachments)

    def attachment(self, network: str) -> Attachment | None:
        """The container's place in `network`, by name or ID."""
        return next((each for each in self.attachments if network in (each.network, each.network_id)), None)


async def container_create(connection: Connection, name: str, spec: ContainerSpec, *, platform: str | None = None) -> str:
    """Make a container, and return its ID. Its name is taken from then on.

    Source: Docker Engine API, ContainerCreate, POST /containers/create.
    Raises: Conflict if the name is taken; NotFound if the image is not there; ApiError for a bad mount (400).
    Cancellation: takes effect only after the answer, so that nothing is made that its maker does not know.
    """
    call = Call(
        "ContainerCreate", "POST", "/containers/create", f"container {name}", {"name": name or None, "platform": platform}, spec.to_wire()
    )
    # The Engine copies what the image has at a volume's path, and writes a layer: on a busy disk that takes its time.
    reply = await connection.request_shielded(call, timeout_s=300)
    return str(required("ContainerCreate", reply, "Id"))


async def container_start(connection: Connection, container: str, *, subject: str = "") -> None:
    """Start a container; one that runs already is left alone (304).

    Source: Docker Engine API, ContainerStart, POST /containers/{id}/start.
    Raises: ApiError, 500, for what only shows now: ports, addresses, mounts.
    Cancellation: takes effect after the answer.
    """
    call = _call("ContainerStart", "POST", container, "/start", subject=subject)
    await answered(connection.request(call, timeout_s=120))


async def container_inspect(connection: Connection, container: str) -> Container:
    """One container, by name or ID, whatever its state.

    Source: Docker Engine API, ContainerInspect, GET /containers/{id}/json. Raises: NotFound.
    """
    return from_inspect(await connection.request_json(_call("ContainerInspect", "GET", container, "/json")))


async def container_list(connection: Connection, *, labels: Labels | None = None, network: str = "") -> tuple[Container, ...]:
    """All containers of any state that have the labels (None: any value), and are in the network, if one is given.

    `network` is its name: by its ID, the Engine finds only those that have been started.
    Source: Docker Engine API, ContainerList, GET /containers/json.
    """
    params = {"all": "1", "filters": filters(labels, network=network)}
    reply = await connection.request_json(Call("ContainerList", "GET", "/containers/json", params=params))
    return tuple(_from_list(item) for item in reply)


async def container_kill(connection: Connection, container: str, signal: str) -> None:
    """Send a signal ("SIGUSR1") to the container's first process.

    Source: Docker Engine API, ContainerKill, POST /containers/{id}/kill. Raises: NotFound; Conflict if it does not run.
    """
    await connection.request(_call("ContainerKill", "POST", container, "/kill", params={"signal": signal}))


async def container_stop(connection: Connection, container: str, *, grace_s: int = STOP_GRACE_S, subject: str = "") -> None:
    """Send the image's stop signal, after `grace_s` SIGKILL; one that does not run is left alone (304).

    Source: Docker Engine API, ContainerStop, POST /containers/{id}/stop.
    """
    call = _call("ContainerStop", "POST", container, "/stop", subject=subject, params={"t": str(grace_s)})
    await connection.request(call, timeout_s=grace_s + 30)


async def container_pause(connection: Connection, container: str, *, pause_s: float = FREEZE_PAUSE_S, subject: str = "") -> None:
    """Freeze all processes of a container.

    Source: Docker Engine API, ContainerPause, POST /containers/{id}/pause. Raises: NotFound; ApiError (409, 500) if it does not run, or is paused.
    runc's "unable to freeze", on cgroup v1 where processes come and go, is met by trying again, at most FREEZE_ATTEMPTS times; all go on in between.
    Cancellation: takes effect after the answer.
    """
    for attempt in range(1, FREEZE_ATTEMPTS + 1):
        try:
            await answered(connection.request(_call("ContainerPause", "POST", container, "/pause", subject=subject)))
            return
        except ApiError as error:
            if refusal_of(error.message) is not Refusal.NOT_FROZEN or attempt == FREEZE_ATTEMPTS:
                raise
        await anyio.sleep(pause_s)


async def container_unpause(connection: Connection, container: str, *, subject: str = "") -> None:
    """Let them go on.

    Source: Docker Engine API, ContainerUnpause, POST /containers/{id}/unpause. Raises: NotFound; ApiError (409, 500) if it is not paused.
    Cancellation: takes effect after the answer.
    """
    await answered(connection.request(_call("ContainerUnpause", "POST", container, "/unpause", subject=subject)))


async def container_restart(connection: Connection, container: str, *, grace_s: int = STOP_GRACE_S) -> None:
    """Stop, then start.

    Source: Docker Engine API, ContainerRestart, POST /containers/{id}/restart.
    """
    await connection.request(_call("ContainerRestart", "POST", container, "/restart", params={"t": str(grace_s)}), timeout_s=grace_s + 60)


async def container_remove(
    connection: Connection, container: str, *, pause_s: float = REMOVE_PAUSE_S, unstick: Callable[[], Awaitable[None]] | None = None
) -> None:
    """Remove a container of any state with its anonymous volumes. One that is gone counts as removed; one that goes is waited for.

    Source: Docker Engine API, ContainerDelete, DELETE /containers/{id}.
    Raises: ApiError; EngineTimeout. The Engine's "did not receive an exit event" under load (Docker 28 and 29) is met by trying again,
    at most REMOVE_ATTEMPTS times: seconds later it works; or when `unstick` has removed what keeps it.
    Cancellation: ends the waiting; what the Engine has begun, it ends.
    """
    call = _call("ContainerDelete", "DELETE", container, "", params={"force": "1", "v": "1"})
    for attempt in range(1, REMOVE_ATTEMPTS + 1):
        try:
            await connection.request(call, timeout_s=120)
            return
        except NotFound:
            return
        except ApiError as error:
            refusal = refusal_of(error.message)
            if refusal is Refusal.BEING_REMOVED:
                await _wait_removed(connection, container)
                return
            if refusal is not Refusal.NO_EXIT_EVENT or attempt == REMOVE_ATTEMPTS:
                raise
        if unstick:
            await unstick()
        await anyio.sleep(pause_s)


@asynccontextmanager
async def container_temporary(connection: Connection, spec: ContainerSpec) -> AsyncIterator[str]:
    """The ID of a new container, not started yet; it is removed when the context is left.

    Raises: as `container_create`; if the body has not failed, as `container_remove`, and EngineTimeout after TEMPORARY_REMOVED_S. What stays after a failure is a note.
    """
    container = await container_create(connection, "", spec)

    async def remove() -> None:
        with anyio.move_on_after(TEMPORARY_REMOVED_S) as scope:
            await container_remove(connection, container)
        if scope.cancelled_caught:
            raise EngineTimeout("the Engine does not remove a container", why=f"it has not within {TEMPORARY_REMOVED_S:g} s")

    async with undoing(remove, f"container {container} stays"):
        yield container


async def _wait_removed(connection: Connection, container: str) -> None:
    """Wait until somebody else's removal has ended. Raises: EngineTimeout."""
    try:
        with anyio.fail_after(REMOVED_BY_OTHERS_S):
            await container_wait(connection, container, condition="removed")
    except NotFound:
        return
    except TimeoutError as error:
        raise EngineTimeout(
            f"container {container} is still being removed", why=f"it is still there after {REMOVED_BY_OTHERS_S:g} s", hint="try again"
        ) from error


async def container_wait(connection: Connection, container: str, *, condition: str = "not-running") -> int:
    """Wait until the container has ended ("not-running"), ends next ("next-exit") or is gone ("removed"); its exit code.

    Source: Docker Engine API, ContainerWait, POST /containers/{id}/wait. No timeout: the caller has one.
    Raises: NotFound; StreamFailed if the Engine's waiting fails; ConnectionLost.
    """
    call = _call("ContainerWait", "POST", container, "/wait", params={"condition": condition})
    async with connection.stream(call) as reply:
        async for message in messages("ContainerWait", reply.chunks()):
            failure = (message.get("Error") or {}).get("Message")
            if failure:
                raise StreamFailed(f"the Docker Engine could not wait for container {container}", why=failure)
            return int(required("ContainerWait", message, "StatusCode"))
    raise StreamFailed(f"the Docker Engine ended the waiting for container {container}", why="it sent no exit code")


@asynccontextmanager
async def container_logs(
    connection: Connection, container: Container, *, follow: bool = False, tail: str = "all"
) -> AsyncIterator[AsyncIterator[bytes]]:
    """What the container printed, from its beginning (or the last `tail` lines), and if `follow`, what it prints until it ends.

    Source: Docker Engine API, ContainerLogs, GET /containers/{id}/logs.
    Shape: pieces of output of any size. A container with a terminal has one raw stream; of others, both streams are given as they come.
    Raises: NotFound; ApiError for a logging driver that cannot be read; ConnectionLost.
    """
    params = {"stdout": "1", "stderr": "1", "follow": "1" if follow else None, "tail": tail}
    tty = (await container_inspect(connection, container.id)).tty if container.tty is None else container.tty
    async with connection.stream(_call("ContainerLogs", "GET", container.id, "/logs", subject=container.subject, params=params)) as reply:
        if tty:
            yield reply.chunks()
        else:
            yield (data async for _, data in demultiplexed(reply.chunks()))


async def lines(chunks: AsyncIterator[bytes]) -> AsyncGenerator[str, None]:
    """Output by its lines, without their ends; also what comes after the last end."""
    rest = b""
    async for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.removesuffix(b"\r").decode(errors="replace")
    if rest:
        yield rest.decode(errors="replace")


@asynccontextmanager
async def container_export(connection: Connection, container: str) -> AsyncIterator[AsyncIterator[bytes]]:
    """The container's file system, without volumes, as the pieces of a tar stream.

    Source: Docker Engine API, ContainerExport, GET /containers/{id}/export. Raises: NotFound; ConnectionLost.
    """
    async with connection.stream(_call("ContainerExport", "GET", container, "/export")) as reply:
        yield reply.chunks()


def _call(
    operation: str, method: str, container: str, action: str, *, subject: str = "", params: Mapping[str, str | None] | None = None
) -> Call:
    return Call(operation, method, f"/containers/{quote(container, safe='')}{action}", subject or f"container {container}", params or {})


def _from_list(item: Mapping[str, Any]) -> Container:
    networks = (item.get("NetworkSettings") or {}).get("Networks") or {}
    names = item.get("Names") or [""]
    return Container(
        id=str(required("ContainerList", item, "Id")),
        name=str(names[0]).lstrip("/"),
        image=str(item.get("Image", "")),
        labels=dict(item.get("Labels") or {}),
        state=str(item.get("State", "")),
        created=item.get("Created", ""),
        attachments=_attachments(networks),
        ports=tuple(
            PortBinding(
                container_port=int(port["PrivatePort"]),
                protocol=str(port.get("Type", "tcp")),
                host_ip=str(port.get("IP", "")),
                host_port=int(port["PublicPort"]),
            )
            for port in item.get("Ports") or []
            if port.get("PublicPort")
        ),
        mounts=_mounts(item.get("Mounts") or []),
    )


def from_inspect(document: Mapping[str, Any]) -> Container:
    """A container from ContainerInspect's answer."""
    state = required("ContainerInspect", document, "State")
    config = required("ContainerInspect", document, "Config")
    host_config = document.get("HostConfig") or {}
    settings = document.get("NetworkSettings") or {}
    in_force = {key: value for key, value in (settings.get("Ports") or {}).items() if value}
    ports = in_force or host_config.get("PortBindings") or {}
    return Container(
        id=str(required("ContainerInspect", document, "Id")),
        name=str(required("ContainerInspect", document, "Name")).lstrip("/"),
        image=str(config.get("Image", "")),
        labels=dict(config.get("Labels") or {}),
        state=str(state.get("Status", "")),
        created=str(document.get("Created", "")),
        attachments=_attachments(settings.get("Networks") or {}),
        ports=tuple(
            PortBinding(
                container_port=int(key.split("/")[0]),
                protocol=key.split("/")[1],
                host_ip=str(binding.get("HostIp", "")),
                host_port=int(str(binding.get("HostPort") or 0).partition("-")[0]),  # "8000-8010", of one that has not been started
            )
            for key, bindings in ports.items()
            for binding in bindings or []
        ),
        mounts=_mounts(document.get("Mounts") or []),
        exit_code=None if state.get("Running") else int(state.get("ExitCode") or 0),
        oom_killed=bool(state.get("OOMKilled")),
        error=str(state.get("Error") or ""),
        pid=int(state.get("Pid") or 0),
        tty=bool(config.get("Tty")),
        started_at=str(state.get("StartedAt") or ""),
    )


def _attachments(networks: Mapping[str, Mapping[str, Any]]) -> tuple[Attachment, ...]:
    return tuple(
        Attachment(
            network=name,
            network_id=str(value.get("NetworkID") or ""),
            ipv4_address=str(value.get("IPAddress") or ""),
            ipv6_address=str(value.get("GlobalIPv6Address") or ""),
            fixed_ipv4=str((value.get("IPAMConfig") or {}).get("IPv4Address") or ""),
            fixed_ipv6=str((value.get("IPAMConfig") or {}).get("IPv6Address") or ""),
            gateway=str(value.get("Gateway") or ""),
            aliases=tuple(value.get("Aliases") or ()),
        )
        for name, value in networks.items()
    )


def _mounts(mounts: list[Mapping[str, Any]]) -> tuple[Mount, ...]:
    return tuple(
        Mount(
            kind=str(mount.get("Type", "")),
            source=str(mount.get("Source", "")),
            target=str(mount.get("Destination", "")),
            name=str(mount.get("Name", "")),
        )
        for mount in mounts
    )
