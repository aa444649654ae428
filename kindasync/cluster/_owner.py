"""Owner: a process that makes clusters, named so that another process can tell whether it still lives."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path


def owner(pid: int | None = None) -> str:
    """`host/boot/pid/start` of this process, or of another one here; empty if there is none. Without /proc, boot and start are empty."""
    pid = os.getpid() if pid is None else pid
    start = _start(pid)
    return "" if start is None else f"{socket.gethostname()}/{_read(Path('/proc/sys/kernel/random/boot_id'))}/{pid}/{start}"


def has_ended(owner_: str) -> bool:
    """Whether the process that is named so is known to have ended; of what is no such name, nothing is."""
    match owner_.split("/"):
        case [_, _, pid, _] if pid.isdigit():
            return gone(owner_, owner(int(pid)), here=owner())
    return False


def gone(owner_: str, now: str, *, here: str) -> bool:
    """Whether a process has ended, when the one that has its number now is `now` and we are `here`. What lives on another host cannot be told."""
    return owner_ != now and owner_.partition("/")[0] == here.partition("/")[0]


def _start(pid: int) -> str | None:
    """When a process started, in ticks since boot (proc(5), starttime); None if it has ended, though nobody may have waited for it yet."""
    if Path("/proc/self/stat").exists():
        fields = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
        return fields[19] if len(fields) > 19 and fields[0] not in ("Z", "X") else None
    with suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
    return ""


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
