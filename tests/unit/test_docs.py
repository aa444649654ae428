"""What the pages say, as far as it can be told without running it: Python that compiles, configurations that can be read, commands and options that exist, links that lead somewhere."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import click
import pytest
import yaml

import benchmarks.__main__
import tests.conformance.__main__
from kindasync.cli._main import cli, main, respelled, split_passed_on, split_settings
from kindasync.config._decode import load, load_node
from kindasync.config._extras_models import ClusterExtras
from kindasync.config._models import Cluster
from kindasync.testing import FakeContainer, FakeEngine, ProgramResult
from tests.pages import PAGES, README, ROOT, blocks, module, scripts, sessions, typed
from tests.unit.test_create import NODE_IMAGE
from tests.unit.test_exports import REFERENCE
from tests.unit.test_snapshots import KEPT, NOTHING

OPERATORS = {"&&", "||", ";", "|", ">", ">>", "<"}


def lines(page: Path) -> Iterator[str]:
    for block in blocks(page, "console"):
        yield from typed(block)
    for block in blocks(page, "yaml"):
        for document in yaml.safe_load_all(block):
            yield from scripts(document)


def commands(line: str) -> Iterator[list[str]]:
    """The commands of a line, without variables set for them, and without what is redirected."""
    words: list[str] = []
    split = shlex.shlex(line, posix=True, punctuation_chars=True)
    split.whitespace_split = True
    for word in [*split, ";"]:
        if word in OPERATORS:
            if words and words[0] != "export":
                yield words
            words = []
        elif words or not re.match(r"\w+=", word):
            words.append(word)


COMMANDS = [(page, words) for page in PAGES for line in lines(page) for words in commands(line)]
OURS = [(page, words[1:]) for page, words in COMMANDS if words[0] == "kindasync"]


def ids(cases: list[tuple[Path, list[str]]]) -> list[str]:
    return [f"{page.stem}: {' '.join(words)}" for page, words in cases]


@pytest.mark.parametrize(("page", "arguments"), OURS, ids=ids(OURS))
def test_commands_and_their_options_are_there(page: Path, arguments: list[str]) -> None:
    """As click takes them apart; what they name is another matter."""
    own, passed_on = split_passed_on(arguments)
    _, own = split_settings(respelled(own))
    command: click.Command = cli
    rest = [*own, *passed_on]
    context = click.Context(cli, info_name="kindasync", **cli.context_settings)
    while isinstance(command, click.Group) and rest:
        found = command.get_command(context, rest[0])
        assert found, f"there is no {context.command_path} {rest[0]}"
        command, rest = found, rest[1:]
        context = click.Context(command, info_name=command.name, parent=context, **command.context_settings)
    command.make_parser(context).parse_args(list(rest))


NOX = [(page, shlex.split(line)[1:]) for page in PAGES for line in sessions(page)]
SESSIONS = {each.name for each in ast.parse((ROOT / "noxfile.py").read_text()).body if isinstance(each, ast.FunctionDef)}


@pytest.mark.parametrize(("page", "arguments"), NOX, ids=ids(NOX))
def test_sessions_and_what_they_are_asked_are_there(page: Path, arguments: list[str]) -> None:
    """Those of the checkout, most of which CI does not run."""
    _, session, *asked = arguments

    assert session in SESSIONS
    if asked:
        parsers = {"bench": benchmarks.__main__.parser, "conformance": tests.conformance.__main__.parser}
        parsers[session]().parse_args(asked[1:])


def test_options_of_pytest_are_there() -> None:
    """All of the plugin's, and no others, are said somewhere."""
    usage = subprocess.run([sys.executable, "-m", "pytest", "--help"], capture_output=True, text=True, check=True).stdout
    flags = re.compile(r"(?<![\w-])--kind-[a-z-]+")

    assert {flag for page in PAGES for flag in flags.findall(page.read_text())} == {*flags.findall(usage)}


PYTHON = [(page, block) for page in PAGES for block in blocks(page, "python")]


@pytest.mark.parametrize(("page", "block"), PYTHON, ids=[f"{page.stem}-{number}" for number, (page, _) in enumerate(PYTHON)])
def test_python_compiles(page: Path, block: str) -> None:
    """Also what awaits outside a function; `nox -s docs` has mypy read them all, strictly."""
    module(block)


CONFIGURATIONS = [(page, block) for page in PAGES for block in blocks(page, "yaml") if page.stem != "ci"]


