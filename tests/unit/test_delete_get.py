"""Clusters that are there: listed, found and deleted, from what the Engine says alone."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path
from typing import Any

import anyio
import pytest
import yaml

from kindasync import Cluster, ClusterNotFound
from kindasync import events as told
from kindasync.config import Role
from kindasync.docker import Engine
from kindasync.docker.containers import container_start, container_stop
from kindasync.errors import EngineMissing, LeftBehind, NodeError
from kindasync.testing import FakeEngine, FakeImage
from tests.unit.leftovers import nothing_left
from tests.unit.recording import Recording

pytestmark = pytest.mark.anyio

NODE = "demo-control-plane"
NODE_IMAGE = "kindasync/node:v1.37.2"
KINDS_IMAGE = "kindest/node:v1.37.0"


async def create(fake: FakeEngine, name: str = "demo", **options: Any) -> Cluster:
    """A cluster on the fake."""
    return await Cluster.create(name, engine=fake.url, **options)


async def made_by_kind(fake: FakeEngine, name: str = "theirs") -> None:
    """What the kind program leaves: its labels, its network without a label, no mount."""
    ours = await create(fake, "pattern")
    files = dict(fake.containers["pattern-control-plane"].files)
    await ours.delete()
    fake.images[KINDS_IMAGE] = FakeImage(reference=KINDS_IMAGE, files=files)
    fake.add_network("kind")
    ports = {"control-plane": "26444", "external-load-balancer": "26445"}
    for role in ("control-plane", "worker", "external-load-balancer"):
        labels = {"io.x-k8s.kind.cluster": name, "io.x-k8s.kind.role": role}
        container = fake.add_container(f"{name}-{role}", KINDS_IMAGE, labels=labels, network="kind")
        if role in ports:
            container.host_config["PortBindings"] = {"6443/tcp": [{"HostIp": "127.0.0.1", "HostPort": ports[role]}]}
        await start(fake, container.name)


async def start(fake: FakeEngine, container: str) -> None:
    """As `docker start` does."""
    async with Engine.of(fake.url).connect() as connection:
        await container_start(connection, container)


# -- list


async def test_no_clusters(fake: FakeEngine) -> None:
    """An Engine without any."""
    fake.add_container("something-else", NODE_IMAGE)

    assert await Cluster.list(engine=fake.url) == []


async def test_clusters_are_listed_by_name(fake: FakeEngine) -> None:
    """Each once, in the order in which people count; running or not."""
    for name in ("ci-10", "ci-9", "app"):
        await create(fake, name)
    fake.die("app-control-plane")

    assert await Cluster.list(engine=fake.url) == ["app", "ci-9", "ci-10"]


# -- get


async def test_a_cluster_is_found_by_its_name(fake: FakeEngine) -> None:
    """The handle is that of the one who created it."""
    created = await create(fake)

    found = await Cluster.get("demo", engine=fake.url)

    assert found == created
    assert (found.kubeconfig, found.kubeconfig_path, found.nodes) == (created.kubeconfig, created.kubeconfig_path, created.nodes)
    (node,) = found.nodes
    assert (node.name, node.role, node.cluster) == (NODE, Role.CONTROL_PLANE, "demo")


async def test_a_cluster_that_is_not_there(fake: FakeEngine) -> None:
    """The error says which there are."""
    await create(fake, "other")

    with pytest.raises(ClusterNotFound, match='there is no cluster "demo"') as raised:
        await Cluster.get("demo", engine=fake.url)

    assert raised.value.why == "there are: other"


async def test_a_cluster_is_found_after_a_rename(fake: FakeEngine, home: Path) -> None:
    """`docker rename` of its node changes neither its kubeconfig nor where that is; and it can be deleted."""
    with nothing_left(fake, home):
        created = await create(fake)
        fake.rename(NODE, "renamed")

        found = await Cluster.get("demo", engine=fake.url)

        assert (found.kubeconfig, found.kubeconfig_path) == (created.kubeconfig, created.kubeconfig_path)
        assert [node.name for node in found.nodes] == ["renamed"]
        await found.delete()


async def test_the_kubeconfigs_path_comes_from_the_mount(fake: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From another home, too: nothing on the host is needed to find it."""
    created = await create(fake)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "elsewhere"))

    found = await Cluster.get("demo", engine=fake.url)

    assert found.kubeconfig_path == created.kubeconfig_path
    assert list((tmp_path / "elsewhere").iterdir()) == []


