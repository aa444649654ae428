"""Beside the kind program: it makes clusters of our image, and each of us does with the other's all that it does with its own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
import yaml
from kubernetes_asyncio.client import AppsV1Api, CoreV1Api

from kindasync import Cluster, Engine
from kindasync.cluster._api import ClusterApi, api_client
from kindasync.cluster._client import kubernetes_client
from kindasync.cluster._images import default_reference
from kindasync.cluster._readiness import wait_ready
from kindasync.docker.system import system_info
from kindasync.events import Bus
from tests.cluster.conftest import BUSYBOX, look, run_cli, runs_everywhere
from tests.cluster.kind_program import kind_config, kind_program

pytestmark = [pytest.mark.anyio, pytest.mark.stress, pytest.mark.timeout(900)]


@pytest.fixture(autouse=True)
def deleted(name: str) -> Iterator[None]:
    """The test's cluster is gone afterwards, also if the test failed."""
    yield
    run_cli("delete", "cluster", "--name", name)


def kind(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run the kind program."""
    return subprocess.run([kind_program(), *arguments], input=stdin, capture_output=True, text=True, check=False, env=dict(os.environ))


async def create_with_kind(name: str, *, workers: int = 0) -> None:
    """A cluster made by kind, of our image."""
    async with Engine.of(None).connect() as connection:
        image = await default_reference(connection, await system_info(connection))
    config = await kind_config(workers)
    created = await anyio.to_thread.run_sync(
        lambda: kind("create", "cluster", "--name", name, "--image", image, "--config", "-", "--wait", "120s", stdin=config)
    )
    assert created.returncode == 0, created.stderr
    assert "Ready after" in created.stderr


def nodes_of(control_planes: int, workers: int) -> dict[str, Any]:
    """A configuration for so many nodes."""
    nodes = [*[{"role": "control-plane"}] * control_planes, *[{"role": "worker"}] * workers]
    return {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "nodes": nodes}


async def nodes_by(kubeconfig: Any) -> set[str]:
    """The nodes that the API of a kubeconfig tells."""
    async with kubernetes_client(kubeconfig) as api:
        return {node.metadata.name for node in (await CoreV1Api(api).list_node()).items}


def layout(directory: Path) -> set[str]:
    """The files of an export."""
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def exports_are_alike(theirs: Path, ours: Path, cluster: Cluster) -> None:
    """File by file: the same ones, and where nothing went on in between with the same content."""
    assert layout(ours) == layout(theirs)
    for node in cluster.nodes:
        for name in ("kubernetes-version.txt", "images.log"):
            ran = [(directory / node.name / name).read_text().splitlines() for directory in (ours, theirs)]
            assert sorted(ran[0]) == sorted(ran[1])
        inspected = [json.loads((directory / node.name / "inspect.json").read_text()) for directory in (ours, theirs)]
        assert [each["Id"] for each in inspected[0]] == [each["Id"] for each in inspected[1]] == [node.id]
        for name in ("serial.log", "journal.log", "kubelet.log", "containerd.log"):
            lines = [(directory / node.name / name).read_text().splitlines() for directory in (ours, theirs)]
            assert [line.rstrip() for line in lines[0][:20]] == [line.rstrip() for line in lines[1][:20]]


@pytest.mark.parametrize(("control_planes", "workers"), [(1, 0), (1, 2), (3, 0)])
async def test_kind_uses_ours(control_planes: int, workers: int, name: str, own_home: Path, app: str, tmp_path: Path) -> None:
    """kind sees our cluster, reaches it, loads into it, exports its logs, and deletes it, the balancer included; nothing is left."""
    before = await look(own_home)
    cluster = await Cluster.create(name, config=nodes_of(control_planes, workers), wait_s=300)

    assert name in kind("get", "clusters").stdout.split()
    assert sorted(kind("get", "nodes", "--name", name).stdout.split()) == sorted(run_cli("get", "nodes", "--name", name).stdout.split())
    assert await nodes_by(yaml.safe_load(kind("get", "kubeconfig", "--name", name).stdout)) == {node.name for node in cluster.nodes}
    internal = yaml.safe_load(kind("get", "kubeconfig", "--name", name, "--internal").stdout)
    assert internal["clusters"][0]["cluster"]["server"] == cluster.internal_kubeconfig["clusters"][0]["cluster"]["server"]
    loaded = kind("load", "docker-image", app, "--name", name)
    assert loaded.returncode == 0, loaded.stderr
    await runs_everywhere(cluster, app, "loaded")
    assert kind("export", "logs", str(tmp_path / "theirs"), "--name", name).returncode == 0
    assert run_cli("export", "logs", str(tmp_path / "ours"), "--name", name).returncode == 0
    exports_are_alike(tmp_path / "theirs", tmp_path / "ours", cluster)
    assert kind("delete", "cluster", "--name", name).returncode == 0

    after = await look(own_home)
    assert (after.containers, after.volumes) == (before.containers, before.volumes)


@pytest.mark.parametrize("workers", [0, 2])
async def test_we_use_kinds(workers: int, name: str, own_home: Path, app: str, tmp_path: Path) -> None:
    """And we kind's, with which we can do one thing more: stop and start them. (A balancer of kind's is an image that cannot be had here.)"""
    await create_with_kind(name, workers=workers)
    cluster = await Cluster.get(name)

    assert name in run_cli("get", "clusters").stdout.split()
    assert run_cli("get", "nodes", "--name", name).stdout.split() == [node.name for node in cluster.nodes]
    assert await nodes_by(yaml.safe_load(run_cli("get", "kubeconfig", "--name", name).stdout)) == {node.name for node in cluster.nodes}
    internal = [yaml.safe_load(run("get", "kubeconfig", "--name", name, "--internal").stdout) for run in (run_cli, kind)]
    assert internal[0] == {"preferences": {}, **internal[1]}  # kubeadm writes it, kind leaves out what is empty
    await all_ready(cluster)
    loaded = run_cli("load", "docker-image", app, "--name", name)
    assert loaded.returncode == 0, loaded.stderr
    await runs_everywhere(cluster, app, "loaded")
    assert run_cli("export", "logs", str(tmp_path / "ours"), "--name", name).returncode == 0
    assert kind("export", "logs", str(tmp_path / "theirs"), "--name", name).returncode == 0
    exports_are_alike(tmp_path / "theirs", tmp_path / "ours", cluster)
    for verb in ("stop", "start"):
        ran = run_cli(verb, "--name", name)
        assert ran.returncode == 0, ran.stderr
    assert await nodes_by((await Cluster.get(name)).kubeconfig) == {node.name for node in cluster.nodes}
    assert run_cli("delete", "cluster", "-n", name).returncode == 0
    assert name not in await Cluster.list()


async def all_ready(cluster: Cluster) -> None:
    """kind waits for control planes only."""
    async with api_client(cluster.kubeconfig) as client:
        names = [node.name for node in cluster.nodes]
        await wait_ready(ClusterApi(client), names, bus=Bus(), cluster=cluster.name, timeout_s=60, needs_pod=False)


async def test_pods_of_kinds_workers_have_addresses_of_their_own(name: str, own_home: Path) -> None:
    """1+2 nodes made by kind: 30 pods on our pod network, no address twice, and all reach each other's nodes."""
    await create_with_kind(name, workers=2)
    try:
        cluster = await Cluster.get(name)
        await all_ready(cluster)
        async with cluster.client() as api:
            container = {"name": "web", "image": BUSYBOX, "imagePullPolicy": "Never", "command": ["httpd", "-f", "-p", "8080", "-h", "/"]}
            template = {"metadata": {"labels": {"app": "web"}}, "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]}}
            deployment: Any = {
                "metadata": {"name": "web"},
                "spec": {"replicas": 30, "selector": {"matchLabels": {"app": "web"}}, "template": template},
            }
            await AppsV1Api(api).create_namespaced_deployment("default", deployment)
            pods = await all_running(CoreV1Api(api), 30)
        addresses = [pod.status.pod_ip for pod in pods]
        nodes = {pod.spec.node_name for pod in pods}
        script = "for address in " + " ".join(addresses) + "; do wget -q -T 5 -O /dev/null http://$address:8080/etc/passwd || exit 1; done"
        reached = await cluster.nodes[1].exec(
            ["bash", "-c", script.replace("wget -q -T 5 -O /dev/null", "curl -sf -m 5 -o /dev/null")], check=False
        )
    finally:
        kind("delete", "cluster", "--name", name)

    assert len(set(addresses)) == 30
    assert len(nodes) == 2
    assert reached.exit_code == 0, reached.tail()


async def all_running(core: CoreV1Api, count: int) -> list[Any]:
    """The pods of the deployment, as soon as all of them run."""
    from kubernetes_asyncio.watch import Watch

    running: dict[str, Any] = {}
    with anyio.fail_after(120):
        async with Watch().stream(core.list_namespaced_pod, "default", label_selector="app=web") as events:
            async for event in events:
                pod = event["object"]
                if pod.status.phase == "Running" and pod.status.pod_ip:
                    running[pod.metadata.name] = pod
                if len(running) == count:
                    break
    return list(running.values())
