"""Clusters from their first event to the last thing that is left of them."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest
import yaml
from kubernetes_asyncio.client import CoreV1Api

from kindasync import Cluster, Engine, Node
from kindasync.cluster._api import ClusterApi, api_client
from kindasync.cluster._client import kubernetes_client
from kindasync.docker._engine import Call
from kindasync.docker.containers import container_inspect, container_restart, container_stop
from kindasync.node import PausedNode
from tests.cluster.archives import REFERENCE, write_image_archive
from tests.cluster.conftest import look, pod, pod_ends, run_cli

pytestmark = pytest.mark.anyio


async def test_a_preloaded_image_is_there_without_a_pull(own_home: Path, name: str, tmp_path: Path) -> None:
    """`--preload` on the command line: its bytes are seen to grow, and a pod that may not pull uses the image."""
    before = await look(own_home)
    archive = tmp_path.parent / f"{name}.tar"
    await write_image_archive(archive)

    created = await anyio.to_thread.run_sync(
        lambda: run_cli("create", "cluster", "-n", name, "--preload", str(archive), "--events", "json")
    )
    assert created.returncode == 0, created.stderr
    events = [json.loads(line) for line in created.stdout.splitlines()]
    cluster = await Cluster.get(name)
    async with cluster.client() as api:
        core = CoreV1Api(api)
        await core.create_namespaced_pod("default", pod("app", ["/bin/sh", "-c", "echo runs"], container={"image": REFERENCE}))
        phase, output = await pod_ends(core, "default", "app")
    deleted = await anyio.to_thread.run_sync(lambda: run_cli("delete", "cluster", "-n", name))
    after = await look(own_home)

    assert (phase, output) == ("Succeeded", "runs\n")
    sizes = [event["current"] for event in events if event["event"] == "PreloadProgress"]
    assert len(sizes) > 2
    assert all(one <= other for one, other in pairwise(sizes))
    assert sizes[-1] == archive.stat().st_size
    assert names_in_order(events) >= set(
        pairwise(["ContainerCreated", "NodeStarted", "NodePaused", "BootSignalled", "NodeBooted", "RuntimeReady", "ClusterReady"])
    )
    moments = ("PreloadProgress", "BootSignalled", "NetworkPolicyNotEnforced", "ReadinessObserved", "Warned")
    ended = [event for event in events if event["event"] not in moments]
    assert all(event["duration_s"] >= 0 for event in ended)
    assert any(event["event"] == "ReadinessObserved" for event in events)
    assert deleted.returncode == 0, deleted.stderr
    assert (after.containers, after.networks, after.volumes) == (before.containers, before.networks, before.volumes)
    assert f"kind-{name}" not in after.kubeconfig


def names_in_order(events: list[dict[str, object]]) -> set[tuple[object, object]]:
    """All pairs of event names of which the first came before the second."""
    names = [event["event"] for event in events]
    return {(one, other) for index, one in enumerate(names) for other in names[index + 1 :]}


async def test_a_paused_node_can_be_looked_at_and_changed(name: str) -> None:
    """A hook runs while the node waits: programs run, systemd does not, and the last line says so. What it writes is there afterwards.

    There is little in /var, which the Engine copies for each node, file by file.
    """
    seen: dict[str, object] = {}
    in_var: list[str] = []

    async def hook(node: PausedNode) -> None:
        seen["first process"] = (await node.exec(["cat", "/proc/1/comm"])).text.strip()
        seen["systemd"] = (await node.exec(["systemctl", "is-system-running"], check=False)).exit_code
        seen["last line"] = (await node.logs()).splitlines()[-1].strip()
        in_var.extend((await node.exec(["find", "/var"])).text.splitlines())
        await node.put({"/etc/from-the-hook": "written while paused"})

    async with Cluster.running(name=name, before_boot=[hook]) as cluster:
        kept = await cluster.nodes[0].get("/etc/from-the-hook")
        booted = (await cluster.nodes[0].exec(["cat", "/proc/1/comm"])).text.strip()

    assert seen["first process"] == "entrypoint" or seen["first process"] == "bash"
    assert seen["systemd"] != 0
    assert seen["last line"] == "kindasync: paused"
    assert len(in_var) < 300, in_var
    assert kept == b"written while paused"
    assert booted == "systemd"


PRINT_PATH = """
import sys
import anyio
from kindasync import Cluster