async def test_a_lost_kubeconfig_is_made_again(fake: FakeEngine) -> None:
    """The file is a cache: the node has the original."""
    created = await create(fake)
    created.kubeconfig_path.unlink()
    created.kubeconfig_path.parent.rmdir()

    found = await Cluster.get("demo", engine=fake.url)

    assert yaml.safe_load(found.kubeconfig_path.read_text()) == created.kubeconfig
    assert stat.S_IMODE(found.kubeconfig_path.stat().st_mode) == 0o600
    assert stat.S_IMODE(found.kubeconfig_path.parent.stat().st_mode) == 0o700


async def test_a_kubeconfig_that_says_something_else_is_not_used(fake: FakeEngine) -> None:
    """One of a cluster of that name that is gone, for example."""
    created = await create(fake)
    created.kubeconfig_path.write_text("clusters: []\n")

    found = await Cluster.get("demo", engine=fake.url)

    assert yaml.safe_load(found.kubeconfig_path.read_text()) == created.kubeconfig


async def test_a_node_that_does_not_run_has_no_address(fake: FakeEngine) -> None:
    """The error says what state it is in, and what to do."""
    await create(fake)
    fake.die(NODE)

    with pytest.raises(NodeError, match=f"{NODE} is exited") as raised:
        await Cluster.get("demo", engine=fake.url)

    assert raised.value.hint == "kindasync start --name demo"


async def test_a_cluster_that_is_being_made_has_no_kubeconfig_yet(fake: FakeEngine) -> None:
    """It is there, and cannot be used."""
    found: list[NodeError] = []

    async def look(event: told.Event) -> None:
        if isinstance(event, told.NodePaused):
            with pytest.raises(NodeError, match="being made") as raised:
                await Cluster.get("demo", engine=fake.url)
            found.append(raised.value)
            scope.cancel()

    for nth in (1, 2):
        fake.hang("ContainerExec", nth)  # kubeadm's files are not made before it was looked
    with anyio.CancelScope() as scope:
        await create(fake, on_event=look)

    assert len(found) == 1


# -- delete


async def test_delete_leaves_nothing(fake: FakeEngine, home: Path) -> None:
    """Containers, volumes, the network, files; and it is told."""
    seen = Recording()

    with nothing_left(fake, home):
        cluster = await create(fake)
        assert fake.volumes != {}
        await cluster.delete(on_event=seen.keep)

    assert seen.names == ["NodeRemoved", "NetworkRemoved", "ClusterDeleted"]
    assert seen.only(told.NodeRemoved).node == NODE
    assert seen.only(told.ClusterDeleted).duration_s >= seen.only(told.NodeRemoved).duration_s >= 0


async def test_delete_twice(fake: FakeEngine, home: Path) -> None:
    """One that is gone counts as deleted."""
    with nothing_left(fake, home):
        cluster = await create(fake)
        await cluster.delete()
        await cluster.delete()


async def test_two_deletes_at_once(fake: FakeEngine, home: Path) -> None:
    """Neither minds the other."""
    with nothing_left(fake, home):
        cluster = await create(fake)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cluster.delete)
            tasks.start_soon(cluster.delete)


async def test_delete_of_a_cluster_whose_nodes_do_not_run(fake: FakeEngine, home: Path) -> None:
    """Stopped, dead, or never started."""
    with nothing_left(fake, home):
        cluster = await create(fake)
        fake.die(NODE)
        await cluster.delete()


async def test_delete_removes_only_that_cluster(fake: FakeEngine) -> None:
    """Another one, and containers that only look alike, stay."""
    await create(fake, "demo-2")
    await create(fake)
    fake.add_container("demo-something", NODE_IMAGE)

    await (await Cluster.get("demo", engine=fake.url)).delete()

    assert set(fake.containers) == {"demo-2-control-plane", "demo-something"}
    assert (await Cluster.get("demo-2", engine=fake.url)).kubeconfig_path.exists()


