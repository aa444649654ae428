"""Everything that is checked, by name. `nox` alone: lint, types and tests; no Docker, about a minute.

Sessions that need an Engine use the one that the environment names; `scripts/test` makes sure that there is one.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

import nox

PROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)
TEST = nox.project.dependency_groups(PROJECT, "test")
EXAMPLES = nox.project.dependency_groups(PROJECT, "examples")
DOCS = nox.project.dependency_groups(PROJECT, "docs")
CHECK = nox.project.dependency_groups(PROJECT, "check")
WITHOUT_ENGINE = ("-m", "not engine and not cluster")
WITHOUT_THE_APART = "not stress and not podman and not ssh and not screens"  # which have sessions of their own
AT_ONCE = ("-n", "auto", "--dist", "worksteal")  # as many processes as there are cores

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # tests start hundreds of programs, each of which would compile all it imports

nox.options.sessions = ["lint", "types", "tests"]
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = False


@nox.session
def lint(session: nox.Session) -> None:
    """Formatting and lint, the shell scripts' syntax and Go's formatting included."""
    session.install(*CHECK)
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".", *session.posargs)
    for path in (
        path for root in ("scripts", ".ci", "node-image", "tests/conformance") for path in Path(root).rglob("*") if path.is_file()
    ):
        shell = re.match(rb"#(?:!/bin/| shellcheck shell=)(sh|bash)\b", path.read_bytes())
        if shell:
            session.run(shell[1].decode(), "-n", str(path), external=True, silent=True)
    if shutil.which("gofmt"):
        unformatted = session.run("gofmt", "-l", "node-image/kube", external=True, silent=True)
        if unformatted:
            session.error(f"gofmt would change: {unformatted}")


@nox.session
def go(session: nox.Session) -> None:
    """What the node image's programs of ours decide. Within seconds where `kindasync build` has compiled Kubernetes before; else 20 minutes."""
    told = session.run("go", "version", silent=True, external=True) if shutil.which("go") else None
    version = re.search(r"go(\d+)\.(\d+)", str(told))
    if not version or (int(version[1]), int(version[2])) < (1, 21):
        session.skip("there is no Go here that fetches the one which go.mod asks for: 1.21 or newer")
    directory = Path("node-image/kube").resolve()
    # As for build-program, whose results are kept.
    environment = {"CGO_ENABLED": "0", "GOFLAGS": "-trimpath -buildvcs=false", "GOTOOLCHAIN": "auto"}
    session.chdir(directory)
    session.run(
        "go",
        "test",
        f"-modfile={directory}/go.mod",
        *(f"./{each}" for each in ("await", "crictl", "podnetwork", "roles", "snapshot", "untranslated")),
        *session.posargs,
        env=environment,
        external=True,
    )


