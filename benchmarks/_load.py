"""Load an image into the nodes of a cluster, beside the kind program: fresh images each time, in turn, in one run.

The cluster has one control plane and two workers. Each image is new to Engine and nodes: one layer that cannot be compressed. What was
written before is on the disk before the clock starts, and after it stopped each node has to have the image's ID under its name.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import tarfile
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from benchmarks import _machine
from benchmarks._programs import KINDASYNC, default_image
from benchmarks._records import Record, write
from kindasync import Cluster, Engine
from kindasync.docker.images import image_import, image_inspect, image_remove
from tests.cluster.kind_program import kind_program

_PIECE_BYTES = 4 * 1024 * 1024


async def load(options: argparse.Namespace) -> list[Record]:
    """All runs, in turn: their records."""
    programs = {"kindasync": [*KINDASYNC], "kind": [str(kind_program())]}
    nodes = [{"role": "control-plane"}, *[{"role": "worker"}] * options.workers]
    config = {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "nodes": nodes}
    size_bytes = options.mb * 1_000_000
    records: list[Record] = []
    async with Cluster.running(config, image=options.image) as cluster:
        common = {
            "benchmark": "load",
            "session": datetime.now(UTC).isoformat(timespec="seconds"),
            "shape": f"1+{options.workers}",
            "size_bytes": size_bytes,
            **await _machine.facts(options.image or default_image()),
        }
        for index in range(options.warm_up + options.runs):
            order = list(programs.items())
            for name, command in order if index % 2 else reversed(order):
                before = await _machine.before()
                taken = await load_once(cluster, command, f"kindasync-bench/{name}:{index}", size_bytes)
                records.append({**common, "program": name, "warm_up": index < options.warm_up, **before, "error": "", "taken_s": taken})
                write(records[-1], options.json)
    return records


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
