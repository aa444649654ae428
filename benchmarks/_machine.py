"""The machine: what a figure was measured on, and how much else it did."""

from __future__ import annotations

import asyncio
import os
import platform
import time
from pathlib import Path
from typing import Any

from kindasync import Engine, __version__
from kindasync.docker.images import image_inspect
from kindasync.docker.system import system_info
from tests.cluster.kind_program import VERSION

LOOK_S = 1.0
_TICKS = os.sysconf("SC_CLK_TCK")


async def facts(image: str) -> dict[str, Any]:
    """What stays the same from run to run: versions, and the Engine's host."""
    async with Engine.of(None).connect() as connection:
        engine = await system_info(connection)
        image_id = (await image_inspect(connection, image)).id
    models = [line.partition(": ")[2] for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "versions": {"kindasync": __version__, "kind": VERSION, "python": platform.python_version(), "image": image, "image_id": image_id},
        "machine": {
            "cores": engine.cpus,
            "processor": next(iter(models), platform.machine()),
            "memory_bytes": engine.memory_bytes,
            "kernel": engine.kernel,
            "engine": f"{engine.product} {engine.version}",
            "storage": engine.storage_driver,
            "cgroup": engine.cgroup_version,
        },
    }


def busy_s() -> float:
    """Core-seconds that all processes of this machine have used since it started. Source: proc_stat(5)."""
    user, nice, system, _idle, _iowait, irq, softirq, *_ = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:])
    return (user + nice + system + irq + softirq) / _TICKS


async def before() -> dict[str, Any]:
    """What others do before a run: the load average, and the cores in use during LOOK_S. The first also has what our last run left in it."""
    began, used = time.monotonic(), busy_s()
    await asyncio.sleep(LOOK_S)
    return {"load": [round(each, 2) for each in os.getloadavg()], "cores_in_use": round((busy_s() - used) / (time.monotonic() - began), 2)}
