"""Fixtures for tests with real clusters: one cluster for the session, and a look at what is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any
from urllib.request import urlopen

import anyio
import pytest
from kubernetes_asyncio.client import CoreV1Api

from kindasync import Cluster, Engine
from kindasync.cluster._names import NETWORK_LABEL
from kindasync.cluster._namespaces import make_namespace, remove_namespace
from kindasync.cluster._network import VARIABLE, network_name
from kindasync.docker import Connection
from kindasync.docker.containers import (
    Container,
    ContainerSpec,
    container_create,
    container_inspect,
    container_list,
    container_remove,
    container_start,
)
from kindasync.docker.images import image_load, image_remove, image_tag
from kindasync.docker.networks import Network, network_list, network_remove
from kindasync.docker.system import system_info
from kindasync.docker.volumes import volume_list
from kindasync.errors import NotFound
from tests.cluster.archives import REFERENCE, write_image_archive

BUSYBOX = "docker.io/kindasync/busybox:trixie"  # in every node image of ours
APP = "kindasync-tests-app:1"  # as users write it, without registry


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs a cluster, and time."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.cluster)
            if not item.get_closest_marker("timeout"):
                item.add_marker(pytest.mark.timeout(180))


async def networks_of_kind(connection: Connection, name: str) -> list[Network]:
    """The nodes' network, if the kind program made it: no address can be fixed in it, and kind never removes it."""
    return [each for each in await network_list(connection, name=name) if NETWORK_LABEL not in each.labels]


@pytest.fixture(scope="session", autouse=True)
async def own_network(anyio_backend: str) -> AsyncIterator[Engine]:
    """Where kind's network is there already, this session's clusters are in another one. The session's Engine."""
    engine = Engine.of(None)
    with pytest.MonkeyPatch.context() as patch:
        async with engine.connect() as connection:
            if await networks_of_kind(connection, network_name()):
                patch.setenv(VARIABLE, "kindasync-tests")
        yield engine


@pytest.fixture(autouse=True)
async def no_network_of_kind(own_network: Engine) -> AsyncIterator[None]:
    """What a test with the kind program leaves is gone before the next."""
    name = network_name()
    yield
    async with own_network.connect() as connection:
        for network in await networks_of_kind(connection, name):
            if not await container_list(connection, network=network.name):
                await network_remove(connection, network.id)


@dataclass(frozen=True, slots=True)
class Left:
    """All that kindasync could leave: names of containers and networks, volumes, files, the user's kubeconfig."""

    containers: frozenset[str]
    networks: frozenset[str]
    volumes: frozenset[str]
    files: frozenset[str]
    kubeconfig: str


async def look(home: Path) -> Left:
    """What is there now."""
    async with Engine.of(None).connect() as connection:
        return Left(
            containers=frozenset(container.name for container in await container_list(connection)),
            networks=frozenset(network.name for network in await network_list(connection)),
            volumes=frozenset(volume.name for volume in await volume_list(connection)),
            files=frozenset(str(path) for path in home.rglob("*")),
            kubeconfig=(home / ".kube/config").read_text() if (home / ".kube/config").exists() else "",
        )


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home for this test alone."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    return tmp_path


@pytest.fixture
def name() -> str:
    """A cluster name that nothing else has."""
    return f"test-{token_hex(4)}"


@pytest.fixture(scope="session")
async def cluster(anyio_backend: str) -> AsyncIterator[Cluster]:
    """A cluster that tests share, with one published port."""
    async with Engine.of(None).connect() as connection:
        address = (await system_info(connection)).publish_address
    config = {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "nodes": [{"extraPortMappings": [{"containerPort": 30080, "listenAddress": address}]}],
    }
    async with Cluster.running(config) as running:
        yield running


@pytest.fixture
async def namespace(cluster: Cluster) -> AsyncIterator[str]:
    """A namespace of the shared cluster, for one test."""
    name = f"test-{token_hex(3)}"
    await make_namespace(cluster.kubeconfig, name)
    yield name
    await remove_namespace(cluster.kubeconfig, name)


