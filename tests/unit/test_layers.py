"""The layers: transport, docker, node, cluster, cli and pytest plugin. A layer imports only from those before it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import kindasync

PACKAGE = Path(kindasync.__file__).parent
# What each part of the package may import beside itself and the leaves.
ALLOWED = {
    "transport": set(),
    "config": set(),
    "docker": {"transport"},
    "node": {"transport", "docker", "config"},
    "cluster": {"transport", "docker", "config", "node"},
    "build": {"transport", "docker"},
    "testing": set(),
    "cli": {"docker", "config", "node", "cluster", "build", "testing"},
    "sync": {"_facade", "node", "cluster"},
    "pytest_plugin": {"_facade", "cluster"},
    "pytest_kind": {"_facade", "cluster", "pytest_plugin"},
    "otel": set(),
    "errors": set(),
    "events": set(),
    "versions": set(),
    "kubeconfig": set(),
}
LEAVES = {"errors", "events", "versions", "kubeconfig", "proxy", "go_yaml", "_delivering", "_shielded", "_hosted"}


def imports() -> Iterator[tuple[str, str, str]]:
    """(file, part of the package that it belongs to, part that it imports) for every import inside the package."""
    for path in sorted(PACKAGE.rglob("*.py")):
        relative = path.relative_to(PACKAGE)
        part = relative.parts[0].removesuffix(".py")
        if part.startswith("_"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                if name.startswith("kindasync."):
                    yield str(relative), part, name.split(".")[1]


def test_arrows_go_one_way() -> None:
    """No module imports from a layer to its right."""
    backward = [f"{file} imports {imported}" for file, part, imported in imports() if imported not in {part, *LEAVES, *ALLOWED[part]}]

    assert backward == []


@pytest.mark.parametrize("layer", ["transport", "docker", "node", "cluster", "build"])
def test_modules_of_a_layer_are_private(layer: str) -> None:
    """Implementation modules begin with an underscore, but for those that the design names or that are a resource of the Engine."""
    public = {path.stem for path in (PACKAGE / layer).glob("*.py") if not path.stem.startswith("_")}
    named = {
        "docker": {"archives", "containers", "events", "execs", "images", "networks", "system", "volumes"},
        "cluster": {"plan"},
    }

    assert public == named.get(layer, set())
