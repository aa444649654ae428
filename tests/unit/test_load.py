"""Images loaded into nodes: which nodes get what, and what becomes of those where it fails."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from kindasync import Cluster, ClusterNotFound
from kindasync import events as told
from kindasync.cli._main import main
from kindasync.cluster._load import Held, misgivings, names_to_give, normalised
from kindasync.cluster._loaded import complete
from kindasync.docker import Engine
from kindasync.docker.containers import container_stop
from kindasync.docker.images import Image
from kindasync.errors import ClusterError, ConnectionLost, StepFailed
from kindasync.events import Warned
from kindasync.node._containerd import Containerd, containerd_from
from kindasync.node._files import tar_of
from kindasync.testing import FakeContainer, FakeEngine, FakeImage, ProgramResult
from tests.unit.recording import Recording

pytestmark = pytest.mark.anyio

NODE, WORKER, WORKER2 = "demo-control-plane", "demo-worker", "demo-worker2"
CONFIG = b"root = '/store'\nversion = 4\n[plugins.'io.containerd.cri.v1.images']\nsnapshotter = 'native'\n"
TWO_NODES = {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "nodes": [{"role": "control-plane"}, {"role": "worker"}]}
APP = FakeImage(reference="app:1", files={"/app": b"x" * 3_000_000})


HEAD = "REF TYPE DIGEST STATUS SIZE UNPACKED \n"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
HELD = f"""{HEAD}\
docker.io/library/app:1 {MANIFEST} sha256:01 complete (3/3) 25.6 MiB/25.6 MiB true
docker.io/library/other:1 {MANIFEST} sha256:02 complete (3/3) 25.6 MiB/25.6 MiB true
registry.k8s.io/pause:3.10.2 {MANIFEST} sha256:03 incomplete (1/2) 384.0 B/247.2 MiB true
sha256:04 {MANIFEST} sha256:01 complete (3/3) 25.6 MiB/25.6 MiB true
"""


class Containerds:
    """The containerd of each node, as far as loading goes. `imported`: the files of each archive; `has`: what crictl lists;
    `listing`: what ctr does; `refuses`: nodes where imports fail, and exports.
    """

    def __init__(self) -> None:
        self.imported: dict[str, list[dict[str, bytes]]] = {}
        self.imports: list[Sequence[str]] = []
        self.tags: dict[str, list[Sequence[str]]] = {}
        self.has: dict[str, list[dict[str, Any]]] = {}
        self.listing: dict[str, str] = {}
        self.exports: list[tuple[str, Sequence[str]]] = []
        self.refuses: set[str] = set()

    def mkdir(self, container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ProgramResult:
        container.directories.add(argv[1])
        return ProgramResult()

    def rm(self, container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ProgramResult:
        container.directories.remove(argv[2])
        for path in [path for path in container.files if path.startswith(argv[2])]:
            del container.files[path]
        return ProgramResult()

    def sh(self, container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ProgramResult:
        self.imports.append(argv[4:])
        if container.name in self.refuses:
            return ProgramResult(exit_code=1, stderr=b"ctr: no space left on device\n")
        (directory,) = (path for path in container.directories if path.startswith("/store/kindasync-load-"))
        files = {path.removeprefix(f"{directory}/"): content for path, content in container.files.items() if path.startswith(directory)}
        self.imported.setdefault(container.name, []).append(files)
        return ProgramResult()

    def ctr(self, container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ProgramResult:
        refused = ProgramResult(exit_code=1, stderr=b"ctr: no such content\n") if container.name in self.refuses else None
        match argv[3]:
            case "check":
                return ProgramResult(stdout=self.listing.get(container.name, HEAD).encode())
            case "export":
                self.exports.append((container.name, argv[4:]))
                return refused or ProgramResult(stdout=tar_of({"/index.json": b"exported"}))
        self.tags.setdefault(container.name, []).append(argv[2:])
        return refused or ProgramResult()

    def crictl(self, container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ProgramResult:
        return ProgramResult(stdout=json.dumps({"images": self.has.get(container.name, [])}).encode())


@pytest.fixture
def programs(fake: FakeEngine) -> Containerds:
    """Those of all nodes. The Engine has the image app:1."""
    programs = Containerds()
    fake.node.programs |= {
        "mkdir": programs.mkdir,
        "rm": programs.rm,
        "sh": programs.sh,
        "ctr": programs.ctr,
        "crictl": programs.crictl,
        "containerd": lambda *_: ProgramResult(stdout=CONFIG),
    }
    fake.images["app:1"] = APP
    return programs


@pytest.fixture
async def containerds(fake: FakeEngine, programs: Containerds, anyio_backend: str) -> Containerds:
    """Those of the cluster "demo" of two nodes."""
    await Cluster.create("demo", config=TWO_NODES, engine=fake.url)
    return programs


async def demo(fake: FakeEngine) -> Cluster:
    return await Cluster.get("demo", engine=fake.url)


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("app", "docker.io/library/app:latest"),
        ("app:1", "docker.io/library/app:1"),
        ("me/app:1", "docker.io/me/app:1"),
        ("docker.io/app", "docker.io/library/app:latest"),
        ("index.docker.io/library/app:1", "docker.io/library/app:1"),
        ("localhost/app:1", "localhost/app:1"),
        ("localhost:5000/app", "localhost:5000/app:latest"),
        ("quay.io/me/app:1", "quay.io/me/app:1"),
        ("app@sha256:00", "docker.io/library/app@sha256:00"),
        ("app:1@sha256:00", "docker.io/library/app:1@sha256:00"),
    ],
)
def test_references_as_containerd_has_them(reference: str, expected: str) -> None:
    """What Docker leaves out is added."""
    assert normalised(reference) == expected


@pytest.mark.parametrize(
    ("dump", "expected"),
    [
        (CONFIG.decode(), Containerd(root="/store", snapshotter="native", has_transfer=True)),
        ("version = 2\n[plugins.'io.containerd.grpc.v1.cri'.containerd]\nsnapshotter = 'fuse-overlayfs'", Containerd(snapshotter="fuse-overlayfs")),
        ("version = 3\nroot = 'relative'", Containerd(has_transfer=True)),
        ("version = 3\n[plugins.'io.containerd.cri.v1.images']\nsnapshotter = '; rm'", Containerd(has_transfer=True)),
        ("", Containerd()),
        ("version = 'x'", Containerd()),
        ("plugins = 1", Containerd()),
        ("no toml", Containerd()),
    ],
)  # fmt: skip
def test_what_a_configuration_says_of_imports(dump: str, expected: Containerd) -> None:
    """Of containerd 1 and 2; defaults where it cannot be understood."""
    assert containerd_from(dump) == expected


@pytest.mark.parametrize(
    ("has", "expected"),
    [
        ([], None),
        ([Held("docker.io/library/app:1", "sha256:other", "sha256:other")], None),
        ([Held("docker.io/library/app:1", "sha256:a", "sha256:a")], {}),
        ([Held("", "sha256:a", "sha256:a")], {"docker.io/library/app:1": "sha256:a"}),
        ([Held("docker.io/library/b:2", "sha256:a", "docker.io/library/b:2")], {"docker.io/library/app:1": "docker.io/library/b:2"}),
    ],
)
def test_names_that_a_node_lacks(has: list[Held], expected: dict[str, str] | None) -> None:
    """None where it lacks the image itself."""
    assert names_to_give({"app:1": Image(id="sha256:a", tags=("app:1",), digests=(), labels={})}, has) == expected


def test_an_image_without_a_name_needs_none() -> None:
    """One that was asked for by its ID."""
    assert names_to_give({"sha256:a": Image(id="sha256:a", tags=(), digests=(), labels={})}, [Held("", "sha256:a", "sha256:a")]) == {}


async def test_one_export_goes_to_all_nodes(fake: FakeEngine, containerds: Containerds) -> None:
    """The same files to each, unpacked for the snapshotter that it uses. They are gone from the node afterwards."""
    events = Recording()

    await (await demo(fake)).load_image("app:1", on_event=events.keep)

    assert len(fake.requests_of("ImageGetAll")) == 1
    assert containerds.imported[NODE] == containerds.imported[WORKER]
    assert sum(map(len, containerds.imported[NODE][0].values())) > 3_000_000
    store = "/store/io.containerd.content.v1.content"
    assert set(map(tuple, containerds.imports)) == {
        (store, "ctr", "--namespace=k8s.io", "images", "import", "--snapshotter=native", "--local", "-")
    }
    assert not [path for node in (NODE, WORKER) for path in fake.containers[node].files if path.startswith("/store")]
    loaded = [event for event in events if isinstance(event, told.NodeLoaded)]
    assert {(event.node, event.images, event.skipped) for event in loaded} == {(NODE, ("app:1",), False), (WORKER, ("app:1",), False)}


async def test_nodes_that_have_the_image_are_left_alone(fake: FakeEngine, containerds: Containerds) -> None:
    """The same one, under the same name; another one under that name is none."""
    tags = ["docker.io/library/app:1"]
    containerds.has = {NODE: [{"id": APP.id, "repoTags": tags}], WORKER: [{"id": "sha256:older", "repoTags": tags}]}

    await (await demo(fake)).load_image("app:1")

    assert list(containerds.imported) == [WORKER]


async def test_an_image_of_another_name_gets_a_further_one(fake: FakeEngine, containerds: Containerds) -> None:
    """What is there already is not loaded for its name; it is where the name cannot be given."""
    containerds.has = {name: [{"id": APP.id, "repoTags": ["docker.io/library/older:1"]}] for name in (NODE, WORKER)}
    containerds.refuses = {WORKER}

    with pytest.raises(StepFailed):
        await (await demo(fake)).load_image("app:1")

    tag = ["images", "tag", "--force", APP.id, "docker.io/library/app:1"]
    assert containerds.tags == {NODE: [tag], WORKER: [tag]}
    assert containerds.imported == {}
    assert len(containerds.imports) == 1


async def test_nothing_is_exported_where_nothing_is_lacking(fake: FakeEngine, containerds: Containerds) -> None:
    """Not even one byte."""
    containerds.has = {name: [{"id": APP.id, "repoTags": ["docker.io/library/app:1"]}] for name in (NODE, WORKER)}

    await (await demo(fake)).load_image("app:1")

    assert fake.requests_of("ImageGetAll") == []


async def test_an_image_by_its_id_gets_a_name_of_its_digest(fake: FakeEngine, containerds: Containerds) -> None:
    """Its export has none."""
    await (await demo(fake)).load_image(APP.id)

    assert all("--digests" in argv for argv in containerds.imports)


async def test_all_unknown_images_are_named(fake: FakeEngine, containerds: Containerds) -> None:
    """Before anything is exported."""
    with pytest.raises(ClusterError, match="does not have the images nope:1, nope:2"):
        await (await demo(fake)).load_image("nope:1", "app:1", "nope:2")

    assert fake.requests_of("ImageGetAll") == []


async def test_nodes_can_be_chosen(fake: FakeEngine, containerds: Containerds) -> None:
    """By name; one that is not there is an error."""
    cluster = await demo(fake)

    await cluster.load_image("app:1", nodes=[WORKER])
    with pytest.raises(ClusterError, match="has no node nope"):
        await cluster.load_image("app:1", nodes=["nope", NODE])

    assert list(containerds.imported) == [WORKER]


async def test_a_node_that_fails_is_no_reason_for_others_to(fake: FakeEngine, containerds: Containerds) -> None:
    """They get all of it; the error says what was wrong in which."""
    containerds.refuses = {WORKER}

    with pytest.raises(StepFailed) as raised:
        await (await demo(fake)).load_image("app:1")

    assert raised.value.why == "no space left on device"
    assert "free disk space" in raised.value.hint
    assert WORKER in str(raised.value.failures)
    assert list(containerds.imported) == [NODE]


async def test_a_node_that_does_not_run(fake: FakeEngine, containerds: Containerds) -> None:
    """The others are loaded, and that is said; where it is named, nothing is."""
    cluster = await demo(fake)
    recording = Recording()
    async with Engine.of(fake.url).connect() as connection:
        await container_stop(connection, WORKER)

    with pytest.raises(ClusterError, match=f"nothing can be loaded into {WORKER}"):
        await cluster.load_image("app:1", nodes=[NODE, WORKER])
    assert list(containerds.imported) == []

    await cluster.load_image("app:1", on_event=recording.keep)

    assert list(containerds.imported) == [NODE]
    assert [each.message for each in recording.of(Warned)] == [f"node {WORKER} is exited: nothing is loaded into it"]


async def test_an_export_that_breaks_is_not_the_end_of_an_archive(fake: FakeEngine, containerds: Containerds) -> None:
    """The error is the Engine's; no node counts as loaded."""
    events = Recording()
    fake.cut("ImageGetAll", after_bytes=100_000)

    with pytest.raises(ConnectionLost):
        await (await demo(fake)).load_image("app:1", on_event=events.keep)

    assert not [event for event in events if isinstance(event, told.NodeLoaded)]


