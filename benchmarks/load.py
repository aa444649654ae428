"""Load an image into the nodes of a cluster, beside the kind program: fresh images each time, in turn, in one run.

    nox -s bench -- load [--runs 5 --json record.json]

The cluster has one control plane and two workers. Each image is new to Engine and nodes: one layer that cannot be compressed. What was
written before is on the disk before the clock starts, and after it stopped each node has to have the image's ID under its name.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tarfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from kindasync import Cluster, Engine, __version__
from kindasync.docker.images import image_import, image_inspect, image_remove
from kindasync.docker.system import system_info

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.cluster.kind_program import VERSION, kind_program

_PIECE_BYTES = 4 * 1024 * 1024


def main() -> None:
    """Run and print; the exit code is 0 whatever the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="of each program (default 5)")
    parser.add_argument("--warm-up", type=int, default=1, help="runs of each that are not counted (default 1)")
    parser.add_argument("--workers", type=int, default=2, help="beside the control plane (default 2)")
    parser.add_argument("--mb", type=int, default=300, help="the image's size in millions of bytes (default 300)")
    parser.add_argument("--image", default="", help="the node image, instead of the default")
    parser.add_argument("--json", type=Path, help="write all runs to this file")
    asyncio.run(compare(parser.parse_args()))


async def compare(options: argparse.Namespace) -> None:
    """All runs, in turn, and their summary."""
    programs = {"kindasync": [sys.executable, "-m", "kindasync"], "kind": [str(kind_program())]}
    nodes = [{"role": "control-plane"}, *[{"role": "worker"}] * options.workers]
    config = {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "nodes": nodes}
    times: dict[str, list[float]] = {name: [] for name in programs}
    async with Cluster.running(config, image=options.image) as cluster:
        for index in range(options.warm_up + options.runs):
            order = list(programs.items())
            for name, command in order if index % 2 else reversed(order):
                taken = await load_once(cluster, command, f"kindasync-bench/{name}:{index}", options.mb * 1_000_000)
                if index >= options.warm_up:
                    times[name].append(taken)
                    print(f"{name:<12} {taken:6.2f} s", flush=True)
        async with cluster.engine.connect() as connection:
            engine = await system_info(connection)
    record = {
        "versions": {"kindasync": __version__, "kind": VERSION, "engine": engine.version, "python": platform.python_version()},
        "machine": {"cores": os.cpu_count(), "kernel": platform.release(), "storage": engine.storage_driver},
        "image_bytes": options.mb * 1_000_000,
        "nodes": len(nodes),
        "programs": {name: {"median_s": round(statistics.median(each), 2), "runs_s": each} for name, each in times.items()},
        "ratio": round(statistics.median(times["kindasync"]) / statistics.median(times["kind"]), 3),
    }
    print(table(record))
    if options.json:
        options.json.write_text(json.dumps(record, indent=1))


async def load_once(cluster: Cluster, command: list[str], reference: str, size_bytes: int) -> float:
    """Seconds that a program takes to load a fresh image; the image is gone afterwards."""
    async with Engine.of(None).connect() as connection:
        await image_import(connection, _file_system(size_bytes), reference)
        image = await image_inspect(connection, reference)
        os.sync()
        try:
            began = time.monotonic()
            process = await asyncio.create_subprocess_exec(
                *command, "load", "docker-image", reference, "--name", cluster.name, stderr=subprocess.PIPE
            )
            _, stderr = await process.communicate()
            taken = time.monotonic() - began
            if process.returncode:
                raise RuntimeError(f"{command[0]} failed:\n{stderr.decode()}")
            for node in cluster.nodes:
                listed = json.loads((await node.exec(["crictl", "images", "-o", "json"])).text)
                if not any(each["id"] == image.id and f"docker.io/{reference}" in each["repoTags"] for each in listed["images"]):
                    raise RuntimeError(f"{node.name} does not have {reference} as {image.id}: {listed}")
                await node.exec(["ctr", "--namespace=k8s.io", "images", "rm", "--sync", f"docker.io/{reference}", image.id])
        finally:
            await image_remove(connection, reference)
    return round(taken, 3)


async def _file_system(size_bytes: int) -> AsyncIterator[bytes]:
    """A tar of one file that cannot be compressed, as a stream."""
    file = tarfile.TarInfo("content")
    file.size = size_bytes
    yield file.tobuf()
    for begin in range(0, size_bytes, _PIECE_BYTES):
        yield os.urandom(min(_PIECE_BYTES, size_bytes - begin))
    yield bytes(-size_bytes % tarfile.BLOCKSIZE + 2 * tarfile.BLOCKSIZE)


def table(record: dict[str, Any]) -> str:
    """The summary, for people."""
    lines = [f"\n{'':<12} {'median':>8} {'min':>7} {'max':>7}"]
    for name, each in record["programs"].items():
        lines.append(f"{name:<12} {each['median_s']:>6.2f} s {min(each['runs_s']):>7.2f} {max(each['runs_s']):>7.2f}")
    size = record["image_bytes"] // 1_000_000
    lines.append(f"\n{size} MB into {record['nodes']} nodes: {record['ratio']:.2f} x kind")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
