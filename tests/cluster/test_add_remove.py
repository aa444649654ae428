"""Nodes that come and go: of clusters with one control plane, and with several, by commands and in Python."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from kubernetes_asyncio.client import AppsV1Api, CoreV1Api, PolicyV1Api

from kindasync import Cluster, NotReady
from kindasync.cluster._load import normalised
from kindasync.config import Role
from kindasync.docker.containers import Container, container_kill
from kindasync.docker.volumes import volume_list
from kindasync.errors import ClusterError
from kindasync.events import BootSignalled, ContainerCreated, Event, NodeJoined, NodeLoaded, NodePaused, RuntimeReady
from kindasync.node._etcd import member_list
from tests.cluster.archives import REFERENCE
from tests.cluster.conftest import BUSYBOX, pod, pod_ends, pod_is, run_cli, runs_everywhere
from tests.cluster.test_restarts import containers_of, restart
from tests.cluster.test_shapes import shape

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
async def workers(anyio_backend: str) -> AsyncIterator[Cluster]:
    """One control plane, one worker."""
    async with Cluster.running(shape(1, 1)) as cluster:
        yield cluster


@pytest.fixture(scope="module")
async def several(anyio_backend: str) -> AsyncIterator[Cluster]:
    """Two control planes."""
    async with Cluster.running(shape(2, 0), wait_s=240) as cluster:
        yield cluster


async def nodes_of(cluster: Cluster) -> dict[str, Any]:
    async with cluster.client() as api:
        return {node.metadata.name: node for node in (await CoreV1Api(api).list_node()).items}


def deployment(name: str, replicas: int) -> Any:
    container = {"name": "main", "image": BUSYBOX, "imagePullPolicy": "Never", "command": ["sleep", "infinity"]}
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
    }
    return {"metadata": {"name": name}, "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}}


async def test_a_worker_added_by_another_process_with_another_home(workers: Cluster, tmp_path: Path) -> None:
    """It has podCIDRs of its own, runs pods that reach others, and is known to all: `get`, a restart, `remove node`, which leaves nothing."""
    volumes = await volumes_of(workers)

    added = await anyio.to_thread.run_sync(lambda: run_cli("add", "node", "--name", workers.name, env={"HOME": str(tmp_path)}))

    assert added.returncode == 0, added.stderr
    name = added.stdout.strip()
    assert name == f"{workers.name}-worker2"
    nodes = await nodes_of(workers)
    assert len({node.spec.pod_cidr for node in nodes.values()}) == 3
    assert nodes[name].spec.provider_id == f"kind://docker/{workers.name}/{name}"
    assert "node-role.kubernetes.io/control-plane" not in {taint.key for taint in nodes[name].spec.taints or ()}
    async with workers.client() as api:
        core = CoreV1Api(api)
        serve = "mkdir /www && hostname >/www/index.html && exec httpd -f -p 8080 -h /www"
        await core.create_namespaced_pod("default", pod("web", ["sh", "-c", serve], nodeName=f"{workers.name}-worker"))
        await pod_is(core, "default", "web", lambda status: status.phase == "Running")
        address = (await core.read_namespaced_pod("web", "default")).status.pod_ip
        ask = f"for i in 1 2 3 4 5 6 7 8; do wget -q -O - -T 2 http://{address}:8080 && exit 0; sleep 1; done; exit 1"
        await core.create_namespaced_pod("default", pod("asks", ["sh", "-c", ask], nodeName=name))
        assert await pod_ends(core, "default", "asks") == ("Succeeded", "web\n")
        await core.delete_namespaced_pod("web", "default")
        secrets = (await core.list_namespaced_secret("kube-system")).items
        assert [secret.metadata.name for secret in secrets if secret.type == "bootstrap.kubernetes.io/token"] == []
    again = await Cluster.get(workers.name)
    assert [node.name for node in again.nodes] == [f"{workers.name}-control-plane", f"{workers.name}-worker", name]

    async with workers.engine.connect() as connection:
        await restart(connection, await containers_of(workers))
    await again.start(wait_s=60)

    removed = await anyio.to_thread.run_sync(lambda: run_cli("remove", "node", name, "--name", workers.name, env={"HOME": str(tmp_path)}))

    assert removed.returncode == 0, removed.stderr
    assert set(await nodes_of(workers)) == {f"{workers.name}-control-plane", f"{workers.name}-worker"}
    assert await volumes_of(workers) == volumes


async def volumes_of(cluster: Cluster) -> set[str]:
    """The volumes of the cluster's nodes that the Engine has."""
    mounted = {mount.name for container in await containers_of(cluster) for mount in container.mounts if mount.name}
    async with cluster.engine.connect() as connection:
        return mounted & {volume.name for volume in await volume_list(connection)}


async def test_an_added_node_has_the_images_that_its_cluster_was_given(archive: Path, app: str) -> None:
    """Preloaded, or loaded since: a pod that may not pull runs on it, too."""
    config = [shape(1, 0), {"kind": "ClusterExtras", "apiVersion": "kindasync/v1alpha1", "preload": [str(archive)]}]
    async with Cluster.running(config) as cluster:
        await cluster.load_image(app)
        told: list[Event] = []

        await cluster.add_node(on_event=told.append)

        (loaded,) = (event for event in told if isinstance(event, NodeLoaded))
        assert {REFERENCE, normalised(app)} <= set(loaded.images)
        whole = await Cluster.get(cluster.name)
        await runs_everywhere(whole, REFERENCE, "preloaded")
        await runs_everywhere(whole, app, "loaded")


