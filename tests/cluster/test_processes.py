"""Several processes at once: each has its own cluster, or learns that another has it; what they share stays whole."""

from __future__ import annotations

import subprocess
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
import yaml
from kubernetes_asyncio.client import CoreV1Api

from kindasync import Cluster, Engine
from kindasync.docker.containers import container_list
from tests.cluster.conftest import run_cli

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]
PROCESSES = 8
ROUNDS = 5
WATCH_S = 0.01


async def command(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """The command, in a process of its own."""
    return await anyio.to_thread.run_sync(lambda: run_cli(*arguments, env=env), limiter=anyio.CapacityLimiter(1))


async def containers() -> set[str]:
    """The names of all there are: others may be at work on this Engine."""
    async with Engine.of(None).connect() as connection:
        return {container.name for container in await container_list(connection)}


async def test_one_name_is_one_process_s(name: str, own_home: Path) -> None:
    """The other is told that the cluster exists, and harms nothing: neither nodes, nor network, nor kubeconfig."""
    ended: list[subprocess.CompletedProcess[str]] = []

    async def create() -> None:
        ended.append(await command("create", "cluster", "--name", name, "--wait", "5m"))

    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(create)
    lost, won = sorted(ended, key=lambda each: each.returncode, reverse=True)
    cluster = await Cluster.get(name)
    async with cluster.client() as api:
        nodes = [node.metadata.name for node in (await CoreV1Api(api).list_node()).items]
    kubeconfig = yaml.safe_load((own_home / ".kube/config").read_text())
    deleted = await command("delete", "cluster", "--name", name)

    assert (won.returncode, lost.returncode) == (0, 1), f"{won.stderr}\n{lost.stderr}"
    assert f'ERROR: cluster "{name}" exists already, or is being made' in lost.stderr
    assert nodes == [f"{name}-control-plane"]
    assert [each["cluster"] for each in kubeconfig["clusters"]] == [each["cluster"] for each in cluster.kubeconfig["clusters"]]
    assert deleted.returncode == 0
    assert not [each for each in await containers() if each.startswith(name)]


@pytest.mark.stress
@pytest.mark.timeout(3600)
async def test_a_kubeconfig_that_many_change_loses_nothing(name: str, own_home: Path) -> None:
    """8 processes, each making and deleting a cluster of its own, 5 rounds: none fails, the file always parses, and what is in it stays."""
    path = own_home / "kubeconfig"
    mine = {"name": "mine", "context": {"cluster": "elsewhere", "user": "me"}}
    path.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", "contexts": [mine], "clusters": [], "users": []}))
    env = {"KUBECONFIG": str(path)}
    seen: list[set[str]] = []

    def contexts() -> set[str]:
        return {each["name"] for each in yaml.safe_load(path.read_text())["contexts"]}

    async def watch() -> None:
        while True:
            seen.append(contexts())
            await anyio.sleep(WATCH_S)

    async def rounds(own: str) -> None:
        for _ in range(ROUNDS):
            created = await command("create", "cluster", "--name", own, "--wait", "10m", env=env)
            assert created.returncode == 0, created.stderr
            assert f"kind-{own}" in contexts()
            deleted = await command("delete", "cluster", "--name", own, env=env)
            assert deleted.returncode == 0, deleted.stderr
            assert f"kind-{own}" not in contexts()

    async with anyio.create_task_group() as watching:
        watching.start_soon(watch)
        async with anyio.create_task_group() as tasks:
            for index in range(PROCESSES):
                tasks.start_soon(rounds, f"{name}-{index}")
        watching.cancel_scope.cancel()

    assert all("mine" in each for each in seen)
    assert len(set.union(*seen)) == PROCESSES + 1
    assert contexts() == {"mine"}
    assert not [each for each in await containers() if each.startswith(name)]
