"""Clusters of several nodes: what their users rely on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio
import pytest
from kubernetes_asyncio.client import CoreV1Api

from kindasync import Cluster, Node, events
from kindasync.config import Role
from kindasync.docker.containers import container_inspect
from kindasync.docker.execs import container_exec
from kindasync.node._etcd import member_list
from tests.cluster.conftest import beside, pod, pod_ends, pod_is, pods_ready

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

Fault = Callable[[Node], AbstractAsyncContextManager[None]]


def shape(control_planes: int, workers: int) -> dict[str, Any]:
    roles = ["control-plane"] * control_planes + ["worker"] * workers
    return {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "nodes": [{"role": role} for role in roles]}


@pytest.fixture(scope="module")
async def workers(anyio_backend: str) -> AsyncIterator[Cluster]:
    """One control plane, two workers."""
    async with Cluster.running(shape(1, 2)) as cluster:
        yield cluster


async def test_nodes_are_as_kind_would_have_made_them(workers: Cluster) -> None:
    """Names, roles, taints, provider ids, and podCIDRs that nobody has twice."""
    async with workers.client() as api:
        nodes = {node.metadata.name: node for node in (await CoreV1Api(api).list_node()).items}

    name = workers.name
    assert [(node.name, node.role) for node in workers.nodes] == [
        (f"{name}-control-plane", Role.CONTROL_PLANE),
        (f"{name}-worker", Role.WORKER),
        (f"{name}-worker2", Role.WORKER),
    ]
    assert {taint.key for taint in nodes[f"{name}-control-plane"].spec.taints} == {"node-role.kubernetes.io/control-plane"}
    assert nodes[f"{name}-worker"].spec.taints is None
    assert {node.spec.provider_id for node in nodes.values()} == {f"kind://docker/{name}/{each}" for each in nodes}
    assert sorted(node.spec.pod_cidr for node in nodes.values()) == ["10.244.0.0/24", "10.244.1.0/24", "10.244.2.0/24"]


async def test_pods_on_different_nodes_reach_each_other_and_dns(workers: Cluster) -> None:
    """By address and by name, in both directions."""
    names = [node.name for node in workers.nodes if node.role is Role.WORKER]
    serve = "mkdir /www && hostname >/www/index.html && exec httpd -f -p 8080 -h /www"
    service: Any = {"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}}
    async with workers.client() as api:
        core = CoreV1Api(api)
        await core.create_namespaced_pod("default", pod("web", ["sh", "-c", serve], nodeName=names[0]))
        await core.create_namespaced_service("default", service)
        await pod_is(core, "default", "web", lambda status: status.phase == "Running")
        address = (await core.read_namespaced_pod("web", "default")).status.pod_ip
        ask = " && ".join(
            f"for i in 1 2 3 4 5 6 7 8; do wget -q -O - -T 2 http://{host} 2>/dev/null && break; sleep 1; done"
            for host in (f"{address}:8080", "web")
        )
        await core.create_namespaced_pod("default", pod("asks", ["sh", "-c", ask], nodeName=names[1]))
        phase, output = await pod_ends(core, "default", "asks")

    assert (phase, output) == ("Succeeded", "web\nweb\n")


async def test_a_pod_of_a_workers_own_network_reaches_the_api(workers: Cluster) -> None:
    """Through the Service that kube-proxy makes."""
    node = next(node.name for node in workers.nodes if node.role is Role.WORKER)
    ask = "for i in 1 2 3 4 5 6 7 8; do nc -w 2 kubernetes.default 443 </dev/null && exit 0; sleep 1; done; exit 1"
    async with workers.client() as api:
        core = CoreV1Api(api)
        await core.create_namespaced_pod("default", pod("api", ["sh", "-c", ask], nodeName=node))
        phase, output = await pod_ends(core, "default", "api")

    assert phase == "Succeeded", output


TELL_WHO_ASKS = r"""
mkdir -p /www/cgi-bin
printf '#!/bin/sh\nprintf "\\n%%s" "$REMOTE_ADDR"\n' >/www/cgi-bin/peer
chmod +x /www/cgi-bin/peer
exec busybox httpd -p 8080 -h /www
"""


async def test_pods_reach_what_is_outside_of_the_cluster(workers: Cluster) -> None:
    """A web server beside it, which knows no way to pods: it is asked from the address of their node."""
    worker = next(node for node in workers.nodes if node.role is Role.WORKER)
    async with beside(workers) as other, workers.engine.connect() as connection, workers.client() as api:
        served = await container_exec(connection, other.id, ["sh", "-c", TELL_WHO_ASKS])  # to its end: it listens by then
        assert served.exit_code == 0, served.tail()
        ask = ["wget", "-q", "-O", "-", "-T", "20", f"http://{other.attachments[0].ipv4_address}:8080/cgi-bin/peer"]
        core = CoreV1Api(api)
        await core.create_namespaced_pod("default", pod("leaves", ask, nodeName=worker.name))
        phase, output = await pod_ends(core, "default", "leaves")
        (at,) = (await container_inspect(connection, worker.id)).attachments

    assert (phase, output.strip("[]").removeprefix("::ffff:")) == ("Succeeded", at.ipv4_address)


async def test_no_bootstrap_token_is_left(workers: Cluster) -> None:
    """Nobody can join any more."""
    async with workers.client() as api:
        secrets = (await CoreV1Api(api).list_namespaced_secret("kube-system")).items

    assert [secret.metadata.name for secret in secrets if secret.type == "bootstrap.kubernetes.io/token"] == []


@pytest.fixture(scope="module")
async def several(anyio_backend: str) -> AsyncIterator[tuple[Cluster, list[events.Event]]]:
    """Three control planes, two workers, and the events of their making."""
    seen: list[events.Event] = []
    async with Cluster.running(shape(3, 2), on_event=seen.append, wait_s=240) as cluster:
        yield cluster, seen


async def test_all_nodes_boot_at_once(several: tuple[Cluster, list[events.Event]]) -> None:
    """There is a moment at which every one of the five has been started and none has booted."""
    cluster, seen = several
    started = {event.node: event.monotonic_s for event in seen if isinstance(event, events.NodeStarted)}
    booted = {event.node: event.monotonic_s for event in seen if isinstance(event, events.RuntimeReady)}

    assert booted.keys() == {node.name for node in cluster.nodes}
    assert max(started[name] for name in booted) < min(booted.values())


async def test_boots_overlap(several: tuple[Cluster, list[events.Event]]) -> None:
    """From the boot signal to a containerd that answers, several nodes at a time: none waits for another's boot."""
    _, seen = several
    signalled = {event.node: event.monotonic_s for event in seen if isinstance(event, events.BootSignalled) and event.attempt == 1}
    booted = {event.node: event.monotonic_s for event in seen if isinstance(event, events.RuntimeReady)}

    assert max(sum(signalled[other] <= signalled[node] < booted[other] for other in booted) for node in booted) > 1


