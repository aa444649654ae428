"""Beside the kind program: it makes clusters of our image, and each of us sees, and removes, the other's."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from kubernetes_asyncio.client import AppsV1Api, CoreV1Api

from kindasync import Cluster, Engine
from kindasync.cluster._api import ClusterApi, api_client
from kindasync.cluster._images import default_reference
from kindasync.cluster._readiness import wait_ready
from kindasync.docker.system import system_info
from kindasync.events import Bus
from tests.cluster.conftest import BUSYBOX, look, run_cli
from tests.cluster.kind_program import kind_config, kind_program

pytestmark = [pytest.mark.anyio, pytest.mark.stress, pytest.mark.timeout(400)]


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


async def test_kind_sees_and_deletes_ours(name: str, own_home: Path) -> None:
    """Our cluster is a kind cluster to kind."""
    before = await look(own_home)
    await Cluster.create(name)

    seen = kind("get", "clusters").stdout.split()
    nodes = kind("get", "nodes", "--name", name).stdout.split()
    kubeconfig = kind("get", "kubeconfig", "--name", name).stdout
    deleted = kind("delete", "cluster", "--name", name)
    after = await look(own_home)

    assert name in seen
    assert nodes == [f"{name}-control-plane"]
    assert f"kind-{name}" in kubeconfig
    assert deleted.returncode == 0
    assert (after.containers, after.volumes) == (before.containers, before.volumes)


async def test_we_see_and_delete_kinds(name: str, own_home: Path) -> None:
    """kind's cluster is one of ours to us."""
    await create_with_kind(name)

    seen = run_cli("get", "clusters").stdout.split()
    cluster = await Cluster.get(name)
    async with cluster.client() as api:
        nodes = [node.metadata.name for node in (await CoreV1Api(api).list_node()).items]
    deleted = run_cli("delete", "cluster", "-n", name)

    assert name in seen
    assert nodes == [f"{name}-control-plane"]
    assert deleted.returncode == 0
    assert name not in await Cluster.list()


async def test_pods_of_kinds_workers_have_addresses_of_their_own(name: str, own_home: Path) -> None:
    """1+2 nodes made by kind: 30 pods on our pod network, no address twice, and all reach each other's nodes."""
    await create_with_kind(name, workers=2)
    try:
        cluster = await Cluster.get(name)
        async with api_client(cluster.kubeconfig) as client:  # kind waits for control planes only
            await wait_ready(
                ClusterApi(client), [node.name for node in cluster.nodes], bus=Bus(), cluster=name, timeout_s=60, needs_pod=False
            )
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
