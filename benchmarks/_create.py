"""Create and delete, beside the kind program: on the same node image, in turn, seen by one outside watcher.

kind is run with and without --wait. Each run is one line of JSON. Needs root's Docker socket, Go for kind, and the node image (`kindasync build node-image`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp

from benchmarks import _machine
from benchmarks._client import SAMPLE_S, Client
from benchmarks._programs import KINDASYNC, Program, Shape, default_image, programs
from benchmarks._records import Record, write
from benchmarks._watcher import POLL_S, USABLE, Watcher, containers, used
from kindasync.errors import leaves

SOCKET = "/var/run/docker.sock"
DEADLINE_S = 600


async def create(options: argparse.Namespace) -> list[Record]:
    """All runs, in turn: their records."""
    shape = Shape.parse(options.shape)
    clusters = tuple(f"bench-{number}" for number in range(1, options.clusters + 1))
    image = default_image()
    common = {
        "benchmark": "create",
        "session": datetime.now(UTC).isoformat(timespec="seconds"),
        "shape": str(shape),
        "clusters": options.clusters,
        **await _machine.facts(image),
    }
    records: list[Record] = []
    with TemporaryDirectory() as directory:
        there = [each for each in await programs(shape, clusters, image, Path(directory)) if each.name in (options.program or [each.name])]
        for index in range(options.warm_up + options.runs):
            turn = index % len(there)
            for program in there[turn:] + there[:turn]:  # none is always first, nor always after the same
                before = await _machine.before()
                seen = await observe(program, clusters, dns=options.dns)
                record = {**common, "program": program.name, "warm_up": index < options.warm_up, **before, **seen}
                write(record, options.json)
                records.append(record)
    return records


async def observe(program: Program, clusters: Sequence[str], *, dns: bool) -> Record:
    """One create, watched until all clusters are usable (and DNS is ready, if asked for) and the program has ended; then one delete."""
    record: Record = {"error": ""}
    connector = aiohttp.UnixConnector(SOCKET)
    async with aiohttp.ClientSession(connector=connector) as engine:
        try:
            async with asyncio.timeout(DEADLINE_S):
                await _create(engine, program, clusters, record, dns=dns)
            began = time.monotonic()
            subprocess.run(program.delete, check=True, capture_output=True)
            record["delete_s"] = round(time.monotonic() - began, 3)
        except (ExceptionGroup, RuntimeError, subprocess.CalledProcessError, TimeoutError) as error:
            record["error"] = "; ".join(str(each) or repr(each) for each in leaves(error))
        finally:
            for cluster in clusters:
                if await containers(engine, cluster):
                    record["error"] = record["error"] or f"{program.delete[0]} left containers of {cluster}"
                    subprocess.run([*KINDASYNC, "-q", "delete", "cluster", "--name", cluster], check=True)
    return record


async def _create(engine: aiohttp.ClientSession, program: Program, clusters: Sequence[str], record: Record, *, dns: bool) -> None:
    began, began_at, busy_s = time.monotonic(), time.time(), _machine.busy_s()
    watchers = [Watcher(engine, each, program.nodes, began=began, poll_s=POLL_S * len(clusters)) for each in clusters]
    clients = [Client(argv, env) for argv, env in program.create]

    async def sample() -> None:
        while True:
            _client_cpu_s(clients)
            await asyncio.sleep(SAMPLE_S)

    async def watch() -> None:
        async with asyncio.TaskGroup() as tasks:
            sampling = tasks.create_task(sample())
            async with asyncio.TaskGroup() as watching:
                for watcher in watchers:
                    watching.create_task(watcher.usable())
            sampling.cancel()
        record["usable_s"] = round(max(mark for watcher in watchers for name, mark in watcher.marks.items() if name in USABLE), 3)
        record["client"] = {"cpu_s": _client_cpu_s(clients), "memory_peak_bytes": sum(client.peak_bytes for client in clients)}
        record["machine_cpu_s"] = round(_machine.busy_s() - busy_s, 2)
        record["nodes"] = await used(engine, [each for cluster in clusters for each in await containers(engine, cluster)])
        if dns:
            async with asyncio.TaskGroup() as watching:
                for watcher in watchers:
                    watching.create_task(watcher.dns())
            record["dns_s"] = max(watcher.marks["dns"] for watcher in watchers)

    try:
        async with asyncio.TaskGroup() as tasks:
            for client in clients:
                tasks.create_task(client.ended())
            tasks.create_task(watch())
    finally:
        record["marks"] = {cluster: watcher.marks for cluster, watcher in zip(clusters, watchers, strict=True)}
        record["phases"] = [phase for client in clients for phase in _phases(client.output, began_at)]


def _client_cpu_s(clients: Sequence[Client]) -> float:
    return round(sum(client.sample() for client in clients), 2)


def _phases(output: str, began_at: float) -> Iterator[dict[str, Any]]:
    """The events that ours printed: what, in which node, when (by the watcher's clock), and how long it took."""
    for line in output.splitlines():
        with suppress(json.JSONDecodeError):
            event: Mapping[str, Any] = json.loads(line)
            detail = event.get("phase") or event.get("manifest") or (f"{event['subject']} {event['state']}" if "state" in event else "")
            yield {
                "what": f"{event['event']} {detail}".strip(),
                "node": event["node"] or event["cluster"],
                "at_s": round(datetime.fromisoformat(event["time"]).timestamp() - began_at, 3),
                "took_s": event.get("duration_s"),
            }