@nox.session
def types(session: nox.Session) -> None:
    """mypy, strict, over everything."""
    session.install("-e", ".", "nox", *CHECK, *TEST)
    session.run("mypy", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Everything that needs no Engine: decisions, and the Engine layer against FakeEngine. Within a minute on two cores."""
    session.install("-e", ".", *TEST)
    processes = str(2 * (os.cpu_count() or 1))  # each waits for half of its time
    session.run("pytest", *AT_ONCE, "-n", processes, "-m", "not engine and not cluster and not plugin", *session.posargs)


@nox.session
def plugin(session: nox.Session) -> None:
    """The pytest plugin in whole runs of pytest, against FakeEngine."""
    session.install("-e", ".", *TEST)
    session.run("pytest", *AT_ONCE, "-m", "plugin", *session.posargs)


@nox.session
def engine(session: nox.Session) -> None:
    """The contract of the Engine layer, and what can go wrong, on a real Engine."""
    session.install("-e", ".", *TEST)
    session.run("pytest", "-m", "engine and not stress", *session.posargs)


@nox.session
def cluster(session: nox.Session) -> None:
    """Real clusters, as users have them."""
    session.install("-e", ".", *TEST, *EXAMPLES)
    session.run("pytest", "-m", f"cluster and not remote and {WITHOUT_THE_APART}", "--durations=30", *session.posargs)


@nox.session
def stress(session: nox.Session) -> None:
    """The long ones: 200 boots, interrupted creates, the kind program beside us."""
    session.install("-e", ".", *TEST)
    session.run("pytest", "-m", "stress", *session.posargs)


@nox.session
def versions(session: nox.Session) -> None:
    """Every Kubernetes minor that is pinned: its image built (a quarter of an hour each, then cached), and tried on a cluster of 1+1 nodes."""
    session.install("-e", ".", *TEST)
    session.run("python", "-m", "tests.cluster.versions", *session.posargs)


@nox.session
def containers(session: nox.Session) -> None:
    """A node image built in containers, of images from a registry, and tried as those of `versions`; a quarter of an hour. Needs mmdebstrap."""
    session.install("-e", ".", *TEST)
    session.run("python", "-m", "tests.cluster.containers", *session.posargs)


@nox.session
def conformance(session: nox.Session) -> None:
    """Kubernetes' own conformance tests; an hour on two cores. `-- --focus` for a few minutes of them."""
    session.install("-e", ".")
    session.run("python", "-m", "tests.conformance", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Beside the kind program, on the same image, in one run: creates, deletes and loads; `-- report FILE` for what is kept of them. Alone: one node."""
    session.install("-e", ".")
    session.run("python", "-m", "benchmarks", *(session.posargs or ["create", "--dns"]))


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation as a site; a warning is an error. And the Python of its pages, as mypy reads it."""
    session.install("-e", ".[otel]", *DOCS, *CHECK, *EXAMPLES)
    snippets = Path(session.create_tmp()) / "snippets"
    shutil.rmtree(snippets, ignore_errors=True)
    session.run("python", "-m", "tests.pages", str(snippets))
    session.run("mypy", str(snippets))
    session.run("mkdocs", "build", "--strict", "--site-dir", str(Path(session.create_tmp()) / "site"), *session.posargs)


@nox.session
def remote(session: nox.Session) -> None:
    """The tests with a real Engine and with real clusters, on a second Engine over tcp and TLS that shares nothing with this machine. Needs root."""
    session.install("-e", ".", *TEST, *EXAMPLES)
    pytest = (
        "pytest",
        "-m",
        f"(engine or cluster) and {WITHOUT_THE_APART}",
        "--ignore=tests/engine/test_images.py",
    )  # of a registry here
    session.run("python", "-m", "tests.cluster.remote", *pytest, *session.posargs)


@nox.session
def podman(session: nox.Session) -> None:
    """A cluster on Podman's compatible socket, with a storage of its own. Needs root, and Podman on PATH."""
    session.install("-e", ".", *TEST)
    session.run("pytest", "-m", "podman", *session.posargs)


@nox.session
def ssh(session: nox.Session) -> None:
    """Clusters by OpenSSH to this machine, with a server of its own on the loopback. Needs root, and sshd on PATH."""
    session.install("-e", ".", *TEST)
    session.run("pytest", "-m", "ssh", *session.posargs)


@nox.session
def screens(session: nox.Session) -> None:
    """What every command shows on terminals of 80 and 160 columns, printed to be looked at; two minutes."""
    session.install("-e", ".", *TEST)
    session.run("pytest", "-m", "screens", "-s", *session.posargs)


@nox.session
def build(session: nox.Session) -> None:
    """sdist and wheel; the wheel, alone in an empty environment, has to run."""
    session.install("build")
    dist = Path(session.create_tmp()) / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(dist), silent=True)
    (wheel,) = dist.glob("*.whl")
    with tempfile.TemporaryDirectory() as empty:
        session.run("python", "-m", "venv", f"{empty}/venv", silent=True)
        python, command = f"{empty}/venv/bin/python", f"{empty}/venv/bin/kindasync"
        session.run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(wheel), external=True)
        with session.chdir(empty):
            session.run(command, "--version", external=True)
            session.run(command, "create", "cluster", "--help", external=True, silent=True)
            session.run(command, "build", "node-image", "--dry-run", external=True)
            fake = "from kindasync.testing import FakeEngine\nwith FakeEngine() as fake: print(fake.url)"
            session.run(python, "-c", fake, external=True)


@nox.session
def arm64(session: nox.Session) -> None:
    """The Go parts of the node image for another architecture."""
    out = Path(session.create_tmp()) / "arm64"
    session.install("-e", ".")
    session.run("python", "benchmarks/cross_compile.py", "arm64", str(out))


@nox.session
def lowest(session: nox.Session) -> None:
    """The tests with the oldest versions of everything that pyproject allows."""
    requirements = [*PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"]["otel"]]
    floors = [requirement.split(";")[0].split(",")[0].replace(">=", "==") for requirement in requirements]
    session.install(*floors, *TEST)
    session.install("-e", ".", "--no-deps")
    session.run("pytest", *AT_ONCE, *WITHOUT_ENGINE, *session.posargs)


@nox.session(python=PYTHONS)
def pythons(session: nox.Session) -> None:
    """The tests on every Python that is there."""
    session.install("-e", ".", *TEST)
    session.run("pytest", *AT_ONCE, *WITHOUT_ENGINE, *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Which lines the tests without Engine reach."""
    session.install("-e", ".", *TEST, "coverage")
    session.run("coverage", "run", "--source=kindasync", "-m", "pytest", *WITHOUT_ENGINE, *session.posargs)
    session.run("coverage", "report", "--skip-covered", "--show-missing")
