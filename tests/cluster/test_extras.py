"""What our own document asks for beside kind's, on a real cluster."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from kubernetes_asyncio.client import CoreV1Api

from kindasync import Cluster, Engine
from kindasync.docker.containers import container_inspect
from kindasync.docker.networks import network_list
from tests.cluster.archives import REFERENCE
from tests.cluster.conftest import runs_everywhere

pytestmark = pytest.mark.anyio

SUBNET = "10.213.64.0/26"
IPV6_SUBNET = "fd5c:7e31:9a20::/64"


def config(network: str, archive: Path) -> str:
    """Nodes with the least that the rules allow a control plane, and a little more for the worker."""
    return f"""
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes: [{{role: worker}}, {{role: control-plane}}]
---
kind: ClusterExtras
apiVersion: kindasync/v1alpha1
wait: 170s
waitForDNS: true
preload: [{archive}]
network: {{name: {network}, ipv4Subnet: {SUBNET}, ipv6Subnet: "{IPV6_SUBNET}"}}
nodes:
- {{cpus: 500m, memory: 300Mi, extraHosts: {{registry.example.com: 10.0.0.5}}, labels: {{team: storage}}}}
- {{cpus: 1, memory: 1700Mi}}
"""


@pytest.mark.timeout(240)
async def test_limits_images_and_a_network_of_its_own(name: str, archive: Path) -> None:
    """Each node offers what its container may use, though it sees the host's, and runs what was preloaded; the network goes with the cluster."""
    async with Cluster.running(config(name, archive), name=name) as cluster:
        await runs_everywhere(cluster, REFERENCE, "preloaded")
        first, worker = cluster.nodes
        async with cluster.client() as api:
            nodes = {node.metadata.name: node.status for node in (await CoreV1Api(api).list_node()).items}
        async with cluster.engine.connect() as connection:
            containers = [await container_inspect(connection, node.id) for node in cluster.nodes]
        hosts = (await worker.exec(["getent", "hosts", "registry.example.com"])).text

    assert {node: (status.allocatable["cpu"], status.allocatable["memory"]) for node, status in nodes.items()} == {
        first.name: ("1", "1700Mi"),
        worker.name: ("500m", "300Mi"),
    }
    attachments = [attachment for container in containers for attachment in container.attachments]
    assert [attachment.network for attachment in attachments] == [name, name]
    for attachment in attachments:
        assert ip_address(attachment.ipv4_address) in ip_network(SUBNET)
        assert ip_address(attachment.ipv6_address) in ip_network(IPV6_SUBNET)
    assert [container.labels.get("team") for container in containers] == [None, "storage"]
    assert hosts.split() == ["10.0.0.5", "registry.example.com"]
    async with Engine.of(None).connect() as connection:
        assert await network_list(connection, name=name) == ()
