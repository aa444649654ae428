"""In place of the kind program: all its commands and flags are ours, and a script that drives it by name runs unchanged."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import click
import pytest
import yaml

from kindasync import Engine
from kindasync.cli._main import cli
from kindasync.cluster._images import default_reference
from kindasync.docker.system import system_info
from tests.cluster.kind_program import kind_config, kind_program

pytestmark = pytest.mark.anyio

_FLAG = re.compile(r" +(?:-(?P<short>\w), )?--(?P<long>[\w-]+) *(?P<type>int32|strings?|duration)?(?: {2,}|$)")
_COMMAND = re.compile(r" {2}(?P<name>[\w-]+) +\S")


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
    assert missing == set()


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, str]:
    """For each program a PATH on which it is what `kind` means."""
    programs = {"kind": kind_program(), "kindasync": Path(sys.executable).with_name("kindasync")}
    for name, program in programs.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "kind").symlink_to(program)
    return {name: f"{tmp_path / name}:{os.environ['PATH']}" for name in programs}


@dataclass(frozen=True)
class Step:
    """What a step of a script left. `tells`: its exit code, and whether it printed to stdout, and to stderr."""

    code: int
    out: str
    err: str

    @property
    def tells(self) -> tuple[int, bool, bool]:
        return self.code, bool(self.out), bool(self.err)


WITHOUT_CLUSTER = [
    "kind",
    "kind --help",
    "kind help get nodes",
    "kind create",
    "kind nonsense",
    "kind get",
    "kind get nodes --name test-none",
    "kind get nodes --nonsense",
    "kind get clusters too-much",
    "kind get kubeconfig --name test-none",
    "kind export kubeconfig --name test-none",
    "kind export logs --name test-none",
    "kind load docker-image",
    "kind load docker-image nothing:1 --name test-none",
    "kind load image-archive /missing.tar --name test-none",
    "kind delete cluster --name test-none",
    "kind delete cluster --name test-none -q",
    "kind delete clusters test-none test-none-2",
    "kind delete clusters",
    "kind create cluster --name Upper -q",
    "kind create cluster --name test-none --config /missing.yaml",
    "kind create cluster --name test-none --wait long",
    "kind create cluster too-much",
    "kind build node-image --nonsense",
    "kind version",
    "kind version -q",
    "kind --version",
    "kind completion bash",
    "kind completion zsh",
]


@pytest.mark.parametrize("line", WITHOUT_CLUSTER)
def test_exit_codes_and_streams_without_a_cluster(line: str, paths: dict[str, str], own_home: Path) -> None:
    """The same exit code, and something on stdout where kind has something there. On stderr, too, but for what was silenced."""
    ran = {}
    for name, path in paths.items():
        process = subprocess.run(["sh", "-c", line], env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False)
        ran[name] = Step(process.returncode, process.stdout, process.stderr)

    assert ran["kindasync"].code == ran["kind"].code, ran
    assert bool(ran["kindasync"].out) == bool(ran["kind"].out), ran
    assert bool(ran["kindasync"].err) >= bool(ran["kind"].err), ran
    if line.endswith("version") or "version -q" in line:
        assert ran["kindasync"].out.split()[:2] == ran["kind"].out.split()[:2]


@pytest.mark.stress
@pytest.mark.timeout(900)
async def test_a_script_runs_unchanged(paths: dict[str, str], own_home: Path, name: str, app: str, archive: Path, tmp_path: Path) -> None:
    """Each step ends with the same exit code and speaks on the same streams; what is for programs to read is the same."""
    async with Engine.of(None).connect() as connection:
        node_image = await default_reference(connection, await system_info(connection))
    config = tmp_path / "cluster.yaml"
    config.write_text(await kind_config(workers=1))
    ran: dict[str, dict[str, Step]] = {}
    for program, path in paths.items():
        out = tmp_path / f"{program}-out"
        out.mkdir()
        command: list[str | Path] = [Path(__file__).with_name("drive-kind"), out, name, config, node_image, app, archive]
        await anyio.run_process(command, env={**os.environ, "PATH": path})
        ran[program] = {
            each.stem: Step(int(each.read_text()), each.with_suffix(".out").read_text(), each.with_suffix(".err").read_text())
            for each in out.glob("*.code")
        }

    kinds, ours = ran["kind"], ran["kindasync"]
    assert {step: each.tells for step, each in ours.items()} == {step: each.tells for step, each in kinds.items()}
    for step in ("version", "api", "load-again", "nodes-after"):
        assert ours[step].out == kinds[step].out, step
    assert name in set(ours["clusters"].out.split()) & set(kinds["clusters"].out.split())
    images = [{tuple(line.split()[:3]) for line in each["in-node"].out.splitlines()} for each in (ours, kinds)]
    assert images[0] == images[1]
    assert sorted(ours["nodes"].out.split()) == sorted(kinds["nodes"].out.split())
    for step in ("kubeconfig", "internal"):
        assert shape(yaml.safe_load(ours[step].out)) == shape(yaml.safe_load(kinds[step].out))
    exported = [yaml.safe_load((tmp_path / f"{program}-out/exported").read_text()) for program in ran]
    assert shape(exported[0]) == shape(exported[1])
    assert ours["logs"].out == f"{tmp_path}/kindasync-out/logs\n"
    assert ours["delete-several"].err.splitlines()[-1] == kinds["delete-several"].err.splitlines()[-1]


def shape(kubeconfig: Any) -> Any:
    """A kubeconfig without its certificates and keys, what is empty, and the port that the host picked."""
    if isinstance(kubeconfig, dict):
        return {key: "..." if key.endswith("-data") else shape(value) for key, value in kubeconfig.items() if value != {}}
    if isinstance(kubeconfig, list):
        return [shape(each) for each in kubeconfig]
    return re.sub(r"^https://127.0.0.1:\d+$", "https://127.0.0.1:PORT", kubeconfig) if isinstance(kubeconfig, str) else kubeconfig
