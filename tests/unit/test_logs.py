"""Logs of nodes, exported: what is where, what is withheld, and what an archive cannot do."""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
from pathlib import Path

import pytest

from kindasync import Cluster
from kindasync import events as told
from kindasync.cli._main import main
from kindasync.cluster._logs import PROGRAMS, unpack
from kindasync.docker import Engine
from kindasync.docker.containers import container_stop
from kindasync.errors import StepFailed
from kindasync.testing import FakeEngine, ProgramResult
from tests.unit.recording import Recording

pytestmark = pytest.mark.anyio

NODE = "demo-control-plane"


@pytest.fixture
async def cluster(fake: FakeEngine, anyio_backend: str) -> Cluster:
    """A cluster whose node has logs, one of which says too much."""
    fake.node.programs |= {
        "journalctl": lambda _, argv, __: ProgramResult(stdout=" ".join(argv).encode() + b" token abcdef.0123456789abcdef\n"),
        "crictl": lambda *_: ProgramResult(exit_code=1, stdout=b"IMAGE\n", stderr=b"no containerd\n"),
    }
    cluster = await Cluster.create("demo", engine=fake.url)
    fake.containers[NODE].files |= {"/var/log/pods/a/0.log": b"of the pod\n"}
    fake.containers[NODE].links |= {"/var/log/containers/a.log": "/var/log/pods/a/0.log", "/var/log/key": "/etc/kubernetes/admin.conf"}
    return cluster


def files(directory: Path) -> dict[str, str]:
    """All files below a directory; symbolic links are an error."""
    found = {str(path.relative_to(directory)): path for path in directory.rglob("*") if not path.is_dir()}
    assert not any(path.is_symlink() for path in found.values())
    texts = {name: path.read_text() for name, path in found.items()}
    return {name: re.sub('"SystemTime": "[^"]*"', "", text) for name, text in texts.items()}


async def test_the_layout(cluster: Cluster, tmp_path: Path) -> None:
    """As kind has it; a program that fails is a warning, and what it said is in its file."""
    events = Recording()

    await cluster.export_logs(tmp_path / "made" / "logs", on_event=events.keep)

    found = files(tmp_path / "made" / "logs")
    names = {"containerd.log", "images.log", "inspect.json", "journal.log", "kubelet.log", "kubernetes-version.txt", "serial.log"}
    logs = {"pods/a/0.log", "containers/a.log"}
    assert set(found) == {"docker-info.txt", "kind-version.txt", *(f"{NODE}/{name}" for name in names | logs)}
    assert json.loads(found[f"{NODE}/inspect.json"])[0]["Name"] == f"/{NODE}"
    assert found[f"{NODE}/kubernetes-version.txt"] == "v1.37.2\n"
    assert found[f"{NODE}/containers/a.log"] == "of the pod\n"
    assert found[f"{NODE}/images.log"] == "IMAGE\nno containerd\n"
    assert found[f"{NODE}/kubelet.log"] == "journalctl --no-pager -u kubelet.service token (withheld)\n"
    assert "booting" in found[f"{NODE}/serial.log"]
    assert "crictl images" in events.only(told.Warned).message


async def test_a_second_export_into_the_same_directory(cluster: Cluster, tmp_path: Path) -> None:
    """Writes over the first."""
    await cluster.export_logs(tmp_path / "logs")
    before = files(tmp_path / "logs")

    await cluster.export_logs(tmp_path / "logs")

    assert files(tmp_path / "logs") == before


async def test_a_stopped_node(cluster: Cluster, fake: FakeEngine, tmp_path: Path) -> None:
    """Gives what needs no program."""
    async with Engine.of(fake.url).connect() as connection:
        await container_stop(connection, NODE)

    await cluster.export_logs(tmp_path / "logs")

    assert set(files(tmp_path / "logs" / NODE)) == {"inspect.json", "serial.log", "pods/a/0.log", "containers/a.log"}


async def test_a_node_that_stops_meanwhile(cluster: Cluster, fake: FakeEngine, tmp_path: Path) -> None:
    """Is as one that had stopped before."""
    for nth in range(1, len(PROGRAMS) + 1):
        fake.fail("ContainerExec", nth, status=409, message="container 0499 is not running")

    await cluster.export_logs(tmp_path / "logs")

    assert set(files(tmp_path / "logs" / NODE)) == {"inspect.json", "serial.log", "pods/a/0.log", "containers/a.log"}


async def test_what_the_engine_refuses_is_said_after_the_rest(cluster: Cluster, fake: FakeEngine, tmp_path: Path) -> None:
    """One file that cannot be had is no reason to have none."""
    fake.fail("GetContainerArchive", message="scripted")

    with pytest.raises(StepFailed, match="cannot export logs"):
        await cluster.export_logs(tmp_path / "logs")

    assert "journal.log" in {path.name for path in (tmp_path / "logs" / NODE).iterdir()}


