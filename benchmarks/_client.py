"""The client: a program that runs on this machine, and what it and its children use of it."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
SAMPLE_S = 0.2


class Client:
    """Starts a program. `peak_bytes`: the most that it and its children held at the same time (resident, shared pages counted for each)."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str]) -> None:
        self.argv = argv
        self.peak_bytes = 0
        self._output, self._errors = TemporaryFile(), TemporaryFile()  # noqa: SIM115  # closed when it is forgotten
        self._process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=self._output, stderr=self._errors, env={**os.environ, **env}
        )
        self._ended_cpu_s: float | None = None

    async def ended(self) -> None:
        """Wait for its end. Raises: RuntimeError with what it said, if it failed. Cancellation: it gets SIGTERM, and is waited for."""
        ended = asyncio.Event()
        descriptor = os.pidfd_open(self._process.pid)
        asyncio.get_running_loop().add_reader(descriptor, ended.set)
        try:
            await ended.wait()
        except asyncio.CancelledError:
            self._process.terminate()
            await ended.wait()
            raise
        finally:
            asyncio.get_running_loop().remove_reader(descriptor)
            os.close(descriptor)
            _, status, usage = os.wait4(self._process.pid, 0)
            self._process.returncode = os.waitstatus_to_exitcode(status)
            self._ended_cpu_s = usage.ru_utime + usage.ru_stime  # its own, and that of all children that it waited for
        if self._process.returncode:
            raise RuntimeError(f"{' '.join(self.argv)} failed:\n{self._said(self._errors)}")

    @property
    def output(self) -> str:
        """What it printed on stdout so far."""
        return self._said(self._output)

    def sample(self) -> float:
        """Core-seconds used so far; and `peak_bytes` is brought up to date."""
        if self._ended_cpu_s is not None:
            return self._ended_cpu_s
        cpu_s, held = 0.0, 0
        for pid, stat in _tree(self._process.pid):
            cpu_s += sum(map(int, stat[11:15])) / _TICKS  # utime, stime, and both of children waited for: proc_pid_stat(5)
            held += int(stat[21]) * _PAGE_BYTES
            if pid == self._process.pid:
                self.peak_bytes = max(self.peak_bytes, _most_resident(pid))
        self.peak_bytes = max(self.peak_bytes, held)
        return cpu_s

    @staticmethod
    def _said(file: object) -> str:
        assert hasattr(file, "fileno")
        return Path(f"/proc/self/fd/{file.fileno()}").read_text(errors="replace")


def _tree(root: int) -> Iterator[tuple[int, list[str]]]:
    """A process and its descendants, each with the fields of its stat from the third on."""
    stats: dict[int, list[str]] = {}
    children: defaultdict[int, list[int]] = defaultdict(list)
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            stat = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        pid = int(path.parent.name)
        stats[pid] = stat
        children[int(stat[1])].append(pid)
    pending = [root]
    while pending:
        pid = pending.pop()
        if pid in stats:
            yield pid, stats[pid]
        pending += children[pid]


def _most_resident(pid: int) -> int:
    """VmHWM, in bytes; 0 for a process that has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)
