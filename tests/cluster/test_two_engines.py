"""Two Engines in one process, a cluster of the same name on each. Run by `nox -s remote`, where DOCKER_HOST names the other one."""

from __future__ import annotations

import os
from typing import Any

import anyio
import pytest
from kubernetes_asyncio.client import CoreV1Api

from kindasync import Cluster, ClusterNotFound, Engine
from tests.cluster.remote import LOCAL

pytestmark = [pytest.mark.anyio, pytest.mark.remote]


async def test_nothing_mixes(name: str) -> None:
    """Made at once, used side by side, deleted one by one."""
    clusters: dict[str, Cluster] = {}
    local = os.environ[LOCAL]

    async def make(which: str, engine: Engine) -> None:
        clusters[which] = await Cluster.create(name, engine=engine)

    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(make, "here", Engine.of(local))
            tasks.start_soon(make, "there", Engine.of(None))
        here, there = clusters["here"], clusters["there"]
        await note(here, "here")

        assert await notes(here) == {"here"}
        assert await notes(there) == set()
        assert here.kubeconfig_path != there.kubeconfig_path
        assert (await Cluster.get(name, engine=local)).kubeconfig == here.kubeconfig
        assert (await Cluster.get(name)).kubeconfig == there.kubeconfig

        await here.delete()

        with pytest.raises(ClusterNotFound):
            await Cluster.get(name, engine=local)
        assert await notes(there) == set()
    finally:
        for cluster in clusters.values():
            await cluster.delete()


async def note(cluster: Cluster, name: str) -> None:
    """Leave a ConfigMap."""
    body: Any = {"metadata": {"name": name, "labels": {"test": "note"}}}
    async with cluster.client() as api:
        await CoreV1Api(api).create_namespaced_config_map("default", body)


async def notes(cluster: Cluster) -> set[str]:
    """The ConfigMaps that were left."""
    async with cluster.client() as api:
        found = await CoreV1Api(api).list_namespaced_config_map("default", label_selector="test=note")
        return {each.metadata.name for each in found.items}
