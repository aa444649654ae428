"""The pages of the documentation, and what is in their blocks. `python -m tests.pages DIRECTORY` writes their Python there, as modules for mypy."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = (README, *sorted((ROOT / "docs").rglob("*.md")))
# What pytest gives to those who ask by name: tests on pages leave their types out.
FIXTURES = {
    "kind_cluster": "kindasync.Cluster",
    "kind_cluster_factory": "kindasync.pytest_plugin.ClusterFactory",
    "kind_namespace": "str",
    "monkeypatch": "pytest.MonkeyPatch",
}
TYPES = "import typing\n\nimport kindasync.pytest_plugin\nimport pytest\n\n"
AROUND = """\
from kindasync import Cluster, ClusterConfig, Node


async def around(worker: Node) -> None:
"""


def blocks(page: Path, language: str) -> list[str]:
    """A page's fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def scripts(document: object) -> Iterator[str]:
    """What a CI job runs, in GitHub's form or GitLab's."""
    if isinstance(document, dict):
        for key, value in document.items():
            if key in ("run", "script"):
                yield from [value] if isinstance(value, str) else value
            else:
                yield from scripts(value)
    elif isinstance(document, list):
        for each in document:
            yield from scripts(each)


def module(block: str) -> str:
    """A block as it would stand in a file; what awaits outside a function, as if it were in one. Raises: SyntaxError."""
    try:
        compile(block, "block", "exec")
    except SyntaxError:
        block = AROUND + indent(block, "    ")
        compile(block, "block", "exec")
    return block


class _Annotated(ast.NodeTransformer):
    """A module whose functions have types: of the fixtures, those that they have; of all else that has none, Any."""

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = node.annotation or ast.parse(FIXTURES.get(node.arg, "typing.Any"), mode="eval").body
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._function(node)

    def visit_Lambda(self, node: ast.Lambda) -> ast.Lambda:
        return node

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        node.returns = node.returns or ast.parse("typing.Any", mode="eval").body
        return self.generic_visit(node)


def annotated(text: str) -> str:
    """A module for mypy, strict."""
    return TYPES + ast.unparse(_Annotated().visit(ast.parse(text)))


def main(directory: Path) -> None:
    directory.mkdir()
    for page in PAGES:
        for number, block in enumerate(blocks(page, "python"), 1):
            (directory / f"{page.stem.replace('-', '_').lower()}_{number}.py").write_text(annotated(module(block)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