async def test_two_added_at_once_are_two_nodes(workers: Cluster) -> None:
    """With two names, two addresses, two podCIDRs."""
    names = []

    async def add() -> None:
        names.append((await workers.add_node()).name)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(add)
        tasks.start_soon(add)

    nodes = await nodes_of(workers)
    assert len(set(names)) == 2
    assert len({node.spec.pod_cidr for node in nodes.values()}) == len(nodes)
    for name in names:
        await workers.remove_node(name)


async def test_pods_move_as_far_as_their_budget_allows(workers: Cluster) -> None:
    """The budget's refusal is an error, and the node takes pods again; without it they are on another node."""
    node = await workers.add_node()
    async with workers.client() as api:
        core, apps, policy = CoreV1Api(api), AppsV1Api(api), PolicyV1Api(api)
        await apps.create_namespaced_deployment("default", deployment("kept", 2))
        budget: Any = {"metadata": {"name": "kept"}, "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "kept"}}}}
        await policy.create_namespaced_pod_disruption_budget("default", budget)
        await are_on(core, node.name, 1)  # the scheduler spreads them

        with pytest.raises(NotReady, match="disruption budget"):
            await workers.remove_node(node.name, timeout_s=2)
        assert not (await core.read_node(node.name)).spec.unschedulable

        await policy.delete_namespaced_pod_disruption_budget("kept", "default")
        await workers.remove_node(node.name)
        await are_on(core, f"{workers.name}-worker", 2)
        await apps.delete_namespaced_deployment("kept", "default")
    assert node.name not in await nodes_of(workers)


async def are_on(core: CoreV1Api, node: str, count: int) -> None:
    """Wait until so many of the deployment's pods run on a node."""
    with anyio.fail_after(60):
        while True:
            pods = (await core.list_namespaced_pod("default", label_selector="app=kept", field_selector=f"spec.nodeName={node}")).items
            if sum(pod.status.phase == "Running" and not pod.metadata.deletion_timestamp for pod in pods) == count:
                return
            await anyio.sleep(0.2)


@pytest.mark.parametrize("stage", [ContainerCreated, NodePaused, BootSignalled, RuntimeReady, NodeJoined])
async def test_a_cancelled_add_leaves_nothing(workers: Cluster, stage: type[Event]) -> None:
    """However far it was."""
    before = {container.id for container in await containers_of(workers)}

    async def cancel(event: Event) -> None:
        if isinstance(event, stage):
            adding.cancel()

    with anyio.CancelScope() as adding:
        await workers.add_node(on_event=cancel)

    assert adding.cancelled_caught
    assert {container.id for container in await containers_of(workers)} == before
    assert set(await nodes_of(workers)) == {f"{workers.name}-control-plane", f"{workers.name}-worker"}


async def test_what_has_no_balancer_has_one_control_plane(workers: Cluster) -> None:
    """Neither another one, nor none."""
    with pytest.raises(ClusterError, match="no balancer"):
        await workers.add_node(Role.CONTROL_PLANE)
    with pytest.raises(ClusterError, match="only control plane"):
        await workers.remove_node(f"{workers.name}-control-plane")


async def test_control_planes_come_and_go(several: Cluster) -> None:
    """A third one; then the first leaves, alive, and the second, dead. The one that is left is the cluster, at the same address.

    The balancer learns of it without a restart.
    """
    name = several.name
    before = await balancer_of(several)

    async with a_watch_goes_on(several):
        added = await several.add_node("control-plane", wait_s=240)

    assert added.name == f"{name}-control-plane3"
    async with several.engine.connect() as connection:
        assert {member.name for member in await member_list(connection, added.id)} == {
            f"{name}-control-plane",
            f"{name}-control-plane2",
            f"{name}-control-plane3",
        }
        await several.remove_node(f"{name}-control-plane")
        again = await Cluster.get(name)
        assert again.kubeconfig["clusters"] == several.kubeconfig["clusters"]  # the user's credentials are another control plane's
        third = await again.add_node("control-plane", wait_s=240)
        assert third.name == f"{name}-control-plane"
        second = next(node for node in again.nodes if node.name == f"{name}-control-plane2")
        await container_kill(connection, second.id, "SIGKILL")
        await again.remove_node(second.name, force=True)
        assert {member.name for member in await member_list(connection, added.id)} == {added.name, third.name}
        assert set(await nodes_of(several)) == {added.name, third.name}
        after = await balancer_of(several)
        assert (after.id, after.started_at) == (before.id, before.started_at)
        await restart(connection, await containers_of(several))
        await again.start(wait_s=60)


async def balancer_of(cluster: Cluster) -> Container:
    (balancer,) = (each for each in await containers_of(cluster) if each.name == f"{cluster.name}-{Role.LOAD_BALANCER}")
    return balancer


@asynccontextmanager
async def a_watch_goes_on(cluster: Cluster) -> AsyncIterator[None]:
    """A watch that began before all in this context tells, by the same connection, of what happens after it."""
    body: Any = {"metadata": {"name": "watched"}}
    async with cluster.client() as api:
        core = CoreV1Api(api)
        asked: Any = core.list_namespaced_config_map("default", field_selector="metadata.name=watched", watch=True, _preload_content=False)
        async with await asked as reply:
            yield
            await core.create_namespaced_config_map("default", body)
            with anyio.fail_after(10):
                line = await reply.content.readline()

    assert b'"name":"watched"' in line, f"the watch ended with {line!r}"
