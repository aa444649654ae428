"""What our own document asks for beside kind's, on a real cluster."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from kubernetes_asyncio.client import CoreV1Api

from kindasync import Cluster, Engine
from kindasync.docker.containers import container_inspect
from kindasync.docker.networks import network_list

pytestmark = pytest.mark.anyio

SUBNET = "10.213.64.0/26"


def config(network: str) -> str:
    """Nodes with the least that the rules allow a control plane, and a little more for the worker."""
    return f"""
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes: [{{role: worker}}, {{role: control-plane}}]
---
kind: ClusterExtras
apiVersion: kindasync/v1alpha1
wait: 170s
network: {{name: {network}, ipv4Subnet: {SUBNET}}}
nodes:
- {{cpus: 500m, memory: 300Mi, extraHosts: {{registry.example.com: 10.0.0.5}}, labels: {{team: storage}}}}
- {{cpus: 1, memory: 1700Mi}}
"""


@pytest.mark.timeout(240)
async def test_limits_and_a_network_of_its_own(name: str) -> None:
    """Each node offers what its container may use, though it sees the host's; the network goes with the cluster."""
    async with Cluster.running(config(name), name=name) as cluster:
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
    addresses = [ip_address(attachment.ipv4_address) for container in containers for attachment in container.attachments]
    assert len(addresses) == 2
    assert all(address in ip_network(SUBNET) for address in addresses)
    assert [container.labels.get("team") for container in containers] == [None, "storage"]
    assert hosts.split() == ["10.0.0.5", "registry.example.com"]
    async with Engine.of(None).connect() as connection:
        assert await network_list(connection, name=name) == ()
