"""Contract: the handle of a node: files into it and out of it, and archives of images for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from kindasync.config import Role
from kindasync.docker import Engine
from kindasync.docker.archives import put_archive, read_archive
from kindasync.docker.containers import container_start
from kindasync.docker.execs import container_exec
from kindasync.errors import KindasyncError, NodeError, NotFound
from kindasync.events import Bus
from kindasync.node import Node, PausedNode
from kindasync.node._files import File
from tests.engine.lab import Lab, tar, untar

pytestmark = pytest.mark.anyio


async def node(lab: Lab) -> PausedNode:
    """A handle to a new container, made of a node image, with the tmpfs that nodes have."""
    container = await lab.created(lab.spec(tmpfs={"/tmp": "", "/run": ""}))
    return PausedNode(engine=lab.engine, cluster=lab.run, name=lab.name("a"), id=container, role=Role.CONTROL_PLANE, bus=Bus())


# -- put


async def test_put_writes_files_that_programs_see(lab: Lab) -> None:
    """Texts, bytes, and with a mode; directories above them are made."""
    paused = await node(lab)

    await paused.put({"/etc/new/deep/a": "é\n", "/etc/b": b"\0", "/usr/local/bin/c": File(content=b"#!/bin/sh\n", mode=0o755)})

    await container_start(lab.connection, paused.id)
    assert (await container_exec(lab.connection, paused.id, ["cat", "/etc/new/deep/a"])).text == "é\n"
    assert await paused.get("/etc/b") == b"\0"
    assert await paused.get("/usr/local/bin/c") == b"#!/bin/sh\n"


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("/etc//a", "/etc/a"),
        ("//etc/a", "/etc/a"),
        ("/etc/./a", "/etc/a"),
        ("/run/../etc/a", "/etc/a"),  # not below /run
        ("/etc/x/../../../../etc/a", "/etc/a"),  # there is nothing above the root
        ("/runner", "/runner"),
        ("/etc/run/a", "/etc/run/a"),
        ("/var/runner", "/var/runner"),
    ],
)
async def test_paths_are_made_plain_before_they_are_put(lab: Lab, path: str, where: str) -> None:
    """What only looks like one of the mounts is none."""
    paused = await node(lab)

    await paused.put({path: "content"})

    assert await paused.get(where) == b"content"


@pytest.mark.parametrize(
    "path",
    [
        "relative/path",
        "",
        "/run",
        "/run/",
        "/run/a",
        "//run/a",
        "///run/a",
        "/./run/a",
        "/etc/../run/a",
        "/../run/a",
        "/run/x/../a",
        "/tmp",
        "/tmp/a",
        "/var/run",  # a link: a file in its place would break the node
        "/var/run/a",
        "/var//run/a",
        "/dev/null",
        "/dev/shm/a",
        "/proc/sys/kernel/hostname",
        "/sys/fs/cgroup/a",
    ],
)
async def test_put_refuses_what_would_not_arrive(tmp_path: Path, path: str) -> None:
    """Below mounts nobody would see it, and the Engine would say that all is well: it is not even asked, and nothing else is written."""
    nowhere = Node(engine=Engine.of(f"unix://{tmp_path}/none.sock"), cluster="demo", name="n", id="n", role=Role.WORKER)

    with pytest.raises(KindasyncError, match="paths are absolute, and not below") as raised:
        await nowhere.put({"/etc/good": "content", path: "content"})

    assert raised.value.what == f'cannot put "{path}" into node n'


async def test_put_of_nothing(lab: Lab) -> None:
    """Is no error."""
    await (await node(lab)).put({})


# -- get


LINKS = {"to-file": "dir/file", "to-link": "to-file", "absolute": "/kind/dir/file", "to-dir": "dir", "dangling": "none"}


async def with_links(lab: Lab) -> Node:
    paused = await node(lab)
    await put_archive(lab.connection, paused.id, "/kind", tar({"dir/file": b"12345"}, links=LINKS))
    return paused


@pytest.mark.parametrize("path", ["dir/file", "to-file", "to-link", "absolute", "to-dir/file", "dir/../to-file"])
async def test_get_gives_the_content_of_what_a_link_leads_to(lab: Lab, path: str) -> None:
    """However many links there are, and wherever in the path."""
    assert await (await with_links(lab)).get(f"/kind/{path}") == b"12345"


@pytest.mark.parametrize(("path", "end"), [("/kind/dir", "/kind/dir"), ("/kind/to-dir", "/kind/dir"), ("/", "/")])
async def test_get_of_a_directory_is_an_error(lab: Lab, path: str, end: str) -> None:
    """Not some file in it."""
    with pytest.raises(NodeError, match="is not a file") as raised:
        await (await with_links(lab)).get(path)

    assert raised.value.what.startswith(f"{end} in node ")


@pytest.mark.parametrize("path", ["/kind/none", "/kind/dangling", "/kind/none/deeper"])
async def test_get_of_what_is_not_there(lab: Lab, path: str) -> None:
    """NotFound, also where a link leads nowhere."""
    with pytest.raises(NotFound):
        await (await with_links(lab)).get(path)


async def test_get_of_an_empty_file(lab: Lab) -> None:
    """It has no content, and is there."""
    paused = await node(lab)
    await paused.put({"/etc/empty": b""})

    assert await paused.get("/etc/empty") == b""


# -- preload


async def preloaded(lab: Lab, paused: PausedNode) -> dict[str, bytes]:
    """What the node would import: what `/kind/images/*` names in a shell."""
    files = untar(await read_archive(lab.connection, paused.id, "/kind/images"))
    names = {path.removeprefix("images/"): content for path, content in files.items()}
    return {name: content for name, content in names.items() if not name.startswith(".")}


async def test_archives_of_one_name_are_all_kept(lab: Lab, tmp_path: Path) -> None:
    """As from the directories of several builds."""
    paused = await node(lab)
    for number in range(3):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "images.tar").write_bytes(bytes([number]) * 100)
        await paused.preload(tmp_path / str(number) / "images.tar")

    found = await preloaded(lab, paused)

    assert sorted(found.values()) == [bytes([number]) * 100 for number in range(3)]
    assert "images.tar" in found
    assert all(name.endswith("images.tar") for name in found)


async def test_a_hidden_archive_is_made_visible(lab: Lab, tmp_path: Path) -> None:
    """The node would pass over it; and it does not take the place of one that has that name without a dot."""
    paused = await node(lab)
    for name in ("images.tar", ".images.tar", ".other.tar"):
        (tmp_path / name).write_bytes(name.encode())
        await paused.preload(tmp_path / name)

    found = await preloaded(lab, paused)

    assert sorted(found.values()) == [b".images.tar", b".other.tar", b"images.tar"]
    assert found["other.tar"] == b".other.tar"


async def test_an_empty_archive_arrives(lab: Lab, tmp_path: Path) -> None:
    """What to make of it is the node's business."""
    paused = await node(lab)
    (tmp_path / "empty.tar").touch()

    await paused.preload(str(tmp_path / "empty.tar"))

    assert await preloaded(lab, paused) == {"empty.tar": b""}
