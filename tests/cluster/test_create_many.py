"""Many real clusters in one call: each has its own outcome, and cancelling the call removes all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from kubernetes_asyncio.client import CoreV1Api

from kindasync import Cluster, ConfigInvalid, Engine, KindasyncError, events
from kindasync.cluster._shares import share_argv
from kindasync.config import ClusterConfig, NodeConfig, Role
from kindasync.docker.containers import container_kill
from kindasync.docker.system import system_info
from kindasync.errors import BootFailed, StepFailed
from kindasync.events import Event
from tests.cluster.conftest import look

pytestmark = [pytest.mark.anyio, pytest.mark.stress, pytest.mark.timeout(900)]


def six(name: str) -> list[ClusterConfig]:
    return [ClusterConfig(name=f"{name}-{number}") for number in range(6)]


def at(kind: type[Event], cluster: str, act: Callable[[], Any]) -> Callable[[Event], Any]:
    """A listener that does something at one event of a cluster."""

    async def listen(event: Event) -> None:
        if isinstance(event, kind) and event.cluster == cluster:
            await act()

    return listen


async def test_six_of_which_two_fail(name: str, own_home: Path) -> None:
    """One configuration is bad, and one node is killed midway: four can be used, two are typed errors, and nothing of those is left."""
    before = await look(own_home)
    configs = six(name)
    configs[1] = ClusterConfig(name=f"{name}-1", nodes=(NodeConfig(role=Role.WORKER),))

    async def kill() -> None:
        async with Engine.of(None).connect() as connection:
            await container_kill(connection, f"{name}-4-control-plane", "SIGKILL")

    results = await Cluster.create_many(configs, wait_s=600, on_event=at(events.RuntimeReady, f"{name}-4", kill))
    try:
        clusters = [each for each in results if isinstance(each, Cluster)]
        errors = [each for each in results if isinstance(each, KindasyncError)]
        there = await look(own_home)
        async with Engine.of(None).connect() as connection:
            facts = await system_info(connection)
        for cluster in clusters:
            async with cluster.client() as api:
                (node,) = (await CoreV1Api(api).list_node()).items
                assert node.metadata.name == f"{cluster.name}-control-plane"
            *_, usual, path = share_argv(facts.cgroup_version, few=False)
            assert (await cluster.nodes[0].exec(["cat", path])).text.strip() == usual
    finally:
        async with anyio.create_task_group() as tasks:
            for cluster in clusters:
                tasks.start_soon(cluster.delete)

    assert [each.name for each in clusters] == [f"{name}-{number}" for number in (0, 2, 3, 5)]
    assert [type(each) for each in errors] == [ConfigInvalid, StepFailed]
    assert any(isinstance(each, BootFailed) for each in getattr(errors[1], "failures", ()))
    assert there.containers - before.containers == {f"{each.name}-control-plane" for each in clusters}
    assert not [path for path in there.files if f"{name}-1" in path or f"{name}-4" in path]
    assert await look(own_home) == before


async def test_cancelling_removes_all(name: str, own_home: Path) -> None:
    """Finished ones, and those that are on their way."""
    before = await look(own_home)

    with anyio.CancelScope() as scope:

        async def cancel() -> None:
            scope.cancel()

        await Cluster.create_many(six(name), wait_s=600, limit=3, on_event=at(events.NodePaused, f"{name}-4", cancel))

    assert scope.cancelled_caught
    assert await look(own_home) == before
