"""Registries of a cluster: what is pushed to them, and what they have fetched, runs in its pods."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from secrets import token_hex

import pytest
import yaml
from kubernetes_asyncio.client import CoreV1Api

from kindasync import Cluster, Engine, events
from kindasync.cluster._images import default_reference
from kindasync.cluster._network import network_name
from kindasync.cluster._registry import wait_serving
from kindasync.docker import Connection
from kindasync.docker.archives import put_archive
from kindasync.docker.containers import (
    PortBinding,
    container_create,
    container_inspect,
    container_list,
    container_remove,
    container_restart,
    container_start,
)
from kindasync.docker.images import image_load, image_push, image_remove, image_tag
from kindasync.docker.system import system_info
from kindasync.docker.volumes import volume_list, volume_remove
from kindasync.node._files import tar_of
from kindasync.node._registry import registry_files, registry_spec
from tests.cluster.archives import REFERENCE, write_image_archive
from tests.cluster.conftest import pod, pod_ends

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

UPSTREAM = f"kindasync-tests-{token_hex(3)}"  # a registry that the cluster has a cache of, and no other has
MIRRORED = "registry.test"  # how image references name it
UPSTREAMS = "docker.io/kindasync-tests/upstreams:1"  # an image that no node has: of what it has, a node asks a cache for nothing


@pytest.fixture(scope="module")
async def engine(anyio_backend: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Connection]:
    """The Engine, with the images REFERENCE and UPSTREAMS."""
    archive = tmp_path_factory.mktemp("archive") / "image.tar"
    async with Engine.of(None).connect() as connection:
        for reference in (REFERENCE, UPSTREAMS):
            await write_image_archive(archive, reference=reference, padding_bytes=1024)
            await image_load(connection, pieces_of(archive))
        yield connection
        for reference in (REFERENCE, UPSTREAMS):
            await image_remove(connection, reference)


async def pieces_of(path: Path) -> AsyncIterator[bytes]:
    yield path.read_bytes()


@pytest.fixture(scope="module")
async def started(anyio_backend: str) -> list[events.RegistryStarted]:
    """What was told of the registry."""
    return []


@pytest.fixture(scope="module")
async def cluster(engine: Connection, started: list[events.RegistryStarted]) -> AsyncIterator[Cluster]:
    """Two nodes and a registry. When it is deleted nothing is left but what was fetched, in a volume that says from where."""

    def note(event: events.Event) -> None:
        if isinstance(event, events.RegistryStarted):
            started.append(event)

    url = f"http://{UPSTREAM}:5000"
    documents = (
        {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "nodes": [{"role": "control-plane"}, {"role": "worker"}]},
        {
            "kind": "ClusterExtras",
            "apiVersion": "kindasync/v1alpha1",
            "registries": {"local": {}, "mirrors": [{"host": MIRRORED, "remoteURL": url}]},
        },
    )
    try:
        async with Cluster.running(yaml.safe_dump_all(documents), on_event=note) as running:
            volumes = {mount.name for each in await container_list(engine) if each.name.startswith(running.name) for mount in each.mounts}
            yield running
        (cache,) = await volume_list(engine, labels={"kindasync.registry-cache": url})
        assert volumes & {each.name for each in await volume_list(engine)} == {cache.name}
        assert not [each.name for each in await container_list(engine) if each.name.startswith(running.name)]
    finally:
        for volume in await volume_list(engine, labels={"kindasync.registry-cache": url}):
            await volume_remove(engine, volume.name)


@asynccontextmanager
async def pushed(connection: Connection, reference: str, image: str = REFERENCE) -> AsyncIterator[None]:
    """An image, pushed under another name."""
    await image_tag(connection, image, reference)
    try:
        await image_push(connection, reference)
        yield
    finally:
        await image_remove(connection, reference)


@asynccontextmanager
async def upstream(connection: Connection) -> AsyncIterator[str]:
    """A registry in the nodes' network; how the Engine's host names images of it."""
    local = PortBinding(container_port=5000, host_ip="127.0.0.1", host_port=0)
    image = await default_reference(connection, await system_info(connection))
    spec = registry_spec(name=UPSTREAM, image=image, labels={}, env={}, network=network_name(), caches=(), local=local)
    container = await container_create(connection, UPSTREAM, spec)
    try:
        await put_archive(connection, container, "/", tar_of(registry_files((), local=True)))
        await container_start(connection, container)
        await wait_serving(connection, container)
        (published,) = (await container_inspect(connection, container)).ports
        yield f"localhost:{published.host_port}"
    finally:
        await container_remove(connection, container)


async def runs(cluster: Cluster, name: str, image: str, node: str) -> None:
    """A pod of an image that its node has to pull."""
    container = {"image": image, "imagePullPolicy": "Always"}
    document = pod(name, ["sh", "-c", "echo here"], nodeName=node, container=container)
    async with cluster.client() as api:
        core = CoreV1Api(api)
        await core.create_namespaced_pod("default", document)
        assert await pod_ends(core, "default", name) == ("Succeeded", "here\n")


async def test_what_is_pushed_runs(engine: Connection, cluster: Cluster, started: list[events.RegistryStarted]) -> None:
    """On every node, under the name with which it was pushed, and under the one that pods know."""
    (registry,) = started

    async with pushed(engine, f"{registry.host}/app:1"):
        pass

    await runs(cluster, "pushed-0", f"{registry.host}/app:1", cluster.nodes[0].name)
    await runs(cluster, "pushed-1", f"{registry.node}:5000/app:1", cluster.nodes[1].name)


async def test_tools_and_pods_find_it(cluster: Cluster, started: list[events.RegistryStarted]) -> None:
    """By the ConfigMap of KEP-1755; what it says of the cluster's network is true."""
    (registry,) = started
    async with cluster.client() as api:
        core = CoreV1Api(api)
        data = (await core.read_namespaced_config_map("local-registry-hosting", "kube-public")).data
        hosting = yaml.safe_load(data["localRegistryHosting.v1"])
        url = f"http://{hosting['hostFromClusterNetwork']}/v2/"
        ask = f"for i in 1 2 3 4 5 6 7 8; do wget -q -O - -T 2 {url} 2>/dev/null && break; sleep 1; done"  # until DNS is there
        await core.create_namespaced_pod("default", pod("asks", ["sh", "-c", ask]))
        answer = await pod_ends(core, "default", "asks")

    assert hosting["host"] == registry.host
    assert answer == ("Succeeded", "{}")