async def test_an_archive_is_given_as_it_is(fake: FakeEngine, containerds: Containerds, tmp_path: Path) -> None:
    """Whatever is in it, containerd reads it; progress tells its size."""
    archive = tmp_path / "images.tar"
    archive.write_bytes(tar_of({"/index.json": b"index" * 700_000}))
    events = Recording()

    await (await demo(fake)).load_archive(archive, on_event=events.keep)

    assert containerds.imported == {name: [{"index.json": b"index" * 700_000}] for name in (NODE, WORKER)}
    ends = [event for event in events if isinstance(event, told.LoadProgress) and event.current == event.total]
    assert {(event.node, event.subject, event.total) for event in ends} == {
        (NODE, "images.tar", archive.stat().st_size),
        (WORKER, "images.tar", archive.stat().st_size),
    }


async def test_an_archive_may_come_through_a_pipe(fake: FakeEngine, containerds: Containerds, tmp_path: Path) -> None:
    """As of `load archive <(docker save app)`: read once, for all nodes, and of no known size."""
    pipe, content = tmp_path / "pipe", tar_of({"/index.json": b"index"})
    os.mkfifo(pipe)
    cluster, events = await demo(fake), Recording()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.to_thread.run_sync, pipe.write_bytes, content)
        await cluster.load_archive(pipe, on_event=events.keep)

    assert containerds.imported == {name: [{"index.json": b"index"}] for name in (NODE, WORKER)}
    assert {event.total for event in events if isinstance(event, told.LoadProgress)} == {None}


