"""State on the host: which directories are kindasync's to make, to use and to remove, and which are not."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from kindasync import AlreadyExists, Cluster
from kindasync import events as told
from kindasync.cluster import _state
from kindasync.cluster._cluster import delete
from kindasync.errors import ClusterError, LeftBehind, StepFailed
from kindasync.events import Event
from kindasync.testing import FakeEngine
from tests.unit.leftovers import nothing_left
from tests.unit.recording import Recording

pytestmark = pytest.mark.anyio

NODE = "demo-control-plane"
NODE_IMAGE = "kindasync/node:v1.37.2"
MEMBER = {"io.x-k8s.kind.cluster": "demo", "io.x-k8s.kind.role": "control-plane"}
OURS = {"kindasync.run": "another"}


async def create(fake: FakeEngine, name: str = "demo", **options: Any) -> Cluster:
    """A cluster on the fake."""
    return await Cluster.create(name, engine=fake.url, **options)


def directory_with_files(path: Path) -> Path:
    """As one of ours looks, with a file of somebody else's."""
    path.mkdir(parents=True)
    for name in ("kubeconfig", ".kubeconfig.a1b2", "notes"):
        (path / name).write_text("content")
    return path


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def add_node(fake: FakeEngine, source: Path, **labels: str) -> None:
    """A node of the cluster demo, with a directory mounted where ours have the kubeconfig's."""
    container = fake.add_container(NODE, NODE_IMAGE, labels={**MEMBER, **labels})
    container.host_config["Binds"] = [f"{source}:/kind/host:ro"]


# -- delete


@pytest.mark.parametrize(
    ("path", "labels"),
    [
        ("state/kindasync/engine/demo", {}),  # not of ours: an extraMount of the kind program's users
        ("projects/demo", OURS),  # ours, with an extraMount
        ("kindasync/demo", OURS),
        ("kindasync/engine/demo/deeper", OURS),
        ("kindasync/engine/other", OURS),
        ("kindasync/engine/extra/demo", OURS),
    ],
)
async def test_delete_leaves_the_directories_of_others_alone(fake: FakeEngine, tmp_path: Path, path: str, labels: dict[str, str]) -> None:
    """Whatever is mounted at /kind/host: only `…/kindasync/<Engine>/<cluster>` of a container that kindasync made is ours."""
    directory = directory_with_files(tmp_path / path)
    add_node(fake, directory, **labels)

    await delete("demo", engine=fake.url)

    assert fake.containers == {}
    assert names(directory) == {"kubeconfig", ".kubeconfig.a1b2", "notes"}


async def test_delete_removes_the_kubeconfig_and_nothing_else_of_ours(fake: FakeEngine, tmp_path: Path) -> None:
    """Also what an interrupted write left of it; a file that somebody put beside it stays, and is no error."""
    directory = directory_with_files(tmp_path / "state/kindasync/engine/demo")
    add_node(fake, directory, **OURS)

    await delete("demo", engine=fake.url)

    assert names(directory) == {"notes"}


async def test_delete_removes_directories_that_are_empty_then(fake: FakeEngine, home: Path, tmp_path: Path) -> None:
    """Those that are certainly ours everywhere, those above them only below the home."""
    directory = tmp_path / "state/kindasync/engine/demo"
    directory.mkdir(parents=True)
    add_node(fake, directory, **OURS)

    await delete("demo", engine=fake.url)

    assert names(tmp_path / "state") == set()