async def test_what_was_fetched_once_is_there_without_its_registry(
    engine: Connection, cluster: Cluster, started: list[events.RegistryStarted]
) -> None:
    """For other nodes, also one that is added, and when the cache has been started since."""
    image = f"{MIRRORED}/team/app:1"
    async with upstream(engine) as host, pushed(engine, f"{host}/team/app:1", UPSTREAMS):
        await runs(cluster, "fetched-0", image, cluster.nodes[0].name)

    await container_restart(engine, started[0].node)
    await runs(cluster, "fetched-1", image, cluster.nodes[1].name)
    added = await cluster.add_node()
    await runs(cluster, "fetched-2", image, added.name)


async def test_what_was_pushed_survives_a_stop(engine: Connection, cluster: Cluster, started: list[events.RegistryStarted]) -> None:
    """With the same port; and it can be pushed to again."""
    (registry,) = started
    async with pushed(engine, f"{registry.host}/kept:1"):
        pass

    await cluster.stop()
    names = [each.name for each in await container_list(engine) if each.name.startswith(cluster.name)]
    assert {(await container_inspect(engine, name)).state for name in names} == {"exited"}  # lists may be a moment late
    await cluster.start()

    await runs(cluster, "kept", f"{registry.host}/kept:1", cluster.nodes[1].name)
    async with pushed(engine, f"{registry.host}/more:1"):
        pass
