"""In place of the kind program: all its commands and flags are ours, and a script that drives it by name runs unchanged."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from kindasync.cli._main import cli
from tests.cluster.kind_program import kind_program

_FLAG = re.compile(r" +(?:-(?P<short>\w), )?--(?P<long>[\w-]+) *(?P<type>int32|strings?|duration)?(?: {2,}|$)")
_COMMAND = re.compile(r" {2}(?P<name>[\w-]+) +\S")
# What is not kind's in ours: our own build, from Debian packages and Go modules, takes no Kubernetes source; and nobody asked for PowerShell.
NOT_OURS = {(("build", "node-image"), "--type"), (("completion", "powershell"), "")}


@dataclass(frozen=True)
class Flag:
    """A flag, as a page of help tells it."""

    names: frozenset[str]
    type: str


@dataclass(frozen=True)
class Page:
    """A page of kind's help. Shape: `path` are the arguments that lead to it."""

    path: tuple[str, ...]
    flags: tuple[Flag, ...]


def section(text: str, title: str) -> list[str]:
    """The lines of one section of a help page."""
    _, _, rest = text.partition(f"\n{title}:\n")
    return rest.partition("\n\n")[0].splitlines()


def pages(*path: str) -> Iterator[Page]:
    """kind's help of a command, and of all below it, as the program prints it."""
    text = subprocess.run([kind_program(), *path, "--help"], check=True, capture_output=True, text=True).stdout
    flags = [_FLAG.match(line) for line in section(text, "Flags") + section(text, "Global Flags")]
    assert all(flags), f"a flag of kind {' '.join(path)} is not understood:\n{text}"
    yield Page(
        path,
        tuple(
            Flag(frozenset({f"--{each['long']}", f"-{each['short'] or each['long']}"} - {f"-{each['long']}"}), each["type"] or "")
            for each in flags
            if each
        ),
    )
    for line in section(text, "Available Commands"):
        if (command := _COMMAND.match(line)) and command["name"] != "help":
            yield from pages(*path, command["name"])


def ours(path: tuple[str, ...]) -> tuple[click.Command, list[str]]:
    """Our command of that path, and what of the path are its arguments."""
    command: click.Command = cli
    rest = list(path)
    while rest and isinstance(command, click.Group):
        below = command.get_command(click.Context(command), rest.pop(0))
        assert below is not None, f"there is no command {' '.join(path)}"
        command = below
    return command, rest


def test_all_commands_and_flags_of_kind_are_ours() -> None:
    """By long and short name; switches are switches, what takes a value takes one, and what may be given several times may be."""
    seen = [*pages()]
    missing: set[tuple[tuple[str, ...], str]] = set()
    for page in seen:
        command, arguments = ours(page.path)
        if arguments and not any(set(arguments) <= set(getattr(each.type, "choices", ())) for each in command.params):
            missing.add((page.path, ""))
        options = [each for each in (*cli.params, *command.params) if isinstance(each, click.Option)]
        options.append(click.Option(["-h", "--help"], is_flag=True))
        for flag in page.flags:
            option = next((each for each in options if flag.names <= {*each.opts}), None)
            if option is None:
                missing.add((page.path, min(flag.names)))
                continue
            assert option.is_flag == (flag.type == ""), f"{page.path} {flag}"
            assert option.multiple == (flag.type == "strings"), f"{page.path} {flag}"

    assert ("load", "docker-image") in {page.path for page in seen}
    assert missing == NOT_OURS


@pytest.fixture
def named_kind(tmp_path: Path) -> dict[str, Path]:
    """For each program a directory in which it is called `kind`."""
    programs = {"kind": kind_program(), "kindasync": Path(sys.executable).with_name("kindasync")}
    for name, program in programs.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "kind").symlink_to(program)
    return {name: tmp_path / name for name in programs}
