"""What people see: every command on a terminal of 80 and of 160 columns, from the first cluster to the last. Run by `nox -s screens`, which prints it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory

import pytest

from tests.cluster.conftest import run_cli
from tests.terminals import on_terminal

pytestmark = [pytest.mark.anyio, pytest.mark.screens]

FILES = {
    "two.yaml": """
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes: [{role: control-plane}, {role: worker}]
""",
    "mistakes.yaml": """
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes: [{role: boss, extraPortMappings: [{containerPort: 99999, protocol: ICMP}]}, {role: worker, label: {}}]
networking: {ipFamily: ipv5, podSubnet: nonsense, apiServerPort: 70000, kubeProxyMode: magic, disableDefaultCNI: maybe}
""",
}
# What is typed, and the exit code.
TYPED = [
    ("version", 0),
    ("doctor", 0),
    ("build node-image --dry-run", 0),
    ("create cluster --config mistakes.yaml", 1),
    ("create cluster --name {name} --image localhost:1/no/such:image", 1),
    ("create cluster --config two.yaml --name {name} --wait 60s", 0),
    ("create cluster --name {name}", 1),
    ("get clusters", 0),
    ("get clusters -o wide", 0),
    ("get nodes --name {name}", 0),
    ("get nodes --name {name} -o wide", 0),
    ("export kubeconfig --name {name}", 0),
    ("export logs logs --name {name}", 0),
    ("load image {image} --name {name}", 0),
    ("load image {image} --name {name}", 0),
    ("load image there-is-none:1 --name {name}", 1),
    ("load archive there-is-none.tar --name {name}", 1),
    ("snapshot one --name {name}", 0),
    ("get snapshots --name {name}", 0),
    ("restore one --name {name}", 0),
    ("restore two --name {name}", 1),
    ("delete snapshot one --name {name}", 0),
    ("reset --name {name}", 0),
    ("reset --name there-is-none", 1),
    ("add node --name {name}", 0),
    ("reset --name {name}", 1),
    ("stop --name {name}", 0),
    ("start --name {name}", 0),
    ("kubectl --name {name} get nodes", 0),
    ("exec --name {name} -- uname -m", 0),
    ("remove node {name}-worker2 --name {name}", 0),
    ("pool fill {name} --size 1", 0),
    ("pool get", 0),
    ("pool get -o wide", 0),
    ("pool delete {name}", 0),
    ("gc --dry-run", 0),
    ("delete cluster --name {name} --timings", 0),
    ("delete cluster --name {name}", 0),
    ("get nodes --name {name}", 0),
]
LONG = (
    "doctor",
    "build node-image --dry-run",
    "get nodes --name {name} -o wide",
)  # what is there to be copied is never broken, nor are errors


def wrapped(lines: Sequence[str], columns: int) -> list[str]:
    """How a terminal shows lines that may be longer than it is wide."""
    return [line[start : start + columns].rstrip() for line in lines for start in range(0, max(len(line), 1), columns)]


@pytest.fixture
def short_home(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home whose paths have room on a line, as users' have."""
    with TemporaryDirectory() as directory:
        monkeypatch.setenv("HOME", directory)
        yield Path(directory)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("columns", [80, 160])
def test_every_screen(short_home: Path, app: str, columns: int) -> None:
    """What is there at the end is what was written, each thing once, and the terminal is as it was."""
    name = f"screens-{token_hex(2)}"
    for file, content in FILES.items():
        (short_home / file).write_text(content)
    try:
        for typed, code in TYPED:
            arguments = typed.format(name=name, image=app).split()
            shown = on_terminal(sys.executable, "-m", "kindasync", *arguments, columns=columns, environment=os.environ, cwd=short_home)
            print("", "─" * columns, f"$ kindasync {' '.join(arguments)}", *shown.lines, sep="\n", end="")
            assert (typed, shown.code, shown.has_cursor, shown.as_before) == (typed, code, True, True)
            assert shown.lines == wrapped(shown.unwrapped, columns)
            assert code or typed in LONG or shown.lines == shown.unwrapped
    finally:
        run_cli("delete", "clusters", name)
        run_cli("pool", "delete", name)