async def test_what_cannot_be_removed_is_an_error_that_names_it(fake: FakeEngine, home: Path) -> None:
    """And the same again does it, when it can be done."""
    with nothing_left(fake, home):
        cluster = await create(fake)
        fake.fail("ContainerDelete", message="device or resource busy")
        seen = Recording()

        with pytest.raises(LeftBehind, match="device or resource busy") as raised:
            await cluster.delete(on_event=seen.keep)

        assert raised.value.objects == (f"container {NODE}",)
        assert "ClusterDeleted" not in seen.names
        assert cluster.kubeconfig_path.exists()
        await cluster.delete()


async def test_what_cannot_be_removed_by_who_is_cancelled_is_a_note(fake: FakeEngine, home: Path) -> None:
    """By asyncio's own cancellation; the cluster's context has to be left all the same."""

    async def body() -> None:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        async with Cluster.running(name="demo", engine=fake.url):
            fake.on("ContainerDelete", lambda: loop.call_soon_threadsafe(task.cancel))
            fake.fail("ContainerDelete", message="device or resource busy")

    with pytest.raises(asyncio.CancelledError) as raised:
        await asyncio.create_task(body())

    (note,) = raised.value.__notes__
    assert "device or resource busy" in note


async def test_a_network_that_cannot_be_removed_is_an_error_that_names_it(fake: FakeEngine, home: Path) -> None:
    """And the same again does it, though no container says any more that it was there."""
    with nothing_left(fake, home):
        cluster = await create(fake)
        fake.fail("NetworkDelete", message="failed to set up iptables")

        with pytest.raises(LeftBehind) as raised:
            await cluster.delete()

        assert raised.value.objects == ("network kind",)
        await cluster.delete()


async def test_a_network_that_is_needed_again_stays(fake: FakeEngine) -> None:
    """Another process has started a node in it, after the look and before the removal."""
    cluster = await create(fake)
    fake.fail("NetworkDelete", status=403, message="error while removing network: network kind id 123 has active endpoints")

    await cluster.delete()

    assert list(fake.networks) == ["kind"]


async def test_directories_that_are_not_ours_stay(fake: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From another home, the files of the creator's go, and nothing above what was made for them."""
    state = tmp_path / "home/.local/state"
    state.mkdir(parents=True)
    await create(fake)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "elsewhere"))

    await (await Cluster.get("demo", engine=fake.url)).delete()

    assert list(state.iterdir()) == []
    assert list((tmp_path / "elsewhere").iterdir()) == []


# -- clusters that kind made