@pytest.mark.parametrize(
    ("page", "block"), CONFIGURATIONS, ids=[f"{page.stem}-{number}" for number, (page, _) in enumerate(CONFIGURATIONS)]
)
def test_configurations_can_be_read(page: Path, block: str) -> None:
    """Those of clusters, of one more node, or of a part: more mirrors."""
    match next(yaml.safe_load_all(block)):
        case {"kind": _}:
            load(block)
        case [*mirrors]:
            load([Cluster.HEAD, {**ClusterExtras.HEAD, "registries": {"mirrors": mirrors}}])
        case _:
            load_node(block)


@pytest.mark.parametrize(
    ("page", "number", "left"),
    [
        ("index", 0, ["demo-control-plane"]),
        ("index", 2, ["a-control-plane", "b-control-plane"]),
        ("many", 0, []),
        ("many", 2, []),
        ("reference/events", 0, []),
    ],
)
def test_examples_make_clusters(
    fake: FakeEngine, home: Path, monkeypatch: pytest.MonkeyPatch, page: str, number: int, left: list[str]
) -> None:
    """To their end: nothing fails, and what they delete is gone."""
    monkeypatch.setenv("DOCKER_HOST", fake.url)
    names: dict[str, Any] = {}
    exec(module(blocks(ROOT / f"docs/{page}.md", "python")[number]), names)

    anyio.run(names["work"] if "work" in names else partial(names["around"], None))

    assert fake.requests_of("ContainerStart")
    assert sorted(fake.containers) == left


def snapshot(container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ProgramResult:
    """A node's program, which has a snapshot, and finds nothing changed since."""
    answers = {"take": KEPT, "drop": KEPT, "list": [KEPT]}
    return ProgramResult(stdout=json.dumps(answers.get(argv[1], NOTHING)).encode())


@pytest.mark.parametrize(
    ("page", "number", "before"),
    [
        ("restarts", 0, ""),
        ("many", 0, ""),
        ("reset", 0, "create cluster --name ci"),
        ("reset", 1, "create cluster --name ci"),
        ("custom-image", 0, ""),
    ],
)
def test_what_is_typed(
    fake: FakeEngine,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    page: str,
    number: int,
    before: str,
) -> None:
    """Each command of ours, one after the other, with the files that the page shows: all succeed."""
    monkeypatch.setenv("DOCKER_HOST", fake.url)
    monkeypatch.chdir(tmp_path)
    path = ROOT / f"docs/{page}.md"
    fake.node.programs["snapshot"] = snapshot
    fake.registry["registry.example/node:v1.37.2"] = replace(fake.images[NODE_IMAGE], reference="registry.example/node:v1.37.2")
    names: dict[str, str] = {}

    for line in [f"kindasync {before}"] * bool(before) + typed(blocks(path, "console")[number]):
        for words in commands(line.replace("NAME=$(", "").replace(")", "")):
            if words[0] == "kindasync":
                arguments = [names.get(word, word) for word in words[1:]]
                if "--config" in arguments:
                    Path(arguments[arguments.index("--config") + 1]).write_text(blocks(path, "yaml")[0])
                code, said = main(arguments), capsys.readouterr()
                assert code == 0, (line, said.err)
                if line.startswith("NAME="):
                    names["$NAME"] = said.out.strip()


def test_the_example_without_asyncio(
    fake: FakeEngine, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The kernel's version, printed."""
    monkeypatch.setenv("DOCKER_HOST", fake.url)
    fake.node.programs["uname"] = lambda *_: ProgramResult(stdout=b"6.18.44\n")

    exec(module(blocks(ROOT / "docs/index.md", "python")[1]), {})

    assert capsys.readouterr().out == "6.18.44\n\n"
    assert fake.containers == {}


def test_the_readme_is_short_and_its_links_lead_to_pages() -> None:
    """150 lines at most."""
    text = README.read_text()

    assert len(text.splitlines()) <= 150
    assert [link for link in re.findall(r"\]\(((?!https?:)[^)#]+)", text) if not (ROOT / link).exists()] == []


def test_what_is_public_has_its_place_in_the_reference() -> None:
    """The modules, and what `kindasync` itself offers, from where it comes."""
    placed = {name for page in (ROOT / "docs/reference").glob("*.md") for name in re.findall(r"(?m)^::: (\S+)$", page.read_text())}
    homes = {
        f"kindasync.{name}" for name in ("Cluster", "Engine", "Node", "docker.networks.ula_subnet")
    }  # the others are in modules of their own

    assert placed >= {*REFERENCE, *homes} - {"kindasync"}