def test_the_command(fake: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Prints the directory, and nothing else, on stdout."""
    monkeypatch.setenv("DOCKER_HOST", fake.url)
    main(["create", "cluster", "--name", "demo"])
    capsys.readouterr()

    code = main(["export", "logs", str(tmp_path / "logs"), "--name", "demo"])

    assert (code, capsys.readouterr().out) == (1, f"{tmp_path / 'logs'}\n")  # the fake's node has no /var/log
    assert (tmp_path / "logs" / NODE / "inspect.json").exists()


def test_no_directory_is_left_of_a_cluster_that_is_not_there(
    fake: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor printed."""
    monkeypatch.setenv("DOCKER_HOST", fake.url)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    code = main(["export", "logs", "--name", "nope"])

    assert (code, capsys.readouterr().out) == (1, "")
    assert not list(tmp_path.glob("kindasync-logs-*"))


def packed(*members: tuple[str, bytes, str | bytes]) -> io.BytesIO:
    """An archive. Each member: its name, type, and link or content."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, kind, what in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            content = what if isinstance(what, bytes) else what.encode()
            if kind == tarfile.REGTYPE:
                info.size = len(content)
            else:
                info.linkname = content.decode()
            tar.addfile(info, io.BytesIO(content))
    return file


@pytest.mark.parametrize(
    "members",
    [
        [("log/../../outside", tarfile.REGTYPE, "bad")],
        [("/log/../../../outside", tarfile.REGTYPE, "bad")],
        [("log/out", tarfile.SYMTYPE, ".."), ("log/out/outside", tarfile.REGTYPE, "bad")],
        [("log/outside", tarfile.SYMTYPE, "/etc/passwd")],
        [("log/outside", tarfile.SYMTYPE, "/var/log/../../etc/passwd")],
        [("log/outside", tarfile.SYMTYPE, "../../etc/passwd")],
        [("log/outside", tarfile.LNKTYPE, "/etc/passwd")],
        [("log/outside", tarfile.FIFOTYPE, "")],
        [("log/outside", tarfile.SYMTYPE, "outside")],
        [("log/../../outside", tarfile.SYMTYPE, "/var/log/fine")],
    ],
)
def test_an_archive_cannot_write_or_read_outside(members: list[tuple[str, bytes, str]], tmp_path: Path) -> None:
    """Whatever a node's /var/log holds."""
    inside = tmp_path / "a" / "b" / "inside"
    inside.mkdir(parents=True)

    unpack(packed(("log/fine", tarfile.REGTYPE, "fine"), *members), inside)

    elsewhere = [path for path in tmp_path.rglob("*") if path.is_file() and not path.is_relative_to(inside)]
    assert elsewhere == []
    assert "root:" not in "".join(files(inside).values())
    assert (inside / "fine").read_text() == "fine"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"token abcdef.0123456789abcdef\n", b"token (withheld)\n"),
        ("\0é http://me:p\xe0ss@proxy\n".encode() + b"\xff", "\0é http://(withheld)@proxy\n".encode() + b"\xff"),  # no text, but for that
        (gzip.compress(b"token abcdef.0123456789abcdef\n"), b"token (withheld)\n"),
        (b"not compressed: abcdef.0123456789abcdef\n", b"not compressed: (withheld)\n"),
    ],
    ids=[
        "text",
        "no text",
        "compressed",
        "not compressed",
    ],  # what is compressed has the time in it, and pytest-xdist's workers would know it by other names
)
def test_what_looks_like_a_secret_is_in_no_file(tmp_path: Path, content: bytes, expected: bytes) -> None:
    """Whatever a pod has printed, or a hook has put there; and under all its names."""
    name = "pods/a/0.log.gz" if content[:1] in (b"\x1f", b"n") else "pods/a/0.log"

    unpack(packed((f"log/{name}", tarfile.REGTYPE, content), ("log/containers/a.log", tarfile.SYMTYPE, f"/var/log/{name}")), tmp_path)

    for each in (name, "containers/a.log"):
        found = (tmp_path / each).read_bytes()
        assert (gzip.decompress(found) if content[:1] == b"\x1f" else found) == expected


def test_of_an_archive_that_is_cut_off_the_beginning_is_had(tmp_path: Path) -> None:
    """And the error tells that it is not all."""
    whole = packed(("log/first", tarfile.REGTYPE, "first"), ("log/second", tarfile.REGTYPE, "x" * 5000)).getvalue()

    with pytest.raises(tarfile.TarError):
        unpack(io.BytesIO(whole[:3000]), tmp_path)

    assert (tmp_path / "first").read_text() == "first"
