"""The pages of the documentation, and what is in their blocks. `python -m tests.pages DIRECTORY` writes their Python there, as modules for mypy."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = (README, *sorted((ROOT / "docs").rglob("*.md")))
AROUND = """\
from kindasync import Cluster, ClusterConfig, Node


async def around(worker: Node) -> None:
"""


def blocks(page: Path, language: str) -> list[str]:
    """A page's fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def typed(block: str) -> list[str]:
    """What is typed in a block of a terminal, line by line."""
    return [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]


def sessions(page: Path) -> list[str]:
    """The commands of nox that a page names in its text, since they run for too long to be a snippet."""
    return re.findall(r"`(nox -s [^`]+)`", page.read_text())


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


def main(directory: Path) -> None:
    directory.mkdir()
    for page in PAGES:
        for number, block in enumerate(blocks(page, "python"), 1):
            (directory / f"{page.stem.replace('-', '_').lower()}_{number}.py").write_text(module(block))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