async def test_a_kubeconfig_of_another_user_is_a_warning(fake: FakeEngine, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cluster is gone; the file is theirs, and they can remove it."""
    cluster = await create(fake)
    plain, seen = os.unlink, Recording()

    def unlink(path: Any, **options: Any) -> None:  # what the kernel says to anybody but root
        if Path(path) == cluster.kubeconfig_path:
            raise PermissionError(13, "Permission denied", str(path))
        plain(path, **options)

    monkeypatch.setattr(os, "unlink", unlink)

    await cluster.delete(on_event=seen.keep)

    assert fake.containers == {}
    assert seen.names == ["NodeRemoved", "Warned", "NetworkRemoved", "ClusterDeleted"]
    warning = seen.only(told.Warned)
    assert warning.cluster == "demo"
    assert str(cluster.kubeconfig_path.parent) in warning.message
    assert "Permission denied" in warning.message


async def test_a_kubeconfig_that_cannot_be_removed_is_left_behind(fake: FakeEngine, home: Path) -> None:
    """Any other failure is the deletion's; and the same again does it."""
    with nothing_left(fake, home):
        cluster = await create(fake)
        cluster.kubeconfig_path.unlink()
        cluster.kubeconfig_path.mkdir()

        with pytest.raises(LeftBehind) as raised:
            await cluster.delete()

        assert raised.value.objects == (f"directory {cluster.kubeconfig_path.parent}",)
        cluster.kubeconfig_path.rmdir()
        await cluster.delete()


# -- create


async def test_the_loser_of_a_race_leaves_the_winners_directory(fake: FakeEngine, home: Path) -> None:
    """It is mounted in the winner's node, whose kubeconfig is still to be written."""
    directory = home / f".local/state/kindasync/{fake._state.engine_id}/demo"
    fake.on("ContainerCreate", lambda: add_node(fake, directory, **OURS), nth=2)  # the first one asks whether the Engine shares our files

    with pytest.raises(AlreadyExists):
        await create(fake)

    assert list(fake.containers) == [NODE]
    assert directory.is_dir()
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


@pytest.mark.parametrize("through", [True, False])
async def test_the_loser_of_a_race_leaves_the_winners_kubeconfig(fake: FakeEngine, home: Path, through: bool) -> None:
    """Also where the winner's node does not have it mounted, as on an Engine elsewhere. A directory that is empty is made again."""
    directory = home / f".local/state/kindasync/{fake._state.engine_id}/demo"

    def another_wins() -> None:
        fake.add_container(NODE, NODE_IMAGE, labels={**MEMBER, **OURS})
        if through:
            _state.write_kubeconfig(directory, {"clusters": []})

    fake.on("ContainerCreate", another_wins, nth=2)

    with pytest.raises(AlreadyExists):
        await create(fake)

    assert [path.name for path in home.rglob("*") if path.is_file()] == (["kubeconfig"] if through else [])
    assert directory.exists() is through


@pytest.mark.parametrize("below", ["", "/deeper/still"])
async def test_where_nothing_can_be_kept_nothing_is_created(
    fake: FakeEngine, home: Path, monkeypatch: pytest.MonkeyPatch, below: str
) -> None:
    """The error says where, why, and what to do; no container was made, and nothing is left."""
    (home / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", f"{home}/file{below}")
    seen = Recording()

    with nothing_left(fake, home), pytest.raises(ClusterError, match="cannot keep a kubeconfig in") as raised:
        await create(fake, on_event=seen.keep)

    assert isinstance(raised.value, StepFailed)
    assert f"{home}/file" in raised.value.what
    assert "Not a directory" in raised.value.why
    assert "XDG_STATE_HOME" in raised.value.hint
    assert fake.requests_of("ContainerCreate") == []
    assert getattr(raised.value, "__notes__", []) == []
    assert seen.only(told.RolledBack).left_behind == ()


async def test_a_kubeconfig_that_cannot_be_written_in_the_end_fails_the_create(fake: FakeEngine, home: Path) -> None:
    """What could be kept at the beginning may be full, or gone, by then."""
    found: list[Path] = []

    async def spoil(event: Event) -> None:
        if isinstance(event, told.NodeReady):
            (mount,) = (bind.split(":")[0] for bind in fake.containers[NODE].host_config["Binds"] if "/kind/host" in bind)
            Path(mount).rmdir()
            Path(mount).write_text("a file in its place")
            found.append(Path(mount))

    with pytest.raises(StepFailed, match="cannot keep a kubeconfig in") as raised:
        await create(fake, on_event=spoil)

    assert raised.value.step == "write the kubeconfig"
    assert "XDG_STATE_HOME" in raised.value.hint
    assert fake.containers == {}
