"""Owner: the process that makes a cluster, named so that another process can tell whether it still lives."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def owner() -> str:
    """`host/boot/pid/start`: where a part is not to be had (no /proc), it is empty."""
    boot = _read(Path("/proc/sys/kernel/random/boot_id"))
    fields = _read(Path(f"/proc/{os.getpid()}/stat")).rpartition(")")[2].split()
    start = fields[19] if len(fields) > 19 else ""  # proc(5): starttime, in ticks since boot
    return f"{socket.gethostname()}/{boot}/{os.getpid()}/{start}"


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
