"""Claim a cluster from a pool: seconds until it can be used, of clusters that were frozen for over a minute, one after the other.

The clock starts when the library is called. Each cluster is deleted before the next is claimed.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

from benchmarks import _machine
from benchmarks._programs import OURS, default_image
from benchmarks._records import Record, write
from kindasync import Cluster
from kindasync.cluster._api import ClusterApi, api_client
from kindasync.cluster._readiness import condition_of

POOL = "bench"
FROZEN_S = 190.0  # longer than any part of Kubernetes waits for a sign of life: the kubelet 3 min for its look at the pods
_PAUSE = {"name": "main", "image": "kindasync/busybox:trixie", "imagePullPolicy": "Never", "command": ["sleep", "1000"]}


async def claim(options: argparse.Namespace) -> list[Record]:
    """All runs: their records."""
    facts = await _machine.facts(default_image())
    common = {"benchmark": "claim", "session": datetime.now(UTC).isoformat(timespec="seconds"), "shape": "1+0", **facts}
    records: list[Record] = []
    try:
        await Cluster.fill_pool(POOL, size=options.warm_up + options.runs, wait_s=600)
        await asyncio.sleep(FROZEN_S)
        for index in range(options.warm_up + options.runs):
            before = await _machine.before()
            figures = await claim_once()
            records.append({**common, "program": OURS, "warm_up": index < options.warm_up, **before, "error": "", **figures})
            write(records[-1], options.json)
    finally:
        await Cluster.delete_pool(POOL)
    return records


async def claim_once() -> dict[str, float]:
    """Seconds until a ConfigMap was written and read; a pod was placed, too; a new namespace had its default ServiceAccount. And of the delete."""
    began = time.monotonic()
    cluster = await Cluster.claim(POOL)
    figures = {}
    try:
        async with api_client(cluster.kubeconfig) as session:
            api = ClusterApi(session)
            await api.request("POST", "/api/v1/namespaces/default/configmaps", _named("ConfigMap"))
            await api.request("GET", "/api/v1/namespaces/default/configmaps/bench")
            figures["api_s"] = time.monotonic() - began
            await api.request("POST", "/api/v1/namespaces/default/pods", _named("Pod") | {"spec": {"containers": [_PAUSE]}})
            await api.request("POST", "/api/v1/namespaces", _named("Namespace"))
            async with aclosing(api.observe("/api/v1/namespaces/default/pods")) as states:
                async for pods in states:
                    if any(condition_of(pod, "PodScheduled").get("status") == "True" for pod in pods):
                        break
            figures["usable_s"] = time.monotonic() - began
            async with aclosing(api.observe("/api/v1/namespaces/bench/serviceaccounts")) as states:
                async for accounts in states:
                    if accounts:
                        break
            figures["account_s"] = time.monotonic() - began
    finally:
        ended = time.monotonic()
        await cluster.delete()
        figures["delete_s"] = time.monotonic() - ended
    return {name: round(seconds, 3) for name, seconds in figures.items()}


def _named(kind: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": "bench"}}
