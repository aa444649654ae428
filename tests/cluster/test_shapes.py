"""Clusters of several nodes: what their users rely on."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest
from kubernetes_asyncio.client import ApiClient, CoordinationV1Api, CoreV1Api

from kindasync import Cluster, events
from kindasync.config import Role
from kindasync.docker._engine import Call
from kindasync.docker.containers import container_inspect, container_kill, container_start
from kindasync.docker.execs import container_exec
from kindasync.node._etcd import member_list
from tests.cluster.conftest import beside, pod, pod_ends, pod_is

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]


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


@pytest.mark.parametrize("disturb", ["kill", "pause"])
async def test_the_api_answers_without_one_of_three(several: tuple[Cluster, list[events.Event]], disturb: str) -> None:
    """Within 10 s, through the balancer; and the node comes back."""
    cluster, _ = several
    victim = cluster.nodes[0]
    async with cluster.client() as api, cluster.engine.connect() as connection:
        if disturb == "kill":
            await container_kill(connection, victim.id, "SIGKILL")
        else:
            await connection.request(Call("ContainerPause", "POST", f"/containers/{victim.id}/pause"))
        assert await answers_within(CoreV1Api(api), 10)
        if disturb == "pause":
            await connection.request(Call("ContainerUnpause", "POST", f"/containers/{victim.id}/unpause"))
        elif (await container_inspect(connection, victim.id)).state != "running":  # the Engine may have been faster: restart policy
            await container_start(connection, victim.id)
        await heard_of(api, victim.name, datetime.now(UTC))


async def answers_within(core: CoreV1Api, seconds: float) -> bool:
    """Whether the API answers, soon, three times in a row."""
    end, row = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        try:
            await core.list_namespace(_request_timeout=2)
        except Exception:  # noqa: BLE001 (of any kind: it does not answer)
            row = 0
        else:
            row += 1
        if row == 3:
            return True
        await anyio.sleep(0.2)
    return False


async def heard_of(api: ApiClient, node: str, since: datetime, timeout_s: float = 60) -> None:
    """Wait until a node's kubelet has renewed its lease, after a moment."""
    last = None
    with anyio.move_on_after(timeout_s):
        while last is None or last < since:
            with suppress(Exception):  # the API may be moving from one control plane to another
                last = (await CoordinationV1Api(api).read_namespaced_lease(node, "kube-node-lease", _request_timeout=2)).spec.renew_time
            await anyio.sleep(0.5)
        return
    raise AssertionError(f"node {node} was not heard of again within {timeout_s:g} s; last at {last}")
