"""What a user's module may look like: all that kindasync offers, for `mypy --strict` alone to read. Nothing of it runs."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, assert_type

from kubernetes_asyncio.client import CoreV1Api

from kindasync import (
    AlreadyExists,
    Cluster,
    ClusterConfig,
    ClusterNotFound,
    ConfigInvalid,
    Engine,
    KindasyncError,
    Node,
    NotReady,
    sync,
)
from kindasync.cluster import Leftover, gc
from kindasync.cluster.plan import Facts, Plan, plan
from kindasync.config import Role, load
from kindasync.config.patches import json6902_containerd, json6902_kubeadm, merge_containerd, merge_kubeadm
from kindasync.docker.networks import ula_subnet
from kindasync.events import Event, NodeReady
from kindasync.kubeconfig import merge, merged_paths, remove, target_path
from kindasync.node import PausedNode
from kindasync.proxy import no_proxy
from kindasync.pytest_kind import KindCluster
from kindasync.testing import FakeEngine
from kindasync.versions import KubernetesVersion


async def hook(node: PausedNode) -> None:
    """What `before_boot` calls."""
    await node.put({"/etc/motd": "hello\n"})
    await node.preload(Path("image.tar"))


async def listener(event: Event) -> None:
    """What `on_event` calls."""
    if isinstance(event, NodeReady):
        assert_type(event.node, str)


async def lives(engine: Engine) -> None:
    """Clusters, from their creation to their end."""
    cluster = await Cluster.create(
        "demo", config=Path("kind.yaml"), image="", wait_s=60, on_event=listener, before_boot=[hook], engine=engine
    )
    assert_type(cluster, Cluster)
    assert_type(await Cluster.get("demo", engine="unix:///run/docker.sock"), Cluster)
    assert_type(await Cluster.list(), list[str])
    assert_type(await Cluster.create_many([ClusterConfig(), {"nodes": []}, None], limit=2), list[Cluster | KindasyncError])
    assert_type(await Cluster.fill_pool("ci", size=2, config={"nodes": []}), list[str])
    assert_type(await Cluster.claim("ci", wait_s=10), Cluster)
    assert_type([pool.parked for pool in await Cluster.pools()], list[tuple[str, ...]])
    assert_type(await Cluster.delete_pool("ci"), list[str])
    async with Cluster.running(ClusterConfig()) as running:
        assert_type(running, Cluster)
    await cluster.load_image("app:1", nodes=[cluster.nodes[0].name])
    await cluster.load_archive("app.tar")
    await cluster.stop()
    await cluster.start(wait_s=60)
    assert_type(await cluster.add_node("worker"), Node)
    await cluster.remove_node("demo-worker", force=True)
    await cluster.export_logs("logs")
    snapshot = await cluster.snapshot("installed")
    assert_type((snapshot.name, snapshot.taken, snapshot.objects), tuple[str, datetime, int])
    assert_type([each.name for each in await cluster.snapshots()], list[str])
    await cluster.restore("installed", on_event=listener)
    await cluster.delete_snapshot("installed")
    await cluster.reset()
    await cluster.delete()
    assert_type(await gc(older_than_s=3600, dry_run=True), list[Leftover])


async def kubernetes(cluster: Cluster) -> None:
    """What is in a cluster."""
    assert_type((cluster.name, cluster.engine, cluster.nodes), tuple[str, Engine, tuple[Node, ...]])
    assert_type(cluster.kubeconfig, dict[str, Any])
    assert_type(cluster.internal_kubeconfig, dict[str, Any])
    assert_type(cluster.kubeconfig_path, Path)
    assert_type({**os.environ, **cluster.env()}, dict[str, str])
    assert_type(await cluster.apply("kind: Pod"), list[dict[str, Any]])
    await cluster.apply(Path("manifests"), namespace="shop", timeout_s=10)
    await cluster.apply({"kind": "Pod"})
    await cluster.apply([{"kind": "Pod"}, {"kind": "Service"}])
    assert_type(await cluster.wait_for("deployment/web", "condition=Available"), list[dict[str, Any]])
    await cluster.wait_for("pod", lambda pod: bool(pod["status"]["podIP"]), selector="app=web", namespace=None, timeout_s=10)
    async with cluster.port_forward("service/web", 80, namespace="shop", local_port=8080, on_event=listener) as address:
        assert_type((f"http://{address}/", address.host, address.port), tuple[str, str, int])
    done = await cluster.exec("pod/web", ["cat"], stdin=b"hello", container="main", check=False)
    assert_type((done.exit_code, done.stdout, done.stderr, done.text), tuple[int, bytes, bytes, str])
    assert_type(cluster.events(), AsyncGenerator[dict[str, Any], None])
    async for event in cluster.events(namespace="shop"):
        assert_type(event, dict[str, Any])
    async with cluster.client() as api:
        await CoreV1Api(api).list_node()


async def nodes(node: Node) -> None:
    """What is in a node."""
    assert_type((node.engine, node.cluster, node.name, node.id, node.role), tuple[Engine, str, str, str, Role])
    done = await node.exec(["cat"], stdin=b"hello", env={"A": "1"}, check=False)
    assert_type(done.exit_code, int)
    await node.put({"/etc/motd": b"hello\n"})
    assert_type(await node.get("/etc/motd"), bytes)
    assert_type(await node.published(30080), str)
    assert_type(await node.logs(tail="10"), str)
    async for line in node.logs(follow=True):
        assert_type(line, str)
    async with node.paused(wait_s=0), node.killed(wait_s=60), node.disconnected():
        pass


def without_asyncio() -> None:
    """The same, blocking."""
    with sync.Cluster.running(ClusterConfig(), on_event=listener) as cluster:
        assert_type(cluster, sync.Cluster)
        assert_type(cluster.nodes, tuple[sync.Node, ...])
        assert_type(cluster.kubeconfig_path, Path)
        assert_type(cluster.asynchronous, Cluster)
        assert_type(cluster.add_node("worker"), sync.Node)
        assert_type(cluster.nodes[0].exec(["uname"]).text, str)
        for line in cluster.nodes[0].logs(follow=True):
            assert_type(line, str)
        with cluster.nodes[0].killed(), cluster.port_forward("service/web", 80) as address:
            assert_type((f"http://{address}/", address.host, address.port), tuple[str, str, int])
    assert_type(sync.Cluster.create_many([None]), list[sync.Cluster | KindasyncError])
    assert_type(sync.Cluster.list(), list[str])
    assert_type(sync.Cluster.claim(), sync.Cluster)


async def failures() -> None:
    """What is raised."""
    try:
        await Cluster.create("demo")
    except ConfigInvalid as error:
        assert_type([(problem.path, problem.message) for problem in error.problems], list[tuple[str, str]])
    except NotReady as error:
        assert_type((error.awaited, error.last_state), tuple[str, str])
    except (AlreadyExists, ClusterNotFound):
        raise
    except KindasyncError as error:
        assert_type((error.what, error.why, error.hint, error.evidence), tuple[str, str, str, str])


def of_pytest_kind(kind_cluster: KindCluster) -> None:
    """What suites that were written for it use."""
    assert_type((kind_cluster.name, kind_cluster.kubeconfig_path, kind_cluster.cluster), tuple[str, Path, Cluster])
    assert_type(kind_cluster.kubectl("get", "pods", "-n", "shop"), str)
    kind_cluster.load_docker_image("app:1")
    with kind_cluster.port_forward("service/web", 80) as port:
        assert_type(port, int)


def decisions(env: Mapping[str, str], home: Path, facts: Facts) -> None:
    """What needs no Engine."""
    assert_type(plan(ClusterConfig(), facts), Plan)
    assert_type(ula_subnet("kind", 0), str)
    assert_type(load("kind: Cluster"), ClusterConfig)
    for patched in (merge_kubeadm, json6902_kubeadm, merge_containerd, json6902_containerd):
        assert_type(patched("a: b", ["c: d"]), str)
    assert_type(merge(None, {}, set_current=False), dict[str, Any])
    assert_type(remove({}, "demo"), dict[str, Any])
    assert_type(target_path(None, env, home), Path)
    assert_type(merged_paths(env, home), tuple[Path, ...])
    assert_type(no_proxy("", subnets=["10.0.0.0/8"], nodes=["demo-worker"]), str)
    assert_type(KubernetesVersion.parse("v1.37.2").kubeadm_api, str)


async def fakes() -> None:
    """What tests of others may use."""
    async with FakeEngine(profile="docker-26") as fake:
        assert_type(fake.url, str)
        fake.fail("ContainerStart", nth=2, status=500, message="no space left on device")
