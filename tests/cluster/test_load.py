"""Images loaded into running nodes, and their logs exported: what users of both rely on."""

from __future__ import annotations

import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kindasync import Cluster, Engine, events
from kindasync.docker.containers import container_stop
from kindasync.docker.images import image_import
from kindasync.errors import ClusterError, StepFailed
from kindasync.node._containerd import CTR
from kindasync.node._files import tar_of
from tests.cluster.archives import REFERENCE, write_image_archive
from tests.cluster.conftest import pieces_of, run_cli, runs_everywhere

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

TWO_NODES = {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "nodes": [{"role": "control-plane"}, {"role": "worker"}]}


@pytest.fixture(scope="module")
async def two_nodes(anyio_backend: str) -> AsyncIterator[Cluster]:
    """One control plane, one worker."""
    async with Cluster.running(TWO_NODES) as cluster:
        yield cluster


async def test_an_image_of_the_engine_is_loaded_once(two_nodes: Cluster, app: str) -> None:
    """Into all nodes, under the name its user knows; told with bytes. What is there is not loaded again."""
    told: list[events.Event] = []

    await two_nodes.load_image(app, on_event=told.append)

    await runs_everywhere(two_nodes, app, "image")
    names = {node.name for node in two_nodes.nodes}
    progress = [event for event in told if isinstance(event, events.LoadProgress)]
    assert {event.node for event in progress} == names
    assert max(event.current for event in progress) > 24 * 1024 * 1024
    assert {(event.node, event.skipped) for event in told if isinstance(event, events.NodeLoaded)} == {(name, False) for name in names}

    told.clear()
    await two_nodes.load_image(app, on_event=told.append)
    assert {(event.node, event.skipped) for event in told if isinstance(event, events.NodeLoaded)} == {(name, True) for name in names}
    assert not [event for event in told if isinstance(event, events.LoadProgress)]


async def test_a_tag_that_moved_is_loaded_again(two_nodes: Cluster, app: str, tmp_path: Path) -> None:
    """The name alone is not what decides."""
    told: list[events.Event] = []
    await two_nodes.load_image(app)
    async with Engine.of(None).connect() as connection:
        await image_import(connection, pieces_of(tar_of({"/etc/other": "image"})), app)

    await two_nodes.load_image(app, on_event=told.append)

    assert [event.skipped for event in told if isinstance(event, events.NodeLoaded)] == [False, False]


async def test_unknown_images_are_named_all_at_once(two_nodes: Cluster, app: str) -> None:
    """Nothing is loaded then."""
    told: list[events.Event] = []

    with pytest.raises(ClusterError, match="does not have the images no-such:1, no-such:2"):
        await two_nodes.load_image("no-such:1", app, "no-such:2", on_event=told.append)

    assert told == []


async def test_an_archive_is_loaded(two_nodes: Cluster, archive: Path) -> None:
    """Its images have the names that it says."""
    told: list[events.Event] = []

    await two_nodes.load_archive(archive, on_event=told.append)

    await runs_everywhere(two_nodes, REFERENCE, "archive")
    assert {event.total for event in told if isinstance(event, events.LoadProgress)} == {archive.stat().st_size}


async def test_an_archive_that_is_cut_off(two_nodes: Cluster, archive: Path, tmp_path: Path) -> None:
    """Fails in every node, in the Engine's words."""
    cut = tmp_path / "cut.tar"
    cut.write_bytes(archive.read_bytes()[: 5 * 1024 * 1024])

    with pytest.raises(StepFailed) as raised:
        await two_nodes.load_archive(cut)

    assert len(raised.value.failures) == len(two_nodes.nodes)
    assert "unexpected EOF" in str(raised.value)


async def test_an_image_that_lacks_a_layer_leaves_no_name(two_nodes: Cluster, tmp_path: Path) -> None:
    """By which the next load, and pods, would take it for one that is there."""
    whole, broken, name = tmp_path / "whole.tar", tmp_path / "broken.tar", "docker.io/kindasync-tests/broken:1"
    await write_image_archive(whole, reference=name, padding_bytes=2_000_000)
    with tarfile.open(whole) as source, tarfile.open(broken, "w") as target:
        members = source.getmembers()
        for member in members:
            if member is not max(members, key=lambda each: each.size):
                target.addfile(member, source.extractfile(member))

    async def names() -> set[str]:
        return {line for node in two_nodes.nodes for line in (await node.exec([*CTR, "images", "list", "--quiet"])).text.splitlines()}

    before = await names()
    with pytest.raises(StepFailed, match="does not take the archive"):
        await two_nodes.load_archive(broken)
    assert await names() == before

    await two_nodes.load_archive(whole)
    assert name in await names()


async def test_logs(two_nodes: Cluster, tmp_path: Path) -> None:
    """As kind lays them out; no key among them. A stopped node gives what can be had."""
    ran = run_cli("export", "logs", str(tmp_path / "logs"), "--name", two_nodes.name)

    assert (ran.returncode, ran.stdout) == (0, f"{tmp_path / 'logs'}\n"), ran.stderr
    logs = tmp_path / "logs"
    assert {path.name for path in logs.iterdir()} == {"docker-info.txt", "kind-version.txt", *(node.name for node in two_nodes.nodes)}
    files = {"containerd.log", "images.log", "inspect.json", "journal.log", "kubelet.log", "kubernetes-version.txt", "serial.log"}
    for node in two_nodes.nodes:
        assert {path.name for path in (logs / node.name).iterdir()} >= files | {"containers", "pods"}
        for path in (logs / node.name).rglob("*"):
            assert not path.is_symlink()
            assert path.is_dir() or b"PRIVATE KEY" not in path.read_bytes()
        assert "Started kubelet" in (logs / node.name / "kubelet.log").read_text()
        assert any("kube-proxy" in path.name and path.stat().st_size for path in (logs / node.name / "containers").iterdir())

    worker = two_nodes.nodes[1]
    async with two_nodes.engine.connect() as connection:
        await container_stop(connection, worker.id)
    await two_nodes.export_logs(tmp_path / "stopped")
    assert {path.name for path in (tmp_path / "stopped" / worker.name).iterdir()} == {"inspect.json", "serial.log", "containers", "pods"}