def run_cli(
    *arguments: str, env: Mapping[str, str] | None = None, stdin: str | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """The command, as a user runs it."""
    return subprocess.run(
        [sys.executable, "-m", "kindasync", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **(env or {})},
        input=stdin,
        cwd=cwd,
        check=False,
    )


def pod(name: str, command: Sequence[str], **spec: Any) -> Any:
    """A pod of the busybox that every node has, as the API takes it."""
    container = {"name": "main", "image": BUSYBOX, "imagePullPolicy": "Never", "command": list(command)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "restartPolicy": "Never",
            "containers": [{**container, **spec.pop("container", {})}],
            **spec,
        },
    }


@asynccontextmanager
async def beside(cluster: Cluster) -> AsyncIterator[Container]:
    """A container that is none of the cluster's, in the network of its nodes; it does nothing."""
    async with cluster.engine.connect() as connection:
        node = await container_inspect(connection, cluster.nodes[0].id)
        spec = ContainerSpec(image=node.image, entrypoint=("sleep", "infinity"), network=node.attachments[0].network)
        container = await container_create(connection, f"{cluster.name}-beside", spec)
        try:
            await container_start(connection, container)
            yield await container_inspect(connection, container)
        finally:
            with anyio.CancelScope(shield=True):
                await container_remove(connection, container)


async def pod_ends(core: CoreV1Api, namespace: str, name: str) -> tuple[str, str]:
    """Wait until a pod has ended; its phase and what it printed."""
    await pod_is(core, namespace, name, lambda status: status.phase in ("Succeeded", "Failed"))
    phase = (await core.read_namespaced_pod(name, namespace)).status.phase
    return phase, await core.read_namespaced_pod_log(name, namespace)


async def pod_is(core: CoreV1Api, namespace: str, name: str, wanted: Callable[[Any], bool], *, timeout_s: float = 60) -> None:
    """Wait, by a watch, until a pod's status is as wanted."""
    from kubernetes_asyncio.watch import Watch

    last = None
    with anyio.move_on_after(timeout_s):
        async with Watch().stream(core.list_namespaced_pod, namespace, field_selector=f"metadata.name={name}") as events:
            async for event in events:
                last = event["object"].status
                if wanted(last):
                    return
    raise AssertionError(f"pod {name} is not as wanted after {timeout_s:g} s: {last}")


async def pods_ready(cluster: Cluster) -> None:
    """Wait until all pods are Ready: on cgroup v1, a node that is killed while runc starts a container in it, whose cgroup it freezes for a
    moment, keeps it frozen; then the Engine cannot end the node.
    """
    await cluster.wait_for("pod", "condition=Ready", namespace=None, timeout_s=120)


def fetch(url: str) -> bytes:
    """A page; kube-proxy may be a moment behind the pod."""
    for _ in range(100):
        try:
            with urlopen(url, timeout=5) as page:
                return bytes(page.read())
        except OSError:
            anyio.run(anyio.sleep, 0.1)
    raise AssertionError(f"no page from {url}")


# -- an image that no node has


@pytest.fixture(scope="session")
async def archive(anyio_backend: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image archive, with REFERENCE."""
    path = tmp_path_factory.mktemp("archive") / "image.tar"
    await write_image_archive(path)
    return path


@pytest.fixture
async def app(archive: Path) -> AsyncIterator[str]:
    """APP, in the Engine."""
    async with Engine.of(None).connect() as connection:
        await image_load(connection, pieces_of(archive.read_bytes()))
        await image_tag(connection, REFERENCE, APP)
        try:
            yield APP
        finally:
            for reference in (APP, REFERENCE):
                try:
                    await image_remove(connection, reference)
                except NotFound:
                    continue


async def pieces_of(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def runs_everywhere(cluster: Cluster, image: str, prefix: str) -> None:
    """A pod of the image runs on each node, which may not pull."""
    async with cluster.client() as api:
        core = CoreV1Api(api)
        for index, node in enumerate(cluster.nodes):
            document = pod(f"{prefix}-{index}", ["sh", "-c", "echo here"], nodeName=node.name, container={"image": image})
            await core.create_namespaced_pod("default", document)
        for index, _ in enumerate(cluster.nodes):
            assert await pod_ends(core, "default", f"{prefix}-{index}") == ("Succeeded", "here\n")
