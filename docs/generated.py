"""What pages have from the code: errors, commands, options. `<!-- generated: NAME -->` in a page is where it stands."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

from kindasync import errors
from kindasync.cli._main import cli
from kindasync.cli._man import contexts
from kindasync.docker._hints import _TABLE as REFUSALS
from kindasync.errors import KindasyncError


def on_page_markdown(markdown: str, **_: Any) -> str:
    """mkdocs' hook."""
    return re.sub(r"<!-- generated: ([\w ]+) -->", lambda found: "\n".join(GENERATED[found[1]]()), markdown)


def error_tree(kind: type[BaseException] = KindasyncError, level: int = 0) -> Iterator[str]:
    """The names, each below its base."""
    if level == 0:
        yield "```text"
    yield "    " * level + kind.__name__
    for each in below(kind):
        yield from error_tree(each, level + 1)
    if level == 0:
        yield "```"


def error_list(kind: type[BaseException] = KindasyncError) -> Iterator[str]:
    """When each is raised, and what to do."""
    text = re.sub(r"(?m)^(Shape|Try): ", r"\n**\1:** ", inspect.getdoc(kind) or "")
    yield f"\n### {kind.__name__}\n\n{text}\n"
    if "__init__" in vars(kind):
        yield f"[Its fields](reference/errors.md#{kind.__module__}.{kind.__name__})\n"
    for each in below(kind):
        yield from error_list(each)


def below(kind: type[BaseException]) -> list[type[BaseException]]:
    return [each for each in kind.__subclasses__() if each.__module__ == errors.__name__]


def refusals() -> Iterator[str]:
    """What to do about an Engine's refusal, by its words."""
    yield "| the Engine says something like | try |\n|---|---|"
    for row in REFUSALS:
        if row.hint:
            yield f"| {'; '.join(row.fragments)} | {row.hint} |".replace("`", r"\`")


def commands() -> Iterator[str]:
    """The help of every command, as `--help` prints it."""
    for context in contexts(cli, "kindasync"):
        yield f"\n## {context.command_path}\n\n```text\n{context.get_help()}\n```\n"


def pytest_options() -> Iterator[str]:
    """Ours, as `pytest --help` has them."""
    usage = subprocess.run(
        [sys.executable, "-m", "pytest", "--help"], capture_output=True, text=True, check=True, env={"COLUMNS": "100"}
    ).stdout
    yield f"```text\n{usage.partition('Kubernetes clusters:')[2].partition(chr(10) * 2)[0].strip(chr(10))}\n```"


GENERATED: dict[str, Callable[[], Iterator[str]]] = {
    "error tree": error_tree,
    "errors": error_list,
    "refusals": refusals,
    "commands": commands,
    "pytest options": pytest_options,
}
