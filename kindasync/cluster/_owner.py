"""Owner: a process that makes clusters, named so that another process can tell whether it still lives."""

from __future__ import annotations

import os
import socket
import sys
from enum import StrEnum
from hashlib import sha256
from pathlib import Path


class Fate(StrEnum):
    """What has become of an owner. unknown: it cannot be told from here."""

    LIVES = "lives"
    ENDED = "ended"
    UNKNOWN = "unknown"


def owner(pid: int | None = None) -> str:
    """`host+machine/boot/namespace/pid/start` of this process, or of another one here; empty if there is none. What is not to be had (no /proc) is empty."""
    pid = os.getpid() if pid is None else pid
    start = _start(pid)
    if start is None:
        return ""
    return "/".join((_host(), _read(Path("/proc/sys/kernel/random/boot_id")), _namespace(), str(pid), start))


def has_ended(name: str) -> bool:
    """Whether the process that is named so is known to have ended; of what is no such name, nothing is."""
    return fate_of(name) is Fate.ENDED


def fate_of(name: str) -> Fate:
    """What has become of the process that is named so."""
    match name.split("/"):
        case [_, _, _, pid, _] if pid.isdecimal():
            return fate(name, owner(int(pid)), here=owner())
    return Fate.UNKNOWN


def fate(then: str, now: str, *, here: str) -> Fate:
    """What has become of the process `then`, when the one that has its number now is `now` (empty: none has), and we are `here`.

    Processes can be told from each other on one host and in one PID namespace: containers count from 1 again. A host that has
    another boot ID has been started anew since; or it is another one of that name, where it has no ID.
    """
    host, boot, namespace, *_ = then.split("/")
    own_host, own_boot, own_namespace, *_ = here.split("/")
    if (host, namespace) != (own_host, own_namespace) or (host.endswith("+") and boot != own_boot):
        return Fate.UNKNOWN
    # One of another user may not say when it was started (hidepid, proc(5)): it is taken for the same.
    lives = now and (then == now or (now.endswith("/") and then.startswith(now)))
    return Fate.LIVES if lives else Fate.ENDED


def _start(pid: int) -> str | None:
    """When a process was started, in ticks since the boot (proc(5)); None if it has ended, though nobody may have waited for it yet."""
    if sys.platform != "win32":
        try:
            os.kill(pid, 0)
        except (ProcessLookupError, OverflowError):
            return None
        except PermissionError:
            pass
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    if fields[:1] in (["Z"], ["X"]):
        return None
    return fields[19] if len(fields) > 19 else ""


def _host() -> str:
    """Its name, which others may have, too, and what tells it from those. The machine's ID itself is nobody's business (machine-id(5))."""
    machine = _read(Path("/etc/machine-id"))
    digest = sha256(f"kindasync {machine}".encode()).hexdigest()[:8] if machine else ""
    return f"{socket.gethostname()}+{digest}"


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        return ""


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