async def test_what_stays_of_an_archive_is_told(fake: FakeEngine, containerds: Containerds, tmp_path: Path) -> None:
    """A warning where the images are there, else a note."""
    archive = tmp_path / "images.tar"
    archive.write_bytes(tar_of({"/index.json": b"index"}))
    cluster = await demo(fake)
    containerds.refuses.add(WORKER)
    fake.node.programs["rm"] = lambda *_: ProgramResult(exit_code=1, stderr=b"rm: device or resource busy")
    seen = Recording()

    with pytest.raises(StepFailed) as raised:
        await cluster.load_archive(archive, on_event=seen.keep)

    warned = seen.only(told.Warned)
    assert warned.node == NODE
    assert "device or resource busy" in warned.message
    (failure,) = raised.value.failures
    assert f"stays in node {WORKER}" in "".join(failure.__notes__)


def test_what_may_surprise_pods() -> None:
    """Another platform, and a digest, which an image has in a registry only."""
    here, other = (Image(id="sha256:1", tags=(), digests=(), labels={}, architecture=each) for each in ("amd64", "arm64"))

    assert [*misgivings({"app:1": here}, "amd64")] == []
    (platform,) = misgivings({"app:1": other}, "amd64")
    assert platform == "app:1 is for arm64, and the nodes are amd64"
    (digest,) = misgivings({"app@sha256:2": here}, "amd64")
    assert digest.startswith("pods cannot ask for app@sha256:2")


