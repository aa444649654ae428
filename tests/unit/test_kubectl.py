"""kubectl in a node: which of its arguments are files of the user's machine, and when it reads stdin."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click
import pytest

from kindasync.cli._kubectl import arranged
from kindasync.cli._main import main, split_passed_on
from kindasync.testing import FakeContainer, FakeEngine, ProgramResult


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory with files of the names that the cases use."""
    (tmp_path / "overlay").mkdir()
    for name in ("app.yaml", "db.yaml", "logs", "overlay/kustomization.yaml"):
        (tmp_path / name).write_text("")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "expected", "uploads"),
    [
        ("get pods -A -o wide", "get pods -A -o wide", {}),
        ("apply -f app.yaml", "apply -f /d/0/app.yaml", {"/d/0/app.yaml": "app.yaml"}),
        ("apply -fapp.yaml", "apply -f=/d/0/app.yaml", {"/d/0/app.yaml": "app.yaml"}),
        (
            "apply --filename=app.yaml,db.yaml",
            "apply --filename=/d/0/app.yaml,/d/1/db.yaml",
            {"/d/0/app.yaml": "app.yaml", "/d/1/db.yaml": "db.yaml"},
        ),
        ("apply -k overlay", "apply -k /d/0/overlay", {"/d/0/overlay/kustomization.yaml": "overlay/kustomization.yaml"}),
        ("apply -f https://example.com/app.yaml -f -", "apply -f https://example.com/app.yaml -f -", {}),
        ("apply -f /kind/manifests/default-cni.yaml", "apply -f /kind/manifests/default-cni.yaml", {}),
        ("create configmap c --from-file=app.yaml", "create configmap c --from-file=/d/0/app.yaml", {"/d/0/app.yaml": "app.yaml"}),
        ("create configmap c --from-file=key=app.yaml", "create configmap c --from-file=key=/d/0/app.yaml", {"/d/0/app.yaml": "app.yaml"}),
        ("create configmap c --from-literal=file=app.yaml", "create configmap c --from-literal=file=app.yaml", {}),
        ("logs -f logs", "logs -f logs", {}),
        ("-n logs apply -f app.yaml", "-n logs apply -f /d/0/app.yaml", {"/d/0/app.yaml": "app.yaml"}),
        ("-n app.yaml logs web -f app.yaml", "-n app.yaml logs web -f app.yaml", {}),
        ("exec web -- cat -f app.yaml", "exec web -- cat -f app.yaml", {}),
        ("apply -f", "apply -f ", {}),
    ],
)
def test_files_that_are_here_are_put_there(arguments: str, expected: str, uploads: dict[str, str]) -> None:
    """Each in a directory of its own, since its name may say something; what is not here is the node's, or kubectl's to refuse."""
    call = arranged(arguments.split(), "/d")

    assert " ".join(call.argv) == expected
    assert {place: str(path) for place, path in call.uploads.items()} == uploads


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ("apply -f tree", {"a.yaml", "b.json"}),
        ("apply -R -f tree", {"a.yaml", "b.json", "below/c.yml"}),
        ("create configmap c --from-file=tree", {"a.yaml", "b.json", "image.bin"}),
        ("apply -k tree", {"a.yaml", "b.json", "image.bin", "below/c.yml", "below/image.bin"}),
    ],
)
def test_of_a_directory_what_kubectl_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, names: set[str]) -> None:
    """What else is in it may be large, or nobody's business."""
    for name in ("a.yaml", "b.json", "image.bin", "below/c.yml", "below/image.bin"):
        path = tmp_path / "tree" / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.touch()
    monkeypatch.chdir(tmp_path)

    call = arranged(arguments.split(), "/d")

    assert {place.removeprefix("/d/0/tree/") for place in call.uploads} == names


def test_what_a_pipe_gives(tmp_path: Path) -> None:
    """As a shell makes of <(…)."""
    os.mkfifo(tmp_path / "pipe")

    call = arranged(["apply", "-f", str(tmp_path / "pipe")], "/d")

    assert call.uploads == {"/d/0/pipe": tmp_path / "pipe"}


