"""The host: makes sure that there is a Docker Engine, and a node image in it. Changes nothing where they are.

Where an Engine is, and the tools to build the image are not, it is built in containers; they are installed if that cannot be.
Before anything is changed it prints what; on a terminal it asks, unless --yes is given.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio

from kindasync.build import Options
from kindasync.build._build import plan_of
from kindasync.build._debian import KEYRING, mirror, unpack_packages
from kindasync.build._go import needed
from kindasync.build._node_image import find_built
from kindasync.build._steps import Plan
from kindasync.build._workshop import pull_missing
from kindasync.cluster._doctor import CAP_SYS_RESOURCE, INOTIFY_INSTANCES, INOTIFY_WATCHES
from kindasync.docker import Engine
from kindasync.docker.system import native_architecture
from kindasync.errors import ApiError, EngineMissing, EngineUnreachable, KindasyncError, StreamFailed
from kindasync.transport import Endpoint
from kindasync.transport._endpoint import FOUND

ENGINE_DIR = Path("/opt/kindasync/engine")
ENGINE_LOG = Path("/var/log/kindasync-dockerd.log")
ENGINE_UP_S = 60.0
# Before 23, dockerd cannot start a privileged container where a capability is missing from the bounding set.
OLDEST_FOR_MISSING_CAPABILITIES = 23
NEWER_SUITE = "trixie"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change to this machine: what it is, in words, and how it is done."""

    what: str
    make: Callable[[], Awaitable[None]]


def main() -> None:
    """Set the host up. The exit code is 1 with what is missing and how to get it."""
    try:
        anyio.run(set_up)
    except KindasyncError as error:
        sys.exit(f"ERROR: {error}")
    except subprocess.CalledProcessError as error:
        sys.exit(f"ERROR: {' '.join(map(str, error.cmd))} failed\n{error.stderr or ''}")


async def set_up() -> None:
    """An Engine that answers, and the node image of this checkout in it."""
    arguments: list[str] = []
    if not await engine_answers():
        await apply([*engine_changes(), *build_tool_changes()])
    elif await image_is_built():
        return
    elif tools := build_tool_changes():
        arguments = await without_tools(tools)
    subprocess.run([Path(sys.executable).with_name("kindasync"), "build", "node-image", *arguments], check=True)


async def engine_answers() -> bool:
    """Whether there is an Engine. One that somebody has named, or that refuses this user, is not replaced: that is an error."""
    try:
        engine = Engine.of(None)
    except EngineMissing:
        return False
    try:
        async with engine.connect():
            say(f"using the Docker Engine at {engine.endpoint}")
            return True
    except EngineUnreachable as error:
        if not may_be_replaced(engine.endpoint, error, is_root=os.geteuid() == 0):
            raise
        return False


def may_be_replaced(endpoint: Endpoint, error: EngineUnreachable, *, is_root: bool) -> bool:
    """Whether another Engine may stand where this one is not: nobody has named it, and it is gone, or root sees that it has left its socket behind. Pure."""
    return endpoint.source == FOUND and (isinstance(error, EngineMissing) or is_root)


async def image_is_built() -> bool:
    """Whether the Engine has the node image that these sources make, by this machine's tools or in containers."""
    async with Engine.of(None).connect() as connection:
        for base_image in (None, build_images()[0]):
            if await find_built(connection, planned(base_image)):
                return True
    return False


def planned(base_image: str | None = None) -> Plan:
    """What is built, for this machine's architecture."""
    return plan_of(Options(base_image=base_image), default_architecture=native_architecture())


def build_images() -> tuple[str, str]:
    """Debian's and Go's own images to build in, of the suite that the pins say and the Go that the go.mod files ask for."""
    plan = planned()
    suite, (major, minor) = plan.pins.debian_suite, needed(plan.sources)
    return f"docker.io/library/debian:{suite}", f"docker.io/library/golang:{major}.{minor}-{suite}"


async def without_tools(tools: Sequence[Change]) -> list[str]:
    """Arguments to build in containers, if the Engine has the images for it or can pull them; else none, and the tools are installed.

    Raises: KindasyncError if neither can be.
    """
    base_image, go_image = build_images()
    try:
        async with Engine.of(None).connect() as connection:
            for image in (base_image, go_image):
                say(f"building in a container of {image}")
                await pull_missing(connection, image, on_line=say)
        return ["--base-image", base_image, "--go-image", go_image]
    except (ApiError, StreamFailed) as error:
        if os.geteuid() == 0 and shutil.which("apt-get"):
            say(f"the Engine cannot pull that: {error.why}")
            await apply(tools)
            return []
        raise KindasyncError(
            "the node image can be built neither in containers nor with this machine's tools",
            why=f"{error.what}: {error.why}\nwhat would be done instead needs root and apt-get: {tools[0].what}",
            hint="let the Engine pull from a registry, or as root install that, or run this",
        ) from error


