"""Address families: clusters of IPv6 alone, and of both, as their users see them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.request import urlopen

import anyio.to_thread
import pytest
from kubernetes_asyncio.client import CoreV1Api

from kindasync import Cluster
from tests.cluster.conftest import beside, pod, pod_ends, pod_is
from tests.cluster.test_restarts import anyone, restart, survives

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

SERVE = "mkdir /www && hostname >/www/index.html && exec httpd -f -p 8080 -h /www"


@dataclass(frozen=True, slots=True)
class Family:
    """A cluster of one control plane and one worker, and the IP versions that all in it has."""

    cluster: Cluster
    versions: list[int]

    @property
    def control_plane(self) -> str:
        return f"{self.cluster.name}-control-plane"

    @property
    def worker(self) -> str:
        return f"{self.cluster.name}-worker"


@pytest.fixture(scope="module", params=["ipv6", "dual"])
async def family(request: pytest.FixtureRequest, anyio_backend: str) -> AsyncIterator[Family]:
    nodes = [{"role": "control-plane", "extraPortMappings": [{"containerPort": 30080}]}, {"role": "worker"}]
    config = {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "networking": {"ipFamily": request.param}, "nodes": nodes}
    async with Cluster.running(config) as cluster:
        yield Family(cluster, {"ipv6": [6], "dual": [4, 6]}[request.param])


def versions(addresses: Iterable[str]) -> list[int]:
    return [ip_address(address).version for address in addresses]


def in_url(address: str) -> str:
    return f"[{address}]" if ":" in address else address


async def test_nodes_have_addresses_and_pod_cidrs_of_each_family(family: Family) -> None:
    """In the order of the families, and each node its own; the API's Service has an address of the first."""
    async with family.cluster.client() as api:
        core = CoreV1Api(api)
        nodes = (await core.list_node()).items
        kubernetes = await core.read_namespaced_service("kubernetes", "default")

    addresses = {node.metadata.name: [each.address for each in node.status.addresses if each.type == "InternalIP"] for node in nodes}
    assert {name: versions(of_node) for name, of_node in addresses.items()} == dict.fromkeys(addresses, family.versions)
    assert [[ip_network(cidr).version for cidr in node.spec.pod_cidrs] for node in nodes] == [family.versions, family.versions]
    assert nodes[0].spec.pod_cidrs != nodes[1].spec.pod_cidrs
    assert versions(kubernetes.spec.cluster_ips) == family.versions[:1]


async def test_pods_of_different_nodes_reach_each_other(family: Family) -> None:
    """By each family: directly, by the Service, by its name, and from this machine through a published port."""
    service: Any = {
        "metadata": {"name": "web"},
        "spec": {
            "type": "NodePort",
            "ipFamilyPolicy": "PreferDualStack",
            "selector": {"app": "web"},
            "ports": [{"port": 80, "targetPort": 8080, "nodePort": 30080}],
        },
    }
    async with family.cluster.client() as api:
        core = CoreV1Api(api)
        await core.create_namespaced_pod("default", pod("web", ["sh", "-c", SERVE], nodeName=family.worker))
        service = await core.create_namespaced_service("default", service)
        await pod_is(core, "default", "web", lambda status: status.phase == "Running")
        web = (await core.read_namespaced_pod("web", "default")).status.pod_ips
        hosts = [f"{in_url(each.ip)}:8080" for each in web] + [in_url(address) for address in service.spec.cluster_ips] + ["web"]
        ask = " && ".join(
            f"for i in 1 2 3 4 5 6 7 8; do wget -q -O - -T 2 http://{host}/ 2>/dev/null && break; sleep 1; done" for host in hosts
        )
        await core.create_namespaced_pod("default", pod("asks", ["sh", "-c", ask], nodeName=family.control_plane))
        phase, output = await pod_ends(core, "default", "asks")
    published = await family.cluster.nodes[0].published(30080)
    reached_at = published.rpartition(":")[0].strip("[]")

    assert versions(each.ip for each in web) == versions(service.spec.cluster_ips) == family.versions
    assert (phase, output) == ("Succeeded", "web\n" * len(hosts))
    if set(versions([reached_at])) <= set(family.versions):  # a remote Engine may be reached by the other one
        assert await page(f"http://{published}/") == b"web\n"


async def page(url: str) -> bytes:
    """What comes from there, as soon as kube-proxy has seen to it."""
    with anyio.fail_after(30):
        while True:
            with suppress(OSError):
                return await anyio.to_thread.run_sync(lambda: bytes(urlopen(url, timeout=10).read()))
            await anyio.sleep(0.2)


async def test_all_is_as_before_after_a_restart(family: Family) -> None:
    """Addresses of both families, and the way of pods to names in the nodes' network."""
    await survives(family.cluster, restart, anyone)

    async with beside(family.cluster) as other, family.cluster.client() as api:
        core = CoreV1Api(api)
        await core.create_namespaced_pod(
            "default", pod("looks", ["sh", "-c", f"until nslookup {other.name}.; do sleep 1; done"], nodeName=family.worker)
        )
        phase, output = await pod_ends(core, "default", "looks")

    assert phase == "Succeeded", output
    assert other.attachments[0].ipv6_address in output