@pytest.mark.parametrize(
    ("arguments", "reads"),
    [
        ("get pods", False),
        ("apply -f -", True),
        ("apply -f-", True),
        ("apply --filename=-", True),
        ("exec -i web -- cat", True),
        ("exec -it web -- sh", True),
        ("exec web --stdin -- cat", True),
        ("exec web -- cat -", False),
        ("attach web", True),
        ("-n x attach web", True),
        ("get attach", False),
        ("delete -f app.yaml", False),
    ],
)
def test_stdin_is_read_when_it_is_asked_for(arguments: str, reads: bool) -> None:
    """Else it is left to whoever comes next, as the loop of a shell script."""
    assert arranged(arguments.split(), "/d").reads == reads


@pytest.mark.parametrize("verb", ["port-forward", "proxy", "cp", "edit"])
@pytest.mark.parametrize(
    "before", ["", "-n x", "-nx", "--namespace=x", "--context x --warnings-as-errors", "-v 6 --as x --insecure-skip-tls-verify"]
)
def test_what_is_of_no_use_in_a_node(before: str, verb: str) -> None:
    """Is refused, and said what to do instead; whichever of kubectl's global flags are before it."""
    with pytest.raises(click.UsageError, match=f"kubectl {verb} cannot run in a node: .*:"):
        arranged([*before.split(), verb, "x"], "/d")


@pytest.mark.parametrize("arguments", ["get edit", "-n edit get pods", "-s proxy get pods", "exec web -- cp a b", "--kubeconfig edit", ""])
def test_what_is_only_named_so(arguments: str) -> None:
    """Is nothing to refuse."""
    assert " ".join(arranged(arguments.split(), "/d").argv) == arguments


@pytest.mark.parametrize(
    ("line", "own"),
    [
        ("kubectl get pods -v 6 -q", ""),
        ("-q -v1 exec ls -v", "-q -v1"),
        ("-v 1 kubectl -n kube-system get pods", "-v 1"),
        ("delete cluster kubectl -q", "delete cluster kubectl -q"),
        ("get clusters -q", "get clusters -q"),
    ],
)
def test_global_options_stand_before_what_is_passed_on(line: str, own: str) -> None:
    """Those behind are the other program's."""
    ours, passed_on = split_passed_on(line.split())

    assert " ".join(ours) == own
    assert [*ours, *passed_on] == line.split()


def told(container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ProgramResult:
    """A program that says what it was told, and what is in the files of its arguments; its exit code is 7."""
    files = b"".join(container.files.get(argument, b"") for argument in argv)
    return ProgramResult(exit_code=7, stdout=f"{list(argv)}\n".encode() + files, stderr=stdin)


@pytest.fixture
def demo(fake: FakeEngine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> FakeEngine:
    """A cluster whose nodes have such a kubectl."""
    monkeypatch.setenv("DOCKER_HOST", fake.url)
    fake.node.programs |= {"kubectl": told, "rm": told}
    main(["create", "cluster", "--name", "demo"])
    capsys.readouterr()
    return fake


@pytest.mark.usefixtures("demo")
def test_exec_is_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    """Its arguments, its output, its exit code."""
    code = main(["exec", "-n", "demo", "kubectl", "-n", "x", "-q", "--help"])

    assert (code, capsys.readouterr().out) == (7, "['kubectl', '-n', 'x', '-q', '--help']\n")


@pytest.mark.usefixtures("demo")
@pytest.mark.parametrize("arguments", [["-n", "nope"], ["-n", "demo", "--node", "nope"], ["-n", "demo", "-t"]])
def test_exec_says_why_it_cannot(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """No such cluster, no such node, no terminal."""
    assert main(["exec", *arguments, "true"]) == 1
    assert capsys.readouterr().err.startswith("ERROR: ")


def test_kubectl_has_the_users_files(demo: FakeEngine, capsys: pytest.CaptureFixture[str]) -> None:
    """For as long as it runs; that they are left there is said."""
    Path("app.yaml").write_text("kind: Pod\n")

    code = main(["kubectl", "--name", "demo", "apply", "-f", "app.yaml"])

    out, err = capsys.readouterr()
    assert code == 7
    assert out.startswith("['kubectl', 'apply', '-f', '/kind/kubectl-")
    assert out.endswith("/0/app.yaml']\nkind: Pod\n")
    (removed,) = [request.json["Cmd"] for request in demo.requests_of("ContainerExec") if request.json["Cmd"][0] == "rm"]
    assert removed[:2] == ["rm", "-rf"]
    assert err == f"note: {removed[2]} is left in node demo-control-plane\n"