print(anyio.run(Cluster.get, sys.argv[1]).kubeconfig_path)
"""


async def test_found_from_the_engine_alone(name: str, own_home: Path, tmp_path: Path) -> None:
    """After `docker rename`, by processes with another home: get, kubeconfig and delete work, and the kubeconfig's path is the creator's."""
    before = await look(own_home)
    cluster = await Cluster.create(name)
    async with cluster.engine.connect() as connection:
        await connection.request(
            Call("ContainerRename", "POST", f"/containers/{cluster.nodes[0].id}/rename", params={"name": f"{name}-renamed"})
        )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    env = {"HOME": str(elsewhere)}

    printed = await anyio.run_process(
        [sys.executable, "-c", PRINT_PATH, name], env={**os.environ, **env}, check=False, stderr=subprocess.STDOUT
    )
    nodes = run_cli("get", "nodes", "-n", name, env=env).stdout.split()
    kubeconfig = run_cli("get", "kubeconfig", "-n", name, env=env).stdout
    mode = stat.S_IMODE(cluster.kubeconfig_path.stat().st_mode)
    async with kubernetes_client(yaml.safe_load(cluster.kubeconfig_path.read_text())) as api:
        ready = [node.metadata.name for node in (await CoreV1Api(api).list_node()).items]
    deleted = run_cli("delete", "cluster", "-n", name, env=env)
    after = await look(own_home)

    assert printed.stdout.decode() == f"{cluster.kubeconfig_path}\n"
    assert mode == 0o600
    assert nodes == [f"{name}-renamed"]
    assert cluster.kubeconfig["clusters"][0]["cluster"]["server"] in kubeconfig
    assert ready == [f"{name}-control-plane"]
    assert deleted.returncode == 0
    assert (after.containers, after.networks, after.volumes) == (before.containers, before.networks, before.volumes)
    of_the_home = {str(own_home / path) for path in (".local", ".local/state")}  # empty; only from that home they are ours to remove
    assert after.files == {str(elsewhere)} | before.files | of_the_home


async def test_a_restart_boots_straight_through(name: str) -> None:
    """Only the first boot pauses. `docker stop` ends a node in good order, in less than 5 s, and everything is there again after a start, at the same address and port."""
    async with Cluster.running(name=name) as cluster:
        node: Node = cluster.nodes[0]
        async with cluster.client() as api:
            config_map: Any = {"metadata": {"name": "kept"}, "data": {"key": "value"}}
            await CoreV1Api(api).create_namespaced_config_map("default", config_map)
        async with cluster.engine.connect() as connection:
            before = await container_inspect(connection, node.id)
            await container_stop(connection, node.id, grace_s=5)
            stopped = await container_inspect(connection, node.id)
            await container_restart(connection, node.id)
            after = await container_inspect(connection, node.id)
        async with api_client(cluster.kubeconfig) as client, cluster.client() as api:
            with anyio.fail_after(60):
                await ClusterApi(client).wait_up()
            kept = await CoreV1Api(api).read_namespaced_config_map("kept", "default")
        log = await node.logs()

    assert stopped.exit_code != 137  # ended by itself within the 5 s, not killed
    assert log.count("kindasync: paused") == 1
    assert log.count("kindasync: booting") == 2
    assert (after.attachments[0].ipv4_address, after.ports) == (before.attachments[0].ipv4_address, before.ports)
    assert kept.data == {"key": "value"}


async def test_no_program_is_ever_started(name: str) -> None:
    """Create, get and delete in a process that may start none, with an empty PATH."""
    script = f"""
import sys

FORBIDDEN = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "pty.spawn")

def forbid(event, arguments):
    if event in FORBIDDEN:
        raise RuntimeError(f"a program was started: {{event}} {{arguments}}")

sys.addaudithook(forbid)
import anyio
from kindasync import Cluster

async def main():
    cluster = await Cluster.create({name!r})
    found = await Cluster.get({name!r})
    assert found.kubeconfig == cluster.kubeconfig
    await found.delete()

anyio.run(main)
print("done")
"""
    environment = {**os.environ, "PATH": ""}
    result = await anyio.run_process([sys.executable, "-c", script], env=environment, check=False, stderr=subprocess.STDOUT)

    assert result.stdout.decode() == "done\n"


async def test_a_suite_of_ten_lines(tmp_path: Path) -> None:
    """The pytest plugin, as a user's first file has it."""
    (tmp_path / "test_first.py").write_text(
        """
import pytest
from kubernetes_asyncio.client import CoreV1Api

@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_nodes(kind_cluster, anyio_backend):
    async with kind_cluster.client() as api:
        assert len((await CoreV1Api(api).list_node()).items) == 1

def test_namespace(kind_cluster, kind_namespace):
    assert kind_namespace.startswith("test-namespace-")
"""
    )
    engine = Engine.of(None)

    result = await anyio.run_process([sys.executable, "-m", "pytest", "-q", "-p", "no:asyncio", str(tmp_path)], cwd=tmp_path, check=False)

    assert b"2 passed" in result.stdout, result.stdout.decode()
    assert [each for each in await Cluster.list(engine=engine) if each.startswith("pytest-")] == []


async def test_behind_a_proxy(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in a cluster goes through it; what comes from outside, such as an image that is not there, does."""
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid:3128")
    async with Cluster.running(name=name) as cluster:
        (node,) = cluster.nodes
        environment = (await node.exec(["sh", "-c", "tr '\\0' '\\n' </proc/$(pidof containerd)/environ"])).text

    assert "HTTPS_PROXY=http://proxy.invalid:3128" in environment
    assert f"{name}-control-plane" in environment
