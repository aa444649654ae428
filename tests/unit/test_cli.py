"""The commands: what they do, what they print and where, and how they end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import click
import pytest
import yaml
from click.shell_completion import ShellComplete

from kindasync import Cluster, __version__
from kindasync.cli._main import cli, main, program_name
from kindasync.testing import FakeContainer, FakeEngine, ProgramResult
from tests.terminals import on_terminal
from tests.unit.leftovers import look, nothing_left
from tests.unit.test_progress import Terminal

NODE = "demo-control-plane"
IMAGE = "kindasync/node:v1.37.2"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Ran:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def events(self) -> list[dict[str, Any]]:
        """What it printed, as one JSON document per line."""
        return [json.loads(line) for line in self.out.splitlines()]


Run = Callable[..., Ran]


@pytest.fixture
def run(fake: FakeEngine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command on the fake Engine, in this process."""
    monkeypatch.setenv("DOCKER_HOST", fake.url)

    def run(*arguments: str) -> Ran:
        code = main(arguments)
        return Ran(code, *capsys.readouterr())

    return run


def contexts(path: Path) -> list[str]:
    """The contexts in a kubeconfig."""
    return [each["name"] for each in yaml.safe_load(path.read_text())["contexts"]]


# -- create


def test_a_node_is_added_and_removed(run: Run, fake: FakeEngine) -> None:
    """Its name is all that goes to stdout, for what runs next; with `--events json`, the events do."""
    run("create", "cluster", "--name", "demo")

    added = run("add", "node", "--name", "demo")
    again = run("add", "node", "--name", "demo", "--events", "json", "--wait", "0s")
    removed = run("remove", "node", "demo-worker", "--name", "demo", "--timeout", "10s")

    assert (added.code, added.out) == (0, "demo-worker\n")
    assert (again.code, again.events[-1]["event"], again.events[-1]["node"]) == (0, "NodeJoined", "demo-worker2")
    assert (removed.code, removed.out) == (0, "")
    assert "demo-worker: drained" in removed.err
    assert set(fake.containers) == {NODE, "demo-worker2"}


def test_a_node_is_added_as_a_file_says(run: Run, fake: FakeEngine, tmp_path: Path) -> None:
    """Options win over it; what is wrong with it is told, all at once."""
    run("create", "cluster", "--name", "demo")
    file = tmp_path / "node.yaml"
    file.write_text("role: control-plane\nextraPortMappings: [{containerPort: 30080, hostPort: 8080}]\n---\nlabels: {team: storage}\n")

    added = run("add", "node", "--name", "demo", "--role", "worker", "--config", str(file))
    file.write_text("image: 1\nrole: boss\nlabel: {}\n")
    refused = run("add", "node", "--name", "demo", "--config", str(file))

    assert (added.code, added.out) == (0, "demo-worker\n")
    assert fake.containers["demo-worker"].labels["team"] == "storage"
    assert list(fake.containers["demo-worker"].host_config["PortBindings"]) == ["30080/tcp"]
    assert refused.code == 1
    assert all(f"nodes[0].{field}" in refused.err for field in ("role", "label"))


def test_create_tells_its_progress_and_sets_the_context(run: Run, fake: FakeEngine, home: Path) -> None:
    """All on stderr, as kind does: there is nothing to be piped."""
    ran = run("create", "cluster", "--name", "demo")

    assert (ran.code, ran.out) == (0, "")
    lines = ran.err.splitlines()
    assert lines[0] == 'Creating cluster "demo" …'
    assert any(line.endswith(f"{NODE}: paused before its boot") for line in lines)
    assert any('cluster "demo" is ready after' in line for line in lines)
    assert f'Set kubectl context to "kind-demo" in {home}/.kube/config' in lines
    assert "    kubectl cluster-info --context kind-demo" in lines
    assert list(fake.containers) == [NODE]


def test_create_merges_the_kubeconfig(run: Run, home: Path) -> None:
    """Beside what is there, for this user alone, and makes its context the current one."""
    run("create", "cluster", "--name", "first")
    run("create", "cluster", "--name", "second")

    path = home / ".kube/config"
    assert contexts(path) == ["kind-first", "kind-second"]
    assert yaml.safe_load(path.read_text())["current-context"] == "kind-second"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not (home / ".kube/config.lock").exists()


def test_a_cluster_without_a_name_is_called_kind(run: Run, fake: FakeEngine) -> None:
    """In the library's commands as in kind's."""
    run("create", "cluster")

    assert list(fake.containers) == ["kind-control-plane"]
    assert run("get", "nodes").out == "kind-control-plane\n"
    assert run("delete", "cluster").code == 0
    assert fake.containers == {}


