"""Programs: the e2e suite, ginkgo, kubectl and what the test images run, from the sources that upstream makes them of."""

from __future__ import annotations

import tarfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from platformdirs import user_cache_path

from kindasync.build import _go
from kindasync.build._debian import KEYRING, _default_mirror, mirror
from kindasync.build._pins import Pins
from kindasync.build._sources import key_of
from kindasync.build._steps import Cache
from kindasync.build._workshop import Here

SOURCES = Path(__file__).parent / "programs"
# What the tests call in the images that upstream makes from Alpine and Debian, beside busybox' applets.
PACKAGES = (
    "bash",
    "bind9-dnsutils",
    "curl",
    "iperf",
    "iproute2",
    "libc-bin",
    "netbase",
    "netcat-openbsd",
    "nginx",
    "socat",
    "util-linux",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """Directories of what was built, and the packages of a Debian suite as a tar file."""

    e2e: Path
    sample_apiserver: Path
    busybox: Path
    debian: Path


async def build_programs(pins: Pins) -> Programs:
    """Build what is not in the cache. On two idle cores the e2e suite takes some ten minutes where the node image was built before.

    Raises: BuildFailed.
    """
    cache = Cache(user_cache_path("kindasync") / "conformance")
    arch, suite, script = pins.architecture.name, pins.debian_suite, SOURCES / "build"

    async def step(name: str, key: str, make: Callable[[Path], Awaitable[None]]) -> Path:
        if not cache.has(name, key):
            print(f"building {name} …", flush=True)
            with cache.scratch(name) as scratch:
                await make(scratch)
                cache.store(scratch, name, key)
        return cache.entry(name, key)

    async def go_program(name: str, out: Path) -> None:
        env = await _go.environment(cache, pins, on_line=_ignore)
        env |= {"ARCH": arch, "KUBERNETES": pins.kubernetes, "KUBERNETES_MINOR": pins.minor}
        await Here(SOURCES, out).run(f"build {name}", ["{sources}/build", name, "{out}"], env=env, on_line=_ignore)

    async def busybox(out: Path) -> None:
        source = mirror() or await _default_mirror("get busybox", suite)
        env = {"ARCH": arch, "SUITE": suite, "MIRROR": source, "KEYRING": str(KEYRING)}
        await Here(SOURCES, out).run("build busybox", ["{sources}/build", "busybox", "{out}"], env=env, on_line=_ignore)

    programs = Programs(
        e2e=await step("e2e", key_of(pins.kubernetes, arch, files=[SOURCES / "e2e", script]), partial(go_program, "e2e")),
        sample_apiserver=await step(
            "sample-apiserver", key_of(arch, files=[SOURCES / "sample-apiserver", script]), partial(go_program, "sample-apiserver")
        ),
        busybox=await step("busybox", key_of(suite, arch, files=[script]), busybox),
        debian=await step("debian", key_of(suite, arch, *PACKAGES), partial(_unpacked_packages, suite, arch)),
    )
    cache.forget_unused()
    return programs


async def _unpacked_packages(suite: str, arch: str, out: Path) -> None:
    """PACKAGES and all they depend on as one tar file: unpacked, nothing installed."""
    argv = ["mmdebstrap", "--quiet", "--variant=extract", f"--architectures={arch}", f"--include={','.join(PACKAGES)}"]
    argv += [f"--keyring={KEYRING}"] if KEYRING.exists() else []
    argv += ['--aptopt=Apt::Install-Recommends "false"', "--skip=output/dev", suite, "{out}/debian.tar"]
    with TemporaryDirectory(dir=out.parent) as scratch:
        await Here(Path(), Path(scratch)).run("get Debian packages", [*argv, *filter(None, [mirror()])], env={}, on_line=_ignore)
        (Path(scratch) / "debian.tar").rename(out)
    assert tarfile.is_tarfile(out)


def _ignore(line: str) -> None:
    """A line of a program's output; the last ones are in the error, should it fail."""