async def test_a_file_that_is_not_there(fake: FakeEngine, containerds: Containerds, tmp_path: Path) -> None:
    """An OSError, as of any function that opens files."""
    with pytest.raises(FileNotFoundError):
        await (await demo(fake)).load_archive(tmp_path / "nope.tar")


async def test_a_cluster_that_is_gone(fake: FakeEngine, containerds: Containerds) -> None:
    """As everywhere."""
    cluster = await demo(fake)
    await cluster.delete()

    with pytest.raises(ClusterNotFound):
        await cluster.load_image("app:1")


@pytest.mark.parametrize(
    ("command", "argument"),
    [("image", "app:1"), ("docker-image", "app:1"), ("archive", "images.tar"), ("image-archive", "images.tar")],
)
def test_the_commands(
    command: str,
    argument: str,
    fake: FakeEngine,
    programs: Containerds,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """kind's names and ours; nothing on stdout."""
    monkeypatch.setenv("DOCKER_HOST", fake.url)
    monkeypatch.chdir(tmp_path)
    Path("images.tar").write_bytes(tar_of({"/index.json": b"index"}))
    main(["create", "cluster", "--name", "demo"])
    capsys.readouterr()

    code = main(["load", command, argument, "--name", "demo", "--nodes", NODE])

    printed = capsys.readouterr()
    assert (code, printed.out) == (0, "")
    assert f"{NODE}: loaded {argument}" in printed.err
    assert list(programs.imported) == [NODE]


def test_a_command_that_fails(fake: FakeEngine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, and what to do."""
    monkeypatch.setenv("DOCKER_HOST", fake.url)

    code = main(["load", "docker-image", "app:1", "--name", "demo"])

    assert code == 1
    assert 'there is no cluster "demo"' in capsys.readouterr().err


# -- a node that is added


def test_what_was_loaded_is_there_whole() -> None:
    """Pulled images, and those of the node image, are not; names that are IDs are containerd's own."""
    assert complete(HELD) == {("docker.io/library/app:1", "sha256:01"), ("docker.io/library/other:1", "sha256:02")}
    assert complete("") == complete(HEAD) == frozenset()


async def test_an_added_node_gets_what_was_loaded(fake: FakeEngine, containerds: Containerds) -> None:
    """From a control plane, in one stream, before it joins; but for what it has already, under the same name."""
    containerds.listing = {NODE: HELD, WORKER2: f"{HEAD}docker.io/library/app:1 {MANIFEST} sha256:01 complete (3/3)"}
    events = Recording()

    await (await demo(fake)).add_node(on_event=events.keep)

    assert containerds.exports == [(NODE, ["--local", "-", "docker.io/library/other:1"])]
    assert containerds.imported == {WORKER2: [{"index.json": b"exported"}]}
    (loaded,) = events.of(told.NodeLoaded)
    assert (loaded.node, loaded.images) == (WORKER2, ("docker.io/library/other:1",))
    assert events.index(loaded) < events.index(events.only(told.NodeJoined))


async def test_an_added_node_where_nothing_was_loaded(fake: FakeEngine, containerds: Containerds) -> None:
    """Is given nothing."""
    await (await demo(fake)).add_node()

    assert containerds.exports == containerds.imports == []


@pytest.mark.parametrize("refuses", [NODE, WORKER2])
async def test_a_node_that_cannot_have_what_was_loaded(fake: FakeEngine, containerds: Containerds, refuses: str) -> None:
    """Is not added: its pods would not run. It is said whose fault it is."""
    containerds.listing = {NODE: HELD}
    containerds.refuses = {refuses}

    with pytest.raises(StepFailed) as raised:
        await (await demo(fake)).add_node()

    assert ("no such content" if refuses == NODE else "no space left") in str(raised.value)
    assert f"in node {refuses}" in str(raised.value)
    assert set(fake.containers) == {NODE, WORKER}
