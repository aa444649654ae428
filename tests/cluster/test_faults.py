"""Faults of real nodes: what their cluster sees of them, and that all of it works again afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from kubernetes_asyncio.client import ApiClient, CoreV1Api

from kindasync import Cluster, Node
from kindasync.config import ClusterConfig, NodeConfig, Role
from kindasync.docker.containers import container_inspect
from kindasync.errors import ApiError, ExecFailed
from tests.cluster.conftest import pod, pod_ends, pod_is

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]
# By itself the controller-manager takes a node for lost after 50 s without a sign of life, of which there is one every 10 s: here every 2 s.
SOON = """
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
controllerManager: {extraArgs: [{name: node-monitor-grace-period, value: 15s}]}
"""
OFTEN = """
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
nodeLeaseDurationSeconds: 8
"""
SERVER = ["sh", "-c", "mkdir -p /www && echo hello > /www/index.html && httpd -f -p 8080 -h /www"]


@pytest.fixture
async def two(name: str) -> AsyncIterator[Cluster]:
    """A cluster of 1+1."""
    config = ClusterConfig(name=name, nodes=(NodeConfig(), NodeConfig(role=Role.WORKER)), kubeadm_config_patches=(SOON, OFTEN))
    async with Cluster.running(config, wait_s=300) as cluster:
        yield cluster


def ready(node: Any) -> bool:
    return any((each.type, each.status) == ("Ready", "True") for each in node.status.conditions)


async def address(node: Node) -> tuple[str, str]:
    async with node.engine.connect() as connection:
        (at,) = (await container_inspect(connection, node.id)).attachments
    return at.ipv4_address, at.ipv6_address


async def reaches(core: CoreV1Api, name: str, node: Node, url: str) -> None:
    """A new pod on a node gets a page."""
    document = pod(name, ["wget", "-T", "20", "-q", "-O", "-", url], nodeName=node.name)
    await core.create_namespaced_pod("default", document)
    assert await pod_ends(core, "default", name) == ("Succeeded", "hello\n")


async def test_each_fault_heals(two: Cluster) -> None:
    """Of a worker and of the only control plane: nodes are Ready, their addresses the same, and pods of either reach those of the other."""
    control_plane, worker = two.nodes
    before = {node.name: await address(node) for node in two.nodes}
    async with two.client() as api:
        core = CoreV1Api(api)
        await serve(api, control_plane)
        await reaches(core, "first", worker, await page(core))

        async with worker.paused():
            with pytest.raises(ApiError, match="paused"):
                await worker.exec(["true"])
        assert ready(await core.read_node(worker.name))
        async with worker.disconnected():
            with pytest.raises(ExecFailed):
                await worker.exec(["ip", "link", "show", "eth0"])
            await two.wait_for(f"node/{worker.name}", "condition=Ready=Unknown", timeout_s=120)
        assert ready(await core.read_node(worker.name))
        await reaches(core, "after-disconnected", worker, await page(core))
        async with worker.killed():
            pass
        await reaches(core, "after-killed", worker, await page(core))
        async with control_plane.disconnected():
            pass
        async with control_plane.paused():
            pass
        async with control_plane.killed():
            pass
        await pod_is(core, "default", "server", lambda status: status.phase == "Running" and status.container_statuses[0].restart_count > 0)
        await reaches(core, "after-all", worker, await page(core))

    assert {node.name: await address(node) for node in two.nodes} == before
    assert (await Cluster.get(two.name)).kubeconfig == two.kubeconfig


async def serve(api: ApiClient, node: Node) -> None:
    core = CoreV1Api(api)
    await core.create_namespaced_pod("default", pod("server", SERVER, nodeName=node.name, restartPolicy="Always"))
    await pod_is(core, "default", "server", lambda status: status.phase == "Running")


async def page(core: CoreV1Api) -> str:
    return f"http://{(await core.read_namespaced_pod('server', 'default')).status.pod_ip}:8080/"
