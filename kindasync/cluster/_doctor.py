"""Doctor: what usually keeps clusters from coming up, measured, each finding with what to do about it."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

import anyio
import anyio.to_thread

from kindasync.cluster._images import BUILD_HINT, default_reference
from kindasync.docker import Connection, Engine
from kindasync.docker.images import image_inspect
from kindasync.docker.system import EngineFacts, system_info
from kindasync.errors import AlreadyExists, ConfigInvalid, EngineError, EngineUnreachable, ImageUnusable, KindasyncError, NotFound

DIAGNOSIS_S = 2.0
_GIB = 1024**3
NODE_MEMORY_BYTES = _GIB  # what a single node uses, about
INOTIFY_INSTANCES, INOTIFY_WATCHES = 512, 524288
_SYSTEMD_INSTANCES_PER_NODE = 40
CAP_SYS_RESOURCE = 24


class Verdict(StrEnum):
    """Whether what was measured will do. warning: it may not, or not for much."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


_PROVEN = ("cgroups", "capabilities")  # where there is something to say of these, clusters are made all the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at: the measured `value`, and the `fix` where it will not do."""

    name: str
    value: str
    verdict: Verdict = Verdict.OK
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.value}" + (f" ({self.fix})" if self.fix else "")

    def to_json(self) -> dict[str, str]:
        return {name: str(value) for name, value in asdict(self).items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """What this machine says of itself, where the Engine is on it. None: not to be had."""

    inotify_instances: int | None = None
    inotify_watches: int | None = None
    bounding_capabilities: int | None = None
    free_disk_bytes: int | None = None


async def examine(engine: Engine | str | None = None) -> list[Finding]:
    """Look at the Engine, its host and the node image. Raises nothing of the Engine's: that it cannot be reached is a finding, too."""
    try:
        async with Engine.of(engine).connect() as connection:
            facts = await system_info(connection)
            host = await anyio.to_thread.run_sync(host_facts, facts)
            reference = await default_reference(connection, facts)
            try:
                await image_inspect(connection, reference)
                image = Finding(name="node image", value=reference)
            except NotFound:
                fix = f"it will be pulled; without a registry: {BUILD_HINT}"
                image = Finding(name="node image", value=f"{reference} is not in the Engine", verdict=Verdict.WARNING, fix=fix)
            where = Finding(name="Engine", value=f"{facts.product} {facts.version} at {connection.engine.endpoint}")
            return [where, *findings(facts, host), image]
    except EngineError as error:
        return [Finding(name="Engine", value=f"{error.what}: {error.why}", verdict=Verdict.FAILURE, fix=error.hint)]


def may_be_the_machine(error: KindasyncError) -> bool:
    """Whether the Engine's host may have to do with it that a create failed: not with what was asked for, nor with an Engine that is not reached. Pure."""
    beside_it = (AlreadyExists, ConfigInvalid, EngineUnreachable, ImageUnusable)
    return not all(isinstance(each, beside_it) for each in getattr(error, "failures", (error,)))


async def diagnose(connection: Connection, error: KindasyncError) -> None:
    """Show with a create's error what the host may have to do with it, in at most DIAGNOSIS_S seconds.

    Raises nothing: what cannot be had is left out, as the error is what counts.
    """
    if not may_be_the_machine(error):
        return
    with suppress(KindasyncError, OSError, ValueError), anyio.move_on_after(DIAGNOSIS_S):
        facts = await system_info(connection)
        host = await anyio.to_thread.run_sync(host_facts, facts, abandon_on_cancel=True)
        problems = [f"doctor: {each}" for each in findings(facts, host) if each.verdict is not Verdict.OK and each.name not in _PROVEN]
        error.evidence = "\n".join((*filter(None, [error.evidence.rstrip()]), *problems))


def host_facts(facts: EngineFacts, *, proc: Path = Path("/proc")) -> HostFacts:
    """This machine's facts, if the Engine is on it."""
    if facts.host_name != socket.gethostname() or not proc.exists():
        return HostFacts()

    def number(path: str) -> int | None:
        try:
            return int((proc / path).read_text())
        except (OSError, ValueError):
            return None

    bounding = None
    for line in (proc / "self/status").read_text().splitlines():
        if line.startswith("CapBnd:"):
            bounding = int(line.split()[1], 16)
    free = None
    with suppress(OSError):  # it is in a virtual machine, or in a directory that is closed to this user
        free = shutil.disk_usage(facts.data_root).free
    return HostFacts(
        inotify_instances=number("sys/fs/inotify/max_user_instances"),
        inotify_watches=number("sys/fs/inotify/max_user_watches"),
        bounding_capabilities=bounding,
        free_disk_bytes=free,
    )


def findings(facts: EngineFacts, host: HostFacts) -> Iterator[Finding]:
    """Everything there is to say about an Engine and its host. Pure."""
    yield Finding(name="API version", value="{}.{}".format(*facts.api_version))
    yield _storage(facts)
    yield _cgroups(facts)
    if facts.rootless:
        yield Finding(
            name="rootless",
            value="yes",
            verdict=Verdict.WARNING,
            fix="needs cgroup v2 with cpu, memory and pids delegated to the user",
        )
    yield _at_least(
        "memory", facts.memory_bytes, NODE_MEMORY_BYTES * 2, _gib, "give the Engine (or its virtual machine) more: a node uses about 1 GiB"
    )
    if host.free_disk_bytes is not None:
        yield _at_least(
            "disk", host.free_disk_bytes, 5 * _GIB, _gib, f"free space below {facts.data_root}: docker system df shows what uses it"
        )
    if host.inotify_instances is not None:
        fix = f"sysctl fs.inotify.max_user_instances={INOTIFY_INSTANCES * 2}: each node needs about {_SYSTEMD_INSTANCES_PER_NODE}"
        yield _at_least("inotify instances", host.inotify_instances, INOTIFY_INSTANCES, str, fix)
    if host.inotify_watches is not None:
        fix = f"sysctl fs.inotify.max_user_watches={INOTIFY_WATCHES}"
        yield _at_least("inotify watches", host.inotify_watches, INOTIFY_WATCHES, str, fix)
    if host.bounding_capabilities is not None:
        yield _capabilities(host.bounding_capabilities)
    yield Finding(name="NetworkPolicy", value="accepted, and not enforced by the default pod network")
    for warning in facts.warnings:
        yield Finding(name="Engine's warning", value=warning, verdict=Verdict.WARNING, fix="see the Engine's documentation")


def _storage(facts: EngineFacts) -> Finding:
    value = facts.storage_driver + (f" on {facts.backing_filesystem}" if facts.backing_filesystem else "")
    if facts.storage_driver in ("vfs", "devicemapper", "aufs"):
        return Finding(
            name="storage driver",
            value=value,
            verdict=Verdict.WARNING,
            fix="overlay2 is what Docker recommends: it is faster and shares files",
        )
    return Finding(name="storage driver", value=value)


def _cgroups(facts: EngineFacts) -> Finding:
    value = f"v{facts.cgroup_version}, driver {facts.cgroup_driver}"
    if facts.cgroup_version == 1:
        fix = "works; Kubernetes, containerd and systemd are giving it up: boot the host with systemd.unified_cgroup_hierarchy=1"
        return Finding(name="cgroups", value=value, verdict=Verdict.WARNING, fix=fix)
    return Finding(name="cgroups", value=value)


def _capabilities(bounding: int) -> Finding:
    if bounding >> CAP_SYS_RESOURCE & 1:
        return Finding(name="capabilities", value="CAP_SYS_RESOURCE is there")
    fix = "works with Docker 23 or newer; pods are not protected from the kernel's out-of-memory killer"
    return Finding(name="capabilities", value="CAP_SYS_RESOURCE is missing", verdict=Verdict.WARNING, fix=fix)


def _at_least(name: str, value: int, wanted: int, shown: Callable[[int], str], fix: str) -> Finding:
    if value >= wanted:
        return Finding(name=name, value=shown(value))
    return Finding(name=name, value=f"{shown(value)}, {shown(wanted)} recommended", verdict=Verdict.WARNING, fix=fix)


def _gib(count: int) -> str:
    return f"{count / _GIB:.1f} GiB"