async def test_kinds_clusters_are_listed_and_found(fake: FakeEngine) -> None:
    """By the same labels; the API server is where the balancer is published."""
    await made_by_kind(fake)

    found = await Cluster.get("theirs", engine=fake.url)

    assert await Cluster.list(engine=fake.url) == ["theirs"]
    assert [(node.name, node.role) for node in found.nodes] == [
        ("theirs-control-plane", Role.CONTROL_PLANE),
        ("theirs-worker", Role.WORKER),
    ]
    assert found.kubeconfig["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:26445"
    assert found.kubeconfig["current-context"] == "kind-theirs"


async def test_kinds_clusters_are_deleted_and_their_network_stays(fake: FakeEngine, home: Path) -> None:
    """All nodes, the balancer, and the file that `get` wrote; a network without our label is never removed."""
    await made_by_kind(fake)
    found = await Cluster.get("theirs", engine=fake.url)
    assert found.kubeconfig_path.exists()

    await found.delete()

    assert fake.containers == {}
    assert list(fake.networks) == ["kind"]
    assert [path for path in home.rglob("*") if path.is_file()] == []


# -- Engines


async def test_two_engines_do_not_mix(fake: FakeEngine, home: Path) -> None:
    """A cluster `demo` on each, in one process: each has its nodes, its port, its file; deleting one leaves the other."""
    with FakeEngine() as other, nothing_left(fake, home), nothing_left(other, home):
        one, two = await create(fake), await create(other)

        assert one != two
        assert one.kubeconfig_path != two.kubeconfig_path
        assert one.kubeconfig["clusters"][0]["cluster"]["server"] != two.kubeconfig["clusters"][0]["cluster"]["server"]
        for cluster, engine in ((one, fake), (two, other)):
            found = await Cluster.get("demo", engine=engine.url)
            assert (found.kubeconfig_path, found.kubeconfig) == (cluster.kubeconfig_path, cluster.kubeconfig)
            assert [node.engine.url for node in found.nodes] == [engine.url]

        await one.delete()

        assert fake.containers == {}
        assert (await Cluster.get("demo", engine=other.url)).kubeconfig_path == two.kubeconfig_path
        await two.delete()


async def test_clusters_are_created_side_by_side(fake: FakeEngine, home: Path) -> None:
    """Many at once get different addresses and ports, and share one network."""
    names = [f"ci-{number}" for number in range(5)]

    with nothing_left(fake, home):
        async with anyio.create_task_group() as tasks:
            for name in names:
                tasks.start_soon(create, fake, name)

        assert await Cluster.list(engine=fake.url) == names
        assert len({container.address for container in fake.containers.values()}) == 5
        assert len({container.body["_published"]["6443/tcp"] for container in fake.containers.values()}) == 5
        assert list(fake.networks) == ["kind"]

        async with anyio.create_task_group() as tasks:
            for name in names:
                tasks.start_soon((await Cluster.get(name, engine=fake.url)).delete)


async def test_the_engine_is_that_of_the_environment(fake: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """DOCKER_HOST, where none is given."""
    monkeypatch.setenv("DOCKER_HOST", fake.url)

    cluster = await Cluster.create("demo")

    assert list(fake.containers) == [NODE]
    assert cluster.engine.url == fake.url


async def test_no_engine(tmp_path: Path) -> None:
    """Nothing is where it should be; the error says what to do."""
    with pytest.raises(EngineMissing) as raised:
        await Cluster.create("demo", engine=f"unix://{tmp_path}/missing.sock")

    assert raised.value.why == "there is no such socket"
    assert "start Docker" in raised.value.hint


async def test_a_handle_crosses_event_loops(fake: FakeEngine) -> None:
    """It is a value: it holds no socket, and works where it was not made."""
    cluster = await create(fake)

    def elsewhere() -> str:
        async def use() -> str:
            return (await cluster.nodes[0].exec(["echo", "hello"])).text

        return anyio.run(use)

    assert await anyio.to_thread.run_sync(elsewhere) == "hello\n"


async def test_a_client_for_the_cluster(fake: FakeEngine) -> None:
    """kubernetes_asyncio's, with the cluster's address and credentials."""
    cluster = await create(fake)

    async with cluster.client() as api:
        response = await api.rest_client.pool_manager.get(f"{api.configuration.host}/version")
        status = response.status
        response.release()

    assert status == 200
    assert "GET /version" in fake.api_requests(NODE)


async def test_where_nodes_publish_their_ports(fake: FakeEngine) -> None:
    """`published` is where this machine reaches them."""
    config = {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "nodes": [{"extraPortMappings": [{"containerPort": 80, "hostPort": 28080}]}],
    }
    cluster = await create(fake, config=config)

    assert await cluster.nodes[0].published(80) == "127.0.0.1:28080"
    with pytest.raises(NodeError, match="81/tcp"):
        await cluster.nodes[0].published(81)


async def test_a_node_that_was_stopped_and_started_has_its_address_and_port(fake: FakeEngine) -> None:
    """They were decided before it started for the first time."""
    cluster = await create(fake)
    address = fake.containers[NODE].address
    async with Engine.of(fake.url).connect() as connection:
        await container_stop(connection, cluster.nodes[0].id)
    await start(fake, NODE)

    assert fake.containers[NODE].address == address
    assert (await Cluster.get("demo", engine=fake.url)).kubeconfig == cluster.kubeconfig