def test_the_name_may_come_from_the_environment(run: Run, fake: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """KIND_CLUSTER_NAME, for all commands; an option wins over it, and it wins over the configuration."""
    monkeypatch.setenv("KIND_CLUSTER_NAME", "env")
    config = Path("cluster.yaml")
    monkeypatch.chdir(Path(os.environ["HOME"]))
    config.write_text("kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nname: configured\n")

    run("create", "cluster", "--config", str(config))
    run("create", "cluster", "--name", "option")

    assert set(fake.containers) == {"env-control-plane", "option-control-plane"}
    assert run("get", "nodes").out == "env-control-plane\n"
    assert yaml.safe_load(run("get", "kubeconfig").out)["current-context"] == "kind-env"
    assert run("delete", "cluster").code == 0
    assert list(fake.containers) == ["option-control-plane"]


def test_the_configuration_may_come_from_stdin(run: Run, fake: FakeEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`--config -`."""
    document = tmp_path / "document"
    document.write_text("kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nname: piped\n")
    with document.open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        ran = run("create", "cluster", "--config", "-")

    assert ran.code == 0
    assert list(fake.containers) == ["piped-control-plane"]


def test_create_preloads_archives(run: Run, fake: FakeEngine, tmp_path: Path) -> None:
    """`--preload`, as often as there are archives."""
    for name in ("one.tar", "two.tar"):
        (tmp_path / name).write_bytes(name.encode())

    ran = run("create", "cluster", "--name", "demo", "--preload", str(tmp_path / "one.tar"), "--preload", str(tmp_path / "two.tar"))

    assert f"{NODE}: preloaded two.tar (7 B)" in ran.err
    assert fake.containers[NODE].files["/kind/images/one.tar"] == b"one.tar"
    assert fake.containers[NODE].files["/kind/images/two.tar"] == b"two.tar"


def test_events_as_json(run: Run) -> None:
    """One document per line on stdout, and nothing else there; no progress on stderr."""
    ran = run("create", "cluster", "--name", "demo", "--events", "json")

    assert [event["event"] for event in ran.events][:3] == ["NetworkCreated", "ContainerCreated", "NodeStarted"]
    assert ran.events[-1]["event"] == "ClusterReady"
    for event in ran.events:
        assert list(event)[:6] == ["event", "cluster", "node", "stage", "time", "monotonic_s"]
        assert event["time"].endswith("Z")
    assert ran.err.startswith("Set kubectl context")


def test_events_of_a_create_that_fails(run: Run, fake: FakeEngine) -> None:
    """Stdout stays JSON to its end; the error is on stderr."""
    fake.fail("ContainerStart", message="no space left on device")

    ran = run("create", "cluster", "--name", "demo", "--events", "json")

    assert ran.code == 1
    assert [event["event"] for event in ran.events][-4:] == ["StepFailed", "NodeRemoved", "NetworkRemoved", "RolledBack"]
    assert ran.err.startswith("ERROR: cannot start node")


@pytest.mark.parametrize(
    ("name", "config", "endpoint", "step", "error"),
    [
        ("Demo!", "", "", "read the configuration", 'name: "Demo!" may only hold'),
        ("demo", "{kind: Cluster, apiVersion: kind.x-k8s.io/v1alpha4, nodez: []}", "", "read the configuration", "nodez"),
        ("demo", "", "unix:///nothing.sock", "connect to the Engine", "there is no such socket"),
    ],
)
def test_events_of_a_create_that_cannot_begin(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, config: str, endpoint: str, step: str, error: str
) -> None:
    """That is one, too: who reads the events needs nothing else."""
    (tmp_path / "config.yaml").write_text(config)
    if endpoint:
        monkeypatch.setenv("DOCKER_HOST", endpoint)

    ran = run("create", "cluster", "--name", name, "--events", "json", *(["--config", str(tmp_path / "config.yaml")] if config else []))

    assert ran.code == 1
    ((kind, failed, said),) = [(event["event"], event["step"], event["error"]) for event in ran.events]
    assert (kind, failed) == ("StepFailed", step)
    assert error in said
    assert error in ran.err


def test_without_a_wait(run: Run, fake: FakeEngine) -> None:
    """`--wait 0s` returns as kind does."""
    fake.node.becomes_ready = False

    assert run("create", "cluster", "--wait", "0s").code == 0


@pytest.mark.usefixtures("nobody_dies")
def test_a_wait_that_expires(run: Run, fake: FakeEngine, home: Path) -> None:
    """Is an error: 1, and nothing is left, in the kubeconfig neither."""
    fake.node.becomes_ready = False

    with nothing_left(fake, home):
        ran = run("create", "cluster", "--name", "demo", "--wait", "200ms")

    assert ran.code == 1
    assert 'ERROR: waited 0.2 s in vain for cluster "demo" to be ready' in ran.err


@pytest.mark.usefixtures("nobody_dies")
def test_retain(run: Run, fake: FakeEngine) -> None:
    """Keeps the node, and says how to look at it."""
    fake.fail("PutContainerArchive", message="no space left on device")

    ran = run("create", "cluster", "--name", "demo", "--retain")

    assert ran.code == 1
    assert list(fake.containers) == [NODE]
    assert "note: retained: docker exec" in ran.err


@pytest.mark.parametrize("content", ["- not a kubeconfig\n", "clusters: [x]\n", "{"])
def test_a_kubeconfig_that_cannot_be_changed(run: Run, fake: FakeEngine, home: Path, content: str) -> None:
    """Is refused before anything is made."""
    (home / ".kube").mkdir()
    (home / ".kube/config").write_text(content)

    with nothing_left(fake, home):
        ran = run("create", "cluster", "--name", "demo")

    assert (ran.code, ran.out) == (1, "")
    assert f"ERROR: {home}/.kube/config is not a kubeconfig\n  why: " in ran.err
    assert fake.requests == []


def test_a_kubeconfig_that_cannot_be_changed_any_more(run: Run, fake: FakeEngine, home: Path) -> None:
    """The cluster stays: the error says so, and how to get at it."""
    (home / ".kube").mkdir()
    fake.on("ContainerStart", lambda: (home / ".kube/config").write_text("- not a kubeconfig\n"))

    ran = run("create", "cluster", "--name", "demo")

    assert ran.code == 1
    assert "is not a kubeconfig" in ran.err
    assert "note: " in ran.err
    assert "kindasync export kubeconfig --name demo" in ran.err
    assert list(fake.containers) == [NODE]
    assert (home / ".kube/config").read_text() == "- not a kubeconfig\n"


# -- kubeconfig files


def test_the_kubeconfigs_of_the_environment(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of KUBECONFIG's files, the first that exists gets the cluster, else the last; a delete looks into all of them."""
    one, two = home / "one", home / "two"
    monkeypatch.setenv("KUBECONFIG", f"{one}:{two}")

    run("create", "cluster", "--name", "last")
    assert (one.exists(), contexts(two)) == (False, ["kind-last"])
    one.write_text("apiVersion: v1\nkind: Config\n")
    run("create", "cluster", "--name", "first")
    assert contexts(one) == ["kind-first"]
    run("delete", "clusters", "--all")

    assert (contexts(one), contexts(two)) == ([], [])
    assert not (home / ".kube").exists()


def test_another_kubeconfig(run: Run, home: Path) -> None:
    """`--kubeconfig`, for create, export and delete."""
    path = home / "sub/mine"

    assert f"in {path}" in run("create", "cluster", "--kubeconfig", str(path)).err
    assert contexts(path) == ["kind-kind"]
    run("delete", "cluster", "--kubeconfig", str(path))

    assert contexts(path) == []
    assert not (home / ".kube").exists()


def test_delete_takes_only_its_own_entries(run: Run, home: Path) -> None:
    """What else is in the file stays as it is, the current context too."""
    run("create", "cluster", "--name", "stays")
    run("create", "cluster", "--name", "goes")
    before = yaml.safe_load((home / ".kube/config").read_text())
    assert before["current-context"] == "kind-goes"

    run("delete", "cluster", "--name", "goes")

    after = yaml.safe_load((home / ".kube/config").read_text())
    assert contexts(home / ".kube/config") == ["kind-stays"]
    assert (len(after["users"]), len(after["clusters"]), after["current-context"]) == (1, 1, "")


def test_export_kubeconfig(run: Run, home: Path) -> None:
    """Merges what is in the node, again or for another user; `--internal` with the address in the nodes' network."""
    run("create", "cluster", "--name", "demo")
    (home / ".kube/config").unlink()

    ran = run("export", "kubeconfig", "--name", "demo")
    internal = run("export", "kubeconfig", "--name", "demo", "--internal", "--kubeconfig", str(home / "internal"))

    assert (ran.code, ran.out) == (0, "")
    assert ran.err == f'Set kubectl context to "kind-demo" in {home}/.kube/config\n'
    assert contexts(home / ".kube/config") == ["kind-demo"]
    assert internal.code == 0
    assert yaml.safe_load((home / "internal").read_text())["clusters"][0]["cluster"]["server"] == f"https://{NODE}:6443"


# -- get


def test_get_clusters(run: Run) -> None:
    """Names on stdout; that there are none is on stderr, and no error."""
    for wide in ((), ("-o", "wide")):
        assert run("get", "clusters", *wide) == Ran(0, "", "No kind clusters found.\n")
    assert run("get", "clusters", "-o", "json") == Ran(0, "[]\n", "")
    run("create", "cluster", "--name", "b")
    run("create", "cluster", "--name", "a")

    assert run("get", "clusters") == Ran(0, "a\nb\n", "")
    assert run("get", "clusters", "-o", "json") == Ran(0, '["a", "b"]\n', "")
    assert run("get", "clusters", "-o", "yaml") == Ran(0, "- a\n- b\n", "")
    assert run("get", "clusters", "-o", "wide").out.splitlines() == [
        "NAME   NODES   RUNNING   IMAGE",
        f"a      1       1         {IMAGE}",
        f"b      1       1         {IMAGE}",
    ]


def test_get_nodes(run: Run) -> None:
    """Of one cluster, or of all; that there are none is on stderr, and no error."""
    run("create", "cluster", "--name", "b")
    run("create", "cluster", "--name", "a")

    assert run("get", "nodes", "--name", "a") == Ran(0, "a-control-plane\n", "")
    assert run("get", "nodes", "-A") == Ran(0, "a-control-plane\nb-control-plane\n", "")
    for wide in ((), ("-o", "wide")):
        assert run("get", "nodes", "--name", "none", *wide) == Ran(0, "", 'No kind nodes found for cluster "none".\n')
    (node,) = json.loads(run("get", "nodes", "--name", "a", "-o", "json").out)
    address = node.pop("address")
    assert node == {"name": "a-control-plane", "cluster": "a", "role": "control-plane", "state": "running", "image": IMAGE}
    assert [line.split() for line in run("get", "nodes", "-n", "a", "-o", "wide").out.splitlines()] == [
        ["NAME", "CLUSTER", "ROLE", "STATE", "ADDRESS", "IMAGE"],
        ["a-control-plane", "a", "control-plane", "running", address, IMAGE],
    ]


@pytest.mark.parametrize(
    "arguments",
    [("get", "snapshots", "--name", "demo"), ("get", "kubeconfig", "--name", "demo"), ("gc", "--dry-run"), ("doctor",), ("version",)],
)
def test_wide_is_the_same_where_there_is_no_more(fake: FakeEngine, run: Run, arguments: tuple[str, ...]) -> None:
    """It can be asked for wherever there are lines for people."""
    run("create", "cluster", "--name", "demo")
    fake.node.programs["snapshot"] = lambda *_: ProgramResult(stdout=b"[]")
    plain, wide = run(*arguments), run(*arguments, "-o", "wide")

    def begin(out: str) -> list[list[str]]:  # not what doctor measures
        return [line.split()[:2] for line in out.splitlines()]

    assert (wide.code, begin(wide.out), wide.err) == (0, begin(plain.out), plain.err)


def test_get_kubeconfig(run: Run) -> None:
    """The document on stdout, as YAML or JSON, with the address of this host or of the nodes' network."""
    run("create", "cluster", "--name", "demo")

    ran = run("get", "kubeconfig", "--name", "demo")
    document = yaml.safe_load(ran.out)

    assert (ran.code, ran.err) == (0, "")
    assert document["clusters"][0]["cluster"]["server"].startswith("https://127.0.0.1:")
    assert json.loads(run("get", "kubeconfig", "--name", "demo", "-o", "json").out) == document
    internal = yaml.safe_load(run("get", "kubeconfig", "--name", "demo", "--internal").out)
    assert internal["clusters"][0]["cluster"]["server"] == f"https://{NODE}:6443"


# -- delete


def test_delete_tells_its_progress(run: Run, fake: FakeEngine, home: Path) -> None:
    """On stderr; and nothing is left but the user's kubeconfig, without the entries."""
    run("create", "cluster", "--name", "demo")

    ran = run("delete", "cluster", "--name", "demo")

    assert (ran.code, ran.out) == (0, "")
    assert ran.err.splitlines()[0] == 'Deleting cluster "demo" …'
    assert 'deleted cluster "demo" in' in ran.err
    assert (fake.containers, fake.networks, fake.volumes) == ({}, {}, {})
    assert [path for path in home.rglob("*") if path.is_file()] == [home / ".kube/config"]
    assert contexts(home / ".kube/config") == []


def test_delete_of_what_is_not_there(run: Run, fake: FakeEngine, home: Path) -> None:
    """Counts as deleted, and makes no files."""
    with nothing_left(fake, home):
        assert run("delete", "cluster", "--name", "demo").code == 0


def test_delete_clusters(run: Run, fake: FakeEngine) -> None:
    """Those named, or all; without either it is an error."""
    for name in ("a", "b", "c"):
        run("create", "cluster", "--name", name)

    named = run("delete", "clusters", "a", "b")
    assert (named.code, named.out) == (0, "")
    assert named.err.splitlines()[-1] == 'Deleted clusters: ["a" "b"]'
    assert list(fake.containers) == ["c-control-plane"]

    nothing = run("delete", "clusters")
    assert nothing.code == 1
    assert "no cluster names given" in nothing.err
    assert list(fake.containers) == ["c-control-plane"]

    assert run("delete", "clusters", "--all").code == 0
    assert fake.containers == {}


def test_delete_clusters_goes_on_after_a_failure(run: Run, fake: FakeEngine) -> None:
    """The others are deleted; the exit code is 1, as it is not with kind."""
    for name in ("a", "b"):
        run("create", "cluster", "--name", name)
    fake.fail("ContainerDelete", message="device or resource busy")

    ran = run("delete", "clusters", "--all")

    assert ran.code == 1
    assert 'ERROR: cluster "a" could not be deleted whole' in ran.err
    assert list(fake.containers) == ["a-control-plane"]


def test_delete_clusters_goes_on_after_a_kubeconfig_that_cannot_be_changed(
    run: Run, fake: FakeEngine, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is deleted from the Engine; each failure is said."""
    for name in ("a", "b"):
        run("create", "cluster", "--name", name)
    (home / "directory").mkdir()
    monkeypatch.setenv("KUBECONFIG", str(home / "directory"))

    ran = run("delete", "clusters", "--all")

    assert ran.code == 1
    assert ran.err.count(f"ERROR: cannot change {home}/directory\n  why: Is a directory") == 2
    assert "Deleted clusters" not in ran.err
    assert fake.containers == {}


def test_events_of_a_delete(run: Run) -> None:
    """As for a create."""
    run("create", "cluster", "--name", "demo")

    ran = run("delete", "cluster", "--name", "demo", "--events", "json")

    assert [event["event"] for event in ran.events] == ["NodeRemoved", "NetworkRemoved", "ClusterDeleted"]
    assert ran.err == ""


def test_a_name_wins_over_that_of_the_configuration(run: Run, tmp_path: Path) -> None:
    """Which may be none."""
    (tmp_path / "cluster.yaml").write_text("kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nname: Not_One\n")

    assert run("create", "cluster", "--config", str(tmp_path / "cluster.yaml")).code == 1
    assert run("create", "cluster", "--config", str(tmp_path / "cluster.yaml"), "--name", "demo").code == 0


@pytest.mark.parametrize("command", ["create cluster", "get nodes", "delete cluster"])
def test_an_empty_name_is_none(run: Run, command: str) -> None:
    """As for the kind program."""
    if command != "create cluster":
        run("create", "cluster", "--name", "kind")

    assert "kind" in run(*command.split(), "--name", "").err + run("get", "nodes", "--name", "").out


def test_output_that_the_encoding_cannot_show(fake: FakeEngine, home: Path) -> None:
    """A letter is lost, not the answer."""
    environment = {**os.environ, "DOCKER_HOST": fake.url, "PYTHONIOENCODING": "latin-1"}
    ran = subprocess.run([sys.executable, "-m", "kindasync", "doctor"], env=environment, capture_output=True, check=False)

    assert b"? Engine" in ran.stdout
    assert b"Traceback" not in ran.stderr


# -- version, doctor, completion


def test_version(run: Run) -> None:
    """In kind's form; quiet, only the number."""
    ran = run("version")

    assert ran.out.startswith(f"kindasync v{__version__} python3.")
    assert run("version", "-q").out == f"{__version__}\n"
    assert run("--version").out == f"kindasync version {__version__}\n"


def test_called_as_kind_it_tells_the_version_of_kind_that_it_stands_in_for(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """For scripts that want one of at least some version. And it calls itself so, and completes itself so."""

    def as_kind(*arguments: str) -> str:
        assert main(arguments, program=program_name("/usr/local/bin/kind")) == 0
        return capsys.readouterr().out

    assert as_kind("version").startswith(f"kind v0.33.0 kindasync-v{__version__} python3.")
    assert as_kind("version", "-q") == "0.33.0\n"
    assert as_kind("--version") == "kind version 0.33.0\n"
    assert as_kind("get", "nodes", "--help").startswith("Usage: kind get nodes ")
    assert as_kind("help", "get", "nodes") == as_kind("get", "nodes", "--help")
    assert "_KIND_COMPLETE" in as_kind("completion", "bash")
    assert program_name("/home/me/.venv/bin/kindasync") == program_name("__main__.py") == "kindasync"


def test_version_as_json(run: Run, fake: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the default node image, whether it is there, and its Kubernetes version; with an Engine, without the image, and without both."""
    with_image = json.loads(run("version", "-o", "json").out)
    del fake.images[IMAGE]
    without_image = json.loads(run("version", "-o", "json").out)
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    without_engine = run("version", "-o", "json")

    assert (with_image["version"], with_image["node_image"]) == (__version__, IMAGE)
    assert (with_image["node_image_present"], with_image["kubernetes_version"]) == (True, "v1.37.2")
    assert without_image["node_image"].startswith("kindest/node:v1.37")
    assert (without_image["node_image_present"], without_image["kubernetes_version"]) == (False, "v1.37.0")
    assert without_engine.code == 0
    assert json.loads(without_engine.out).items() > without_image.items()
    assert "cannot connect" in json.loads(without_engine.out)["engine_error"]


def test_doctor(run: Run) -> None:
    """What was looked at, each with its value."""
    ran = run("doctor")
    findings = {finding["name"]: finding for finding in json.loads(run("doctor", "-o", "json").out)}

    assert ran.code == 0
    assert "✓ API version" in ran.out
    assert findings["node image"]["value"] == IMAGE
    assert {"Engine", "API version", "storage driver", "cgroups", "memory", "NetworkPolicy", "node image"} <= set(findings)
    if sys.platform == "linux":  # the fake is on this machine
        assert {"capabilities", "inotify instances", "inotify watches"} <= set(findings)
    assert {finding["verdict"] for finding in findings.values()} <= {"ok", "warning"}
    assert all(finding["fix"] for finding in findings.values() if finding["verdict"] == "warning")


@pytest.mark.parametrize(("variable", "coloured"), [("OTHER", True), ("NO_COLOR", False)])
def test_colours_are_for_who_wants_them(run: Run, monkeypatch: pytest.MonkeyPatch, variable: str, coloured: bool) -> None:
    """On a terminal, unless NO_COLOR is set, be it empty."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv(variable, "")

    with redirect_stdout(Terminal()) as terminal:
        run("doctor")

    assert "✓" in terminal.getvalue()
    assert ("\x1b[" in terminal.getvalue()) is coloured


def test_doctor_without_an_engine(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is what it finds: 1, with the remedy."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")

    ran = run("doctor")

    assert ran.code == 1
    assert "✗ Engine" in ran.out
    assert "→ start Docker, or set DOCKER_HOST" in ran.out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_completion(run: Run, shell: str) -> None:
    """A script on stdout."""
    ran = run("completion", shell)

    assert (ran.code, ran.err) == (0, "")
    assert "_KINDASYNC_COMPLETE" in ran.out


TYPED = """
source <(kindasync completion bash)
COMP_WORDS=(kindasync create cluster --t) COMP_CWORD=3
_kindasync_completion kindasync
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    ("shell", "script"),
    [("bash", TYPED), ("fish", "kindasync completion fish | source; complete -C 'kindasync create cluster --t' | cut -f 1")],
)
def test_completions_in_shells(shell: str, script: str) -> None:
    """What is offered after the first letters of an option."""
    if not shutil.which(shell):
        pytest.skip(f"there is no {shell} here")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    ran = subprocess.run([shell, "-c", script], env={**os.environ, "PATH": path}, capture_output=True, text=True, check=True)

    assert sorted(ran.stdout.split()) == ["--timeline", "--timings"]


def test_completions_as_typed_in_zsh(tmp_path: Path) -> None:
    """An option, a value behind an equals sign, and a file."""
    if not shutil.which("zsh"):
        pytest.skip("there is no zsh here")
    (tmp_path / "one-node.yaml").touch()
    begins = b"autoload -U compinit && compinit -D && source <(kindasync completion zsh) && print lo''aded\n"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

    shown = on_terminal(
        *("zsh", "-f", "-i"),
        columns=100,
        environment={**os.environ, "PATH": path, "PS1": "here> "},
        cwd=tmp_path,
        typed=[
            ("here>", begins),
            ("\nloaded\nhere>", b"kindasync create cluster --timel\t"),
            ("here> kindasync create cluster --timeline", b"\x15kindasync create cluster --events=j\t"),
            ("here> kindasync create cluster --events=json", b"\x15kindasync create cluster --config=one\t"),
            ("here> kindasync create cluster --config=one-node.yaml", b"\x15kindasync create cluster --config one\t"),
            ("here> kindasync create cluster --config one-node.yaml", b"\x15exit\n"),
        ],
    )

    assert shown.code == 0


@pytest.mark.parametrize(
    ("shell", "words", "word", "offered"),
    [
        ("bash", "kindasync\ncreate\ncluster\n--events\n=\nj", 5, "plain,json"),
        ("bash", "kindasync\ncreate\ncluster\n--events\n=", 4, "plain,json"),
        ("zsh", "kindasync create cluster --events=j", 3, "plain\n--events=json\n_"),
        ("fish", "kindasync create cluster --events=j", "--events=j", "plain,--events=json"),
        ("fish", "kindasync create cluster --config=/etc/hostn", "--config=/etc/hostn", "plain,--config=/etc/hostname"),
        ("fish", "kindasync create cluster --config=/et", "--config=/et", "plain,--config=/etc/"),
        ("powershell", "kindasync create cluster --events=j", "--events=j", "--events=json\t--events=json"),
    ],
)
def test_values_behind_an_equals_sign_are_completed(shell: str, words: str, word: object, offered: str) -> None:
    """As each shell takes a line apart."""
    environment = {**os.environ, "_KINDASYNC_COMPLETE": f"{shell}_complete", "COMP_WORDS": words, "COMP_CWORD": str(word)}
    ran = subprocess.run([sys.executable, "-m", "kindasync"], env=environment, capture_output=True, text=True, check=True)

    assert ran.stdout.strip() == offered


def commands(group: click.Group, *names: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """All of them, below a group."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command
        yield (*names, name), command
        if isinstance(command, click.Group):
            yield from commands(command, *names, name)


def test_files_are_completed() -> None:
    """By the shell, wherever one is named."""
    named = {
        (*names, parameter.opts[0]): [item.type for item in parameter.shell_complete(click.Context(command), "x")]
        for names, command in commands(cli)
        for parameter in command.params
        if parameter.metavar in ("FILE", "ARCHIVE", "ARCHIVE...") or "--kubeconfig" in parameter.opts
    }

    assert ("create", "cluster", "--config") in named
    assert {path for path, types in named.items() if types != ["file"]} == set()


@pytest.mark.parametrize(
    ("words", "word", "completions"),
    [
        ("kindasync get cl", "cl", ["clusters\tPrint the names"]),
        ("kindasync get", "", ["clusters", "nodes", "kubeconfig", "snapshots"]),
        ("kindasync create cluster --r", "--r", ["--retain"]),
        ("kindasync create cluster --config", "", []),
    ],
    ids=["command", "all", "option", "path"],
)
def test_completions_for_powershell(words: str, word: str, completions: list[str]) -> None:
    """Each with its help, which is never empty; paths are PowerShell's own."""
    environment = {**os.environ, "_KINDASYNC_COMPLETE": "powershell_complete", "COMP_WORDS": words} | ({"COMP_CWORD": word} if word else {})
    ran = subprocess.run([sys.executable, "-m", "kindasync"], env=environment, capture_output=True, text=True, check=True)

    lines = [line for line in ran.stdout.splitlines() if line]
    assert len(lines) == len(completions)
    for line, completion in zip(lines, completions, strict=True):
        assert line.startswith(completion)
        assert line.partition("\t")[2]


@pytest.mark.parametrize(
    ("arguments", "word", "names"),
    [
        (["get", "kubeconfig", "--name"], "d", ["demo"]),
        (["delete", "clusters", "demo"], "", ["demo", "other"]),
        (["remove", "node", "--name", "other"], "", ["other-control-plane"]),
        (["remove", "node"], "", []),
        (["exec", "--name", "other", "--node"], "", ["other-control-plane"]),
        (["load", "image", "--name", "other", "--nodes"], "a,oth", ["a,other-control-plane"]),
        (["kubectl", "--name"], "", ["demo", "other"]),
    ],
)
def test_names_are_completed(run: Run, arguments: list[str], word: str, names: list[str]) -> None:
    """Those of clusters, and of their nodes."""
    for name in ("demo", "other"):
        run("create", "cluster", "--name", name)

    assert [item.value for item in ShellComplete(cli, {}, "kindasync", "").get_completions(arguments, word)] == names


def test_without_an_engine_no_name_is_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no error stands in the line that is typed."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nothing.sock")

    assert ShellComplete(cli, {}, "kindasync", "").get_completions(["get", "kubeconfig", "--name"], "") == []


# -- errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], 'ERROR: there is no command "kindasync nonsense"\n  try: kindasync --help\n'),
        (["creat", "cluster"], 'ERROR: there is no command "kindasync creat"; did you mean create?\n'),
        (["get", "cluster"], 'ERROR: there is no command "kindasync get cluster"; did you mean clusters?\n  try: kindasync get --help\n'),
        (["create", "cluster", "--nam", "x"], "ERROR: No such option '--nam'"),
        (["get", "clusters", "--nonsense"], "No such option '--nonsense'"),
        (["create", "cluster", "--wait", "long"], '"long" is not a duration'),
        (["create", "cluster", "--name", "Upper"], '"Upper" may only hold lower-case letters'),
        (
            ["create", "cluster", "--config", "/missing.yaml"],
            "ERROR: cannot read the configuration /missing.yaml\n  why: No such file or directory\n  try: see that",
        ),
        (["create", "cluster", "--config", "/etc"], "ERROR: cannot read the configuration /etc\n  why: Is a directory\n"),
        (["create", "cluster", "--preload", "/missing.tar"], "/missing.tar"),
        (["create", "cluster", "--image", "nowhere/at-all:1"], "cannot be pulled"),
        (["get", "kubeconfig", "--name", "none"], 'there is no cluster "none"'),
        (["export", "kubeconfig", "--name", "none"], 'there is no cluster "none"'),
        (["completion", "tcsh"], "tcsh"),
        (["get", "clusters", "-v", "much"], "-v needs a number"),
    ],
)
def test_every_error_is_1_and_on_stderr(run: Run, fake: FakeEngine, home: Path, arguments: list[str], message: str) -> None:
    """As kind has it; with what is wrong, nothing on stdout, and nothing left."""
    with nothing_left(fake, home):
        ran = run(*arguments)

    assert (ran.code, ran.out) == (1, "")
    assert message in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize(
    "command", [["create", "cluster"], ["get", "clusters"], ["get", "nodes"], ["get", "kubeconfig"], ["delete", "cluster"]]
)
def test_no_engine(run: Run, monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    """The remedy, in the form of all errors."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")

    ran = run(*command)

    assert (ran.code, ran.out) == (1, "")
    assert "ERROR: cannot connect to the Docker Engine at unix:///nowhere/docker.sock (DOCKER_HOST)" in ran.err
    assert "  why: there is no such socket\n  try: start Docker" in ran.err


def test_an_engine_that_this_user_may_not_use(run: Run, fake: FakeEngine, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another remedy: that there is no Engine would be the wrong one."""

    def connect(*_: object) -> None:
        raise PermissionError(13, "Permission denied")  # which root, who may run this, never gets

    monkeypatch.setattr(socket.socket, "connect", connect)

    with nothing_left(fake, home):
        ran = run("create", "cluster")

    assert (ran.code, ran.out) == (1, "")
    assert "  why: this user may not use the socket\n  try: add the user to the group that owns it (usermod -aG docker USER" in ran.err


def test_a_name_that_is_taken(run: Run, fake: FakeEngine, home: Path) -> None:
    """The kubeconfig is not touched either."""
    run("create", "cluster", "--name", "demo")

    with nothing_left(fake, home):
        ran = run("create", "cluster", "--name", "demo")

    assert ran.code == 1
    assert 'ERROR: cluster "demo" exists already' in ran.err
    assert "kindasync delete cluster --name demo" in ran.err


def test_bare_groups_print_their_help(run: Run) -> None:
    """As kind's: the outermost is no error, the others lack a subcommand."""
    outermost = run()
    assert (outermost.code, outermost.err) == (0, "")
    assert "Usage: kindasync" in outermost.out

    for group in ("create", "delete", "get", "export", "build"):
        ran = run(group)
        assert ran.code == 1
        assert f"Usage: kindasync {group}" in ran.out
        assert ran.err == "ERROR: a subcommand is required\n"


@pytest.mark.parametrize("arguments", [["--help"], ["create", "-h"], ["create", "cluster", "--help"], ["delete", "clusters", "-h"]])
def test_help(run: Run, arguments: list[str]) -> None:
    """On stdout, and no error."""
    ran = run(*arguments)

    assert (ran.code, ran.err) == (0, "")
    assert "Usage: kindasync" in ran.out


def test_quiet(run: Run) -> None:
    """Nothing on stderr, wherever the option stands; what was asked for still comes, and errors still are."""
    assert run("create", "cluster", "-q", "--name", "demo") == Ran(0, "", "")
    assert run("--quiet", "get", "clusters") == Ran(0, "demo\n", "")
    assert run("create", "cluster", "--name", "demo", "--quiet") == Ran(1, "", "")
    assert run("delete", "cluster", "--name", "demo", "-q") == Ran(0, "", "")


def test_verbosity(run: Run) -> None:
    """Above 0, an error comes with its stack trace, wherever the option stands."""
    for arguments in (["-v", "1", "get", "kubeconfig"], ["get", "kubeconfig", "-v=1"], ["get", "kubeconfig", "--verbosity", "3"]):
        ran = run(*arguments)
        assert ran.code == 1
        assert "Traceback" in ran.err
        assert 'there is no cluster "kind"' in ran.err

    assert "Traceback" not in run("get", "kubeconfig", "-v", "0").err


# -- signals


def silence(operation: str, nth: int = 1) -> Callable[[FakeEngine], Callable[[], object]]:
    """The nth request of an operation gets no answer; the signal comes when it has been made."""

    def hold(fake: FakeEngine) -> Callable[[], object]:
        fake.hang(operation, nth)
        return lambda: fake.wait_request(operation, nth)

    return hold


def boots_without_end(fake: FakeEngine) -> None:
    fake.node.boots = False


def never_reaches_its_runtime(fake: FakeEngine) -> None:
    fake.node.reaches_runtime = False


def kubeadm_hangs(fake: FakeEngine) -> None:
    plain = fake.node.programs["kubeadm"]

    def kubeadm(container: FakeContainer, argv: Any, stdin: bytes) -> ProgramResult:
        return ProgramResult(hangs=True) if container.booted else plain(container, argv, stdin)

    fake.node.programs["kubeadm"] = kubeadm
    fake.node.becomes_ready = False


def never_becomes_ready(fake: FakeEngine) -> None:
    fake.node.becomes_ready = False


@pytest.mark.parametrize(
    ("event", "hold", "numbers"),
    [
        ("NetworkCreated", silence("ContainerList", 2), [signal.SIGINT]),
        ("ContainerCreated", silence("ContainerList", 3), [signal.SIGTERM]),
        ("NodePaused", silence("PutContainerArchive"), [signal.SIGINT, signal.SIGINT]),
        ("BootSignalled", boots_without_end, [signal.SIGINT]),
        ("NodeBooted", never_reaches_its_runtime, [signal.SIGHUP]),
        ("RuntimeReady", kubeadm_hangs, [signal.SIGTERM, signal.SIGINT, signal.SIGTERM]),
        ("ManifestApplied", never_becomes_ready, [signal.SIGINT]),
    ],
)
def test_a_signal_ends_a_create_with_nothing_left(
    fake: FakeEngine, home: Path, event: str, hold: Callable[[FakeEngine], Callable[[], object] | None], numbers: list[signal.Signals]
) -> None:
    """SIGINT, SIGTERM and SIGHUP, also repeated: 128 and the first one's number, after everything was taken back."""
    wait_held = hold(fake)
    before = look(fake, home)

    with started(fake, "create", "cluster", "--name", "demo", "--events", "json") as process:
        assert process.stdout is not None
        while json.loads(process.stdout.readline())["event"] != event:
            pass
        if wait_held:
            wait_held()
        process.send_signal(numbers[0])
        assert process.stderr is not None
        while "interrupted" not in process.stderr.readline():
            pass
        for number in numbers[1:]:
            process.send_signal(number)
        rest, err = process.communicate(timeout=15)

    assert process.returncode == 128 + numbers[0]
    assert look(fake, home) == before
    assert json.loads(rest.splitlines()[-1])["event"] == "RolledBack"
    assert "Traceback" not in err


def test_a_program_ends_with_the_command_that_runs_it(fake: FakeEngine, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Engine would let it run on: another one finds it by a variable of its own."""
    monkeypatch.setenv("DOCKER_HOST", fake.url)
    main(["create", "cluster", "--name", "demo"])
    fake.node.programs["sleep"] = lambda *_: ProgramResult(hangs=True)
    ended: list[Sequence[str]] = []

    def end(_container: object, argv: Sequence[str], _stdin: bytes) -> ProgramResult:
        ended.append(argv)
        return ProgramResult()

    fake.node.programs["sh"] = end
    before = len(fake.requests_of("ExecStart"))
    with started(fake, "exec", "--name", "demo", "sleep", "100") as process:
        fake.wait_request("ExecStart", before + 1)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=15)

    marks = [each for request in fake.requests_of("ContainerExec") for each in request.json.get("Env") or () if "EXEC" in each]
    assert process.returncode == 130
    assert [[*argv[-2:]] for argv in ended] == [[*marks, "TERM"]]
    assert len(marks) == 1


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_without_stdin_stdout_or_stderr(fake: FakeEngine, home: Path, monkeypatch: pytest.MonkeyPatch, closed: str) -> None:
    """As of a daemon: all is done that is asked for."""
    monkeypatch.setenv("DOCKER_HOST", fake.url)
    main(["create", "cluster", "--name", "demo"])
    for command in (f"kubectl --name demo get ns {closed}", f"delete cluster --name demo {closed}"):
        line = f'exec "$0" -m kindasync {command}'
        done = subprocess.run(
            ["sh", "-c", line, sys.executable], env={**os.environ, "DOCKER_HOST": fake.url}, capture_output=True, check=False
        )
        assert b"Traceback" not in done.stderr
        assert done.returncode == (126 if "kubectl" in command else 0)

    assert fake.containers == {}


@pytest.mark.parametrize("words", ["", "get"])
def test_help_that_nobody_reads(words: str) -> None:
    """As of `kindasync | true`."""
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -m kindasync {words} >/dev/full', sys.executable], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_completion_without_its_variables(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], shell: str) -> None:
    """By the script of another version: what may come first."""
    monkeypatch.setenv("_KINDASYNC_COMPLETE", f"{shell}_complete")
    for name in ("COMP_WORDS", "COMP_CWORD"):
        monkeypatch.delenv(name, raising=False)

    with pytest.raises(SystemExit) as ended:
        main([])

    assert (ended.value.code, "create" in capsys.readouterr().out) == (0, True)


def test_a_signal_at_the_very_end(fake: FakeEngine, home: Path) -> None:
    """Either there is a cluster, and the command has succeeded; or there is none, no kubeconfig entry neither, and it has not."""
    with started(fake, "create", "cluster", "--name", "demo", "--events", "json") as process:
        assert process.stdout is not None
        while json.loads(process.stdout.readline())["event"] != "ClusterReady":
            pass
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=15)

    kubeconfig = home / ".kube/config"
    assert (process.returncode, list(fake.containers)) in [(0, [NODE]), (130, [])]
    assert (contexts(kubeconfig) if kubeconfig.exists() else []) == (["kind-demo"] if fake.containers else [])


def test_a_signal_while_somebody_holds_the_kubeconfig(fake: FakeEngine, home: Path) -> None:
    """Or died with it locked: the wait is over at once, and everything is taken back."""
    lock = home / ".kube/config.lock"
    lock.parent.mkdir()
    lock.touch(0)
    before = look(fake, home)

    with started(fake, "create", "cluster", "--name", "demo", "--events", "json") as process:
        assert process.stdout is not None
        while json.loads(process.stdout.readline())["event"] != "ClusterReady":
            pass
        fake.wait_idle()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)

    assert process.returncode == 130
    assert look(fake, home) == before


@pytest.mark.parametrize(
    ("at", "left"), [("boot", "container demo-control-plane"), ("kubeconfig", 'cluster "demo" could not be deleted whole')]
)
def test_a_signal_after_which_something_stays(fake: FakeEngine, home: Path, at: str, left: str) -> None:
    """What could not be removed is said on stderr; the exit code is the signal's."""
    fake.fail("ContainerDelete", message="device or resource busy")
    fake.node.boots = at != "boot"
    (home / ".kube").mkdir()
    (home / ".kube/config.lock").touch(0)

    with started(fake, "create", "cluster", "--name", "demo") as process:
        fake.wait_request("ContainerKill")
        if at == "kubeconfig":
            assert process.stderr is not None
            while "is ready after" not in process.stderr.readline():
                pass
            fake.wait_idle()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=15)

    assert process.returncode == 130
    assert f"  note: left behind: {left}" in err
    assert "device or resource busy" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_that_is_ignored_stays_ignored(fake: FakeEngine, number: signal.Signals) -> None:
    """As nohup has it for SIGHUP, and a shell without job control for SIGINT of what it runs in the background."""
    release = fake.hold("ContainerStart")

    with started(fake, "create", "cluster", "--name", "demo", ignoring=[number]) as process:
        fake.wait_request("ContainerStart")
        process.send_signal(number)
        release()
        _, err = process.communicate(timeout=15)

    assert process.returncode == 0
    assert "interrupted" not in err
    assert list(fake.containers) == [NODE]


def test_a_signal_with_retain(fake: FakeEngine) -> None:
    """Keeps the node, and says so."""
    fake.node.boots = False

    with started(fake, "create", "cluster", "--name", "demo", "--retain") as process:
        fake.wait_request("ContainerKill")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=15)

    assert process.returncode == 130
    assert list(fake.containers) == [NODE]
    assert "retained: docker exec" in err


def test_a_signal_ends_a_delete(fake: FakeEngine, home: Path) -> None:
    """Which can be run again."""
    anyio.run(create, fake)
    asked = len(fake.requests_of("ContainerList"))
    fake.hang("ContainerList")

    with started(fake, "delete", "cluster", "--name", "demo") as process:
        fake.wait_request("ContainerList", asked + 1)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=15)

    assert process.returncode == 143
    anyio.run(delete, fake)
    assert fake.containers == {}


class started:  # noqa: N801 (a context manager that reads as a word)
    """The command in a process of its own, which ignores no signals but `ignoring`; it is killed if it has not ended."""

    def __init__(self, fake: FakeEngine, *arguments: str, ignoring: Sequence[signal.Signals] = ()) -> None:
        self._arguments = [sys.executable, "-m", "kindasync", *arguments]
        self._environment = {**os.environ, "DOCKER_HOST": fake.url}
        self._ignoring = ignoring

    def __enter__(self) -> subprocess.Popen[str]:
        ours = {each: signal.signal(each, signal.SIG_IGN if each in self._ignoring else signal.SIG_DFL) for each in SIGNALS}
        try:
            self._process = subprocess.Popen(
                self._arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1, env=self._environment
            )
        finally:
            for number, handler in ours.items():
                signal.signal(number, handler)
        return self._process

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


async def create(fake: FakeEngine) -> None:
    await Cluster.create("demo", engine=fake.url)


async def delete(fake: FakeEngine) -> None:
    from kindasync.cluster import delete

    await delete("demo", engine=fake.url)