async def test_control_planes_are_members_of_one_etcd(several: tuple[Cluster, list[events.Event]]) -> None:
    """All vote; kubeadm's ClusterConfiguration, by which further ones join, does not say which there were at first."""
    cluster, _ = several
    async with cluster.engine.connect() as connection:
        found = await member_list(connection, cluster.nodes[0].id)
    async with cluster.client() as api:
        configuration = (await CoreV1Api(api).read_namespaced_config_map("kubeadm-config", "kube-system")).data["ClusterConfiguration"]

    assert {member.name for member in found} == {node.name for node in cluster.nodes if node.role is Role.CONTROL_PLANE}
    assert "initial-cluster" not in configuration


async def test_control_planes_are_tainted_workers_are_not(several: tuple[Cluster, list[events.Event]]) -> None:
    """As kubeadm marks them."""
    cluster, _ = several
    async with cluster.client() as api:
        nodes = (await CoreV1Api(api).list_node()).items

    marked = {node.metadata.name for node in nodes if "node-role.kubernetes.io/control-plane" in node.metadata.labels}
    tainted = {node.metadata.name for node in nodes if node.spec.taints}
    assert marked == tainted == {node.name for node in cluster.nodes if node.role is Role.CONTROL_PLANE}


@pytest.mark.parametrize(
    ("fault", "number"),
    [
        pytest.param(Node.killed, 0, id="killed"),
        pytest.param(Node.killed, 1, id="killed2", marks=pytest.mark.stress),
        pytest.param(Node.killed, 2, id="killed3", marks=pytest.mark.stress),
        pytest.param(Node.paused, 0, id="paused"),
    ],
)
async def test_the_api_answers_without_one_of_three(several: tuple[Cluster, list[events.Event]], fault: Fault, number: int) -> None:
    """Within 10 s, through the balancer, to who comes anew; and the node comes back."""
    cluster, _ = several
    await all_answer(cluster)

    async with fault(cluster.nodes[number]):
        await answers(cluster, 10)


async def all_answer(cluster: Cluster) -> None:
    """Wait until each control plane answers for itself: without the one that was lost last, etcd could not bear the loss of another."""
    await pods_ready(cluster)
    again = ("--retry", "60", "--retry-delay", "1", "--retry-all-errors")
    for node in cluster.nodes:
        if node.role is Role.CONTROL_PLANE:
            await node.exec(["curl", "--silent", "--show-error", "--fail", "--insecure", *again, "https://localhost:6443/readyz"])


async def answers(cluster: Cluster, within_s: float) -> None:
    """Wait until the API answers three times in a row, each time on a new connection."""
    row, last = 0, None
    with anyio.move_on_after(within_s):
        while row < 3:
            try:
                async with cluster.client() as api:
                    await CoreV1Api(api).list_namespace(_request_timeout=2)
            except Exception as error:  # noqa: BLE001 (of any kind: it does not answer)
                row, last = 0, error
                await anyio.sleep(0.2)
            else:
                row += 1
        return
    raise AssertionError(f"the API did not answer three times in a row within {within_s:g} s; last: {last!r}")
