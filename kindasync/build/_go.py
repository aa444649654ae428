"""Go: a toolchain that is new enough, the machine's own or Debian's."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import anyio

from kindasync.build._debian import unpack_packages
from kindasync.build._pins import Pins
from kindasync.build._sources import key_of
from kindasync.build._steps import Cache
from kindasync.build._workshop import OnLine

# From 1.21 on, a toolchain fetches the newer one that a go.mod asks for, through the module proxy.
_SWITCHES_FROM = (1, 21)


def needed(sources: Path) -> tuple[int, int]:
    """The newest Go (major, minor) that a module of the node image asks for."""
    versions = [_version(path.read_text()) for path in sources.glob("*/*.mod")]
    return max(version for version in versions if version)


def _version(text: str) -> tuple[int, int] | None:
    found = re.search(r"(?m)\bgo\s?(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None


async def environment(cache: Cache, pins: Pins, *, on_line: OnLine) -> dict[str, str]:
    """What to add to the environment so that `go` is new enough: the switch to a newer toolchain, before which may have to stand the suite's own Go.

    The switch is for Go of this machine that is new, too: a go.mod may ask for a later patch, and many are told never to fetch one.
    Raises: BuildFailed if there is none and none can be had.
    """
    switch = {"GOTOOLCHAIN": "auto"}
    go = shutil.which("go")
    if go:
        have = _version((await anyio.run_process([go, "version"], check=False)).stdout.decode())
        if have and have >= _SWITCHES_FROM:
            return switch
    key = key_of(pins.debian_suite, *pins.go_packages)
    if not cache.has("golang", key):
        with cache.scratch("golang") as scratch:
            await unpack_packages(pins.debian_suite, pins.go_packages, scratch, on_line=on_line)
            cache.store(scratch, "golang", key)
    root = next(cache.entry("golang", key).glob("usr/lib/go-*"))
    return {"PATH": f"{root}/bin{os.pathsep}{os.environ.get('PATH', os.defpath)}", **switch}
