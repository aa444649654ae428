"""Pools of real clusters: each is claimed once, by whichever process, within a second; and then it is as any other."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from kindasync import Cluster
from kindasync.cluster._api import ClusterApi, api_client
from kindasync.cluster._readiness import node_state
from kindasync.errors import PoolEmpty
from tests.cluster.conftest import look, pod, run_cli

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]
# Longer than a kubelet waits for a sign of life of its runtime (30 s), the controller-manager for one of a node (50 s), and a kubelet for its look at pods (3 min).
FROZEN_S = 190.0
SEEN_S = 20.0  # nodes are looked after every 5 s, and tell how they are every 10 s


@pytest.fixture
async def pool(name: str, own_home: Path) -> AsyncIterator[str]:
    """The name of a pool; afterwards nothing of it is left."""
    yield name
    for each in await Cluster.pools():
        if each.name == name:
            await Cluster.delete_pool(name)
            for claimed in each.claimed:
                await (await Cluster.get(claimed)).delete()


async def claim(pool: str) -> subprocess.CompletedProcess[str]:
    """By the command, in a process of its own."""
    return await anyio.to_thread.run_sync(lambda: run_cli("pool", "claim", pool))


async def lapses(cluster: Cluster, seconds: float) -> list[str]:
    """The states, but for Ready, and taints in which the nodes are seen while so many seconds pass."""
    seen = []
    async with api_client(cluster.kubeconfig) as session:
        with anyio.move_on_after(seconds):
            async with aclosing(ClusterApi(session).observe("/api/v1/nodes")) as states:
                async for nodes in states:
                    for node in nodes:
                        state, ready = node_state(node)
                        taints = [taint["key"] for taint in node["spec"].get("taints") or () if "control-plane" not in taint["key"]]
                        if not ready or taints:
                            seen.append(f"{state} {taints}")
    return seen


@pytest.mark.parametrize("frozen_s", [0.0, pytest.param(FROZEN_S, marks=pytest.mark.stress)])
async def test_two_processes_claim_two(pool: str, own_home: Path, frozen_s: float) -> None:
    """Parked, for minutes too, and claimed by two processes at once: both have one of their own, with keys of its own, in which pods run and nodes stay Ready."""
    made = await Cluster.fill_pool(pool, size=2, wait_s=300)
    await anyio.sleep(frozen_s)
    ended: list[subprocess.CompletedProcess[str]] = []

    async def note() -> None:
        ended.append(await claim(pool))

    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(note)
    assert [each.returncode for each in ended] == [0, 0], [each.stderr for each in ended]
    names = [each.stdout.strip() for each in ended]
    clusters = [await Cluster.get(name) for name in names]
    async with anyio.create_task_group() as tasks:
        for cluster in clusters:
            tasks.start_soon(is_as_any_other, cluster)
    third = await claim(pool)
    async with clusters[0].nodes[0].paused():
        with pytest.raises(PoolEmpty):
            await Cluster.claim(pool)

    assert sorted(names) == sorted(made)
    assert (third.returncode, third.stdout) == (1, "")
    assert f'ERROR: pool "{pool}" has no parked cluster' in third.stderr
    for field in ("server", "certificate-authority-data"):
        assert len({each.kubeconfig["clusters"][0]["cluster"][field] for each in clusters}) == 2
    assert len({json.dumps(each.kubeconfig["users"][0]["user"]) for each in clusters}) == 2
    for name in names:
        assert run_cli("delete", "cluster", "--name", name).returncode == 0
    assert await left(pool, own_home) == set()


async def left(pool: str, home: Path) -> set[str]:
    """Containers and files of a pool's clusters: others may be at work on this Engine."""
    there = await look(home)
    return {each for each in (*there.containers, *there.files) if f"pool-{pool}-" in each}


async def is_as_any_other(cluster: Cluster) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(uses_it, cluster)
        assert await lapses(cluster, SEEN_S) == []


async def uses_it(cluster: Cluster) -> None:
    """A namespace gets its ServiceAccount, and a pod runs."""
    await cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "claimed"}})
    await cluster.wait_for("serviceaccount/default", "exists", namespace="claimed", timeout_s=10)
    await cluster.apply(pod("first", ["true"], tolerations=[{"operator": "Exists"}]), namespace="claimed")
    await cluster.wait_for("pod/first", "jsonpath={.status.phase}=Succeeded", namespace="claimed")


async def test_deleting_a_pool(pool: str, own_home: Path) -> None:
    """Nothing of the parked ones is left."""
    await Cluster.fill_pool(pool, size=1, wait_s=300)

    deleted = await Cluster.delete_pool(pool)

    assert len(deleted) == 1
    assert await left(pool, own_home) == set()


THREE = {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "nodes": [{"role": "control-plane"}] * 3}


@pytest.mark.stress
async def test_three_control_planes(pool: str) -> None:
    """Whoever led has lost that meanwhile: others do, and all nodes stay Ready."""
    await Cluster.fill_pool(pool, size=1, config=THREE, wait_s=500)
    await anyio.sleep(FROZEN_S)

    cluster = await Cluster.claim(pool)

    assert len(cluster.nodes) == 3
    await is_as_any_other(cluster)