def engine_changes(proc: Path = Path("/proc")) -> list[Change]:
    """What it takes to have an Engine here. Raises: EngineMissing for a user who may not make it."""
    there_is_one = shutil.which("dockerd")
    if os.geteuid() != 0 or not (there_is_one or shutil.which("apt-get")):
        raise EngineMissing(
            "no Docker Engine was found", why="installing one needs root and apt-get", hint="install and start Docker, or run this as root"
        )
    changes = []
    if not there_is_one:
        changes.append(install("docker.io", "iptables"))
    if needs_newer_engine(proc):
        packages = ("docker.io", "containerd")
        missing = [] if KEYRING.exists() else ["debian-archive-keyring"]
        missing += [] if mirror() or shutil.which("mmdebstrap") else ["mmdebstrap"]
        changes += [install(*missing)] if missing else []
        changes.append(
            Change(
                what=f"unpack Debian {NEWER_SUITE}'s {' and '.join(packages)} to {ENGINE_DIR}: this machine lacks CAP_SYS_RESOURCE, which older ones need",
                make=lambda: unpack_engine(packages),
            )
        )
    for name, wanted in (("max_user_instances", INOTIFY_INSTANCES * 2), ("max_user_watches", INOTIFY_WATCHES)):
        path = proc / "sys/fs/inotify" / name
        if int(path.read_text()) < wanted:
            changes.append(Change(what=f"sysctl fs.inotify.{name}={wanted}, until the next boot", make=write(path, wanted)))
    how = "by systemd" if systemd_runs() else f"in the background, logging to {ENGINE_LOG}"
    changes.append(Change(what=f"start dockerd {how}", make=start_engine))
    return changes


def needs_newer_engine(proc: Path) -> bool:
    """Whether the distribution's dockerd is, or would be, too old for this machine's capabilities."""
    status = (proc / "self/status").read_text()
    bounding = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapBnd:"))
    if bounding >> CAP_SYS_RESOURCE & 1 or (ENGINE_DIR / "usr/sbin/dockerd").exists():
        return False
    command = "dockerd --version" if shutil.which("dockerd") else "apt-cache policy docker.io"
    return is_too_old(subprocess.run(command.split(), capture_output=True, text=True, check=False).stdout)


def is_too_old(told: str) -> bool:
    """Whether that is so of the version that `dockerd --version`, or `apt-cache policy`, tells; also if it tells none. Pure."""
    major = told.partition("version " if "version " in told else "Candidate: ")[2].partition(".")[0]
    return not major.isdigit() or int(major) < OLDEST_FOR_MISSING_CAPABILITIES


async def unpack_engine(packages: Sequence[str]) -> None:
    """Unpack packages of a newer suite, beside those installed."""
    ENGINE_DIR.mkdir(parents=True, exist_ok=True)
    await unpack_packages(NEWER_SUITE, packages, ENGINE_DIR, on_line=say)


def build_tool_changes() -> list[Change]:
    """What building the node image needs here, and is not here."""
    architecture = planned().pins.architecture
    missing = [] if shutil.which("mmdebstrap") else ["mmdebstrap"]
    missing += [] if shutil.which(architecture.cc) else architecture.cc_packages
    missing += [] if KEYRING.exists() else ["debian-archive-keyring"]
    return [install(*missing)] if missing else []


def install(*packages: str) -> Change:
    """Install packages of the distribution."""

    async def make() -> None:
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        if not list(Path("/var/lib/apt/lists").glob("*Packages*")):
            subprocess.run(["apt-get", "update", "-qq"], check=True, env=env)
        subprocess.run(
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages], check=True, env=env, stdout=subprocess.DEVNULL
        )

    return Change(what=f"install, with apt-get: {' '.join(packages)}", make=make)


async def apply(changes: Sequence[Change]) -> None:
    """Say what will be changed, ask if there is somebody to ask, and change it."""
    if not changes:
        return
    say("this changes the machine:\n" + "\n".join(f"  - {change.what}" for change in changes))
    if not agreed():
        sys.exit("nothing was changed")
    for change in changes:
        say(change.what)
        await change.make()


def agreed() -> bool:
    """The user's answer to "may I?": --yes was given, or there is nobody to ask."""
    if "--yes" in sys.argv or not sys.stdin.isatty():
        return True
    try:
        return input("Go on? [Y/n] ").strip().lower() in ("", "y", "yes")
    except EOFError:
        return False


async def start_engine() -> None:
    """Start dockerd, and wait until it answers."""
    began = time.monotonic()
    process = None
    if systemd_runs():
        subprocess.run(["systemctl", "start", "docker"], check=True)
    else:
        env = {**os.environ, "PATH": f"{ENGINE_DIR}/usr/bin:{ENGINE_DIR}/usr/sbin:{os.environ['PATH']}"}
        dockerd = shutil.which("dockerd", path=env["PATH"])
        assert dockerd is not None  # it was installed
        with ENGINE_LOG.open("ab") as log:
            process = subprocess.Popen([dockerd], env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    while time.monotonic() - began < ENGINE_UP_S:
        try:
            async with Engine.of(None).connect():
                say(f"the Docker Engine is up after {time.monotonic() - began:.0f} s")
                return
        except EngineUnreachable:
            if process and process.poll() is not None:
                break
            await anyio.sleep(0.2)
    tail = "\n".join(ENGINE_LOG.read_text(errors="replace").splitlines()[-15:]) if ENGINE_LOG.exists() else ""
    raise EngineUnreachable("dockerd did not come up", why=f"no answer within {ENGINE_UP_S:g} s, or it ended", evidence=tail)


def systemd_runs() -> bool:
    """Whether systemd is this machine's init."""
    return Path("/run/systemd/system").is_dir()


def write(parameter: Path, value: int) -> Callable[[], Awaitable[None]]:
    """Set a kernel parameter."""

    async def make() -> None:
        parameter.write_text(str(value))

    return make


def say(text: str) -> None:
    """Tell the user, on stderr."""
    print(f"host: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
