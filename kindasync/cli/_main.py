"""The command: its groups, its global options, and how errors leave it."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Sequence
from contextlib import ExitStack, redirect_stderr
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from kindasync.cli._running import signals_kept
from kindasync.errors import KindasyncError

KIND = "kind"  # called by that name, the command stands in for the kind program
_SWITCHES = ("--all", "--all-clusters", "--help", "--internal", "--quiet", "--retain", "--version")
_PASS_ON = ("exec", "kubectl")  # commands whose arguments are another program's
_SWITCHED = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}


class LazyGroup(click.Group):
    """A group whose commands are imported only when they are used: "name" -> "module:attribute" below kindasync.cli."""

    def __init__(self, *args: Any, lazy: dict[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._lazy:
            return None
        module, _, attribute = self._lazy[cmd_name].partition(":")
        command: click.Command = getattr(import_module(f"kindasync.cli.{module}"), attribute)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self._lazy and not ctx.resilient_parsing:
            near = " or ".join(get_close_matches(args[0], self._lazy, cutoff=0.7))
            ctx.fail(f'there is no command "{ctx.command_path} {args[0]}"' + (f"; did you mean {near}?" if near else ""))
        return super().resolve_command(ctx, args)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The global options. `quiet`: nothing on stderr; `verbosity` above 0: errors with their stack traces."""

    verbosity: int = 0
    quiet: bool = False


def respelled(arguments: Sequence[str]) -> list[str]:
    """What click would not take of the spellings that kind, a Go program, takes: --retain=true, --all=false, -n=name."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    plain: list[str] = []
    for argument in arguments[:end]:
        flag, equals, value = argument.partition("=")
        if equals and flag == "-n":
            plain += [flag, value]
        elif equals and flag in _SWITCHES and value.lower() in _SWITCHED:
            plain += [flag] if _SWITCHED[value.lower()] else []
        else:
            plain.append(argument)
    return [*plain, *arguments[end:]]


def split_passed_on(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments before, and from, a command that passes on what follows it: nothing of that is ours to read."""
    at = next((index for index, argument in enumerate(arguments) if argument in _PASS_ON), len(arguments))
    if any(argument[:1].isalpha() for argument in arguments[:at]):  # it is an argument of another command
        at = len(arguments)
    return list(arguments[:at]), list(arguments[at:])


def split_settings(arguments: Sequence[str]) -> tuple[Settings, list[str]]:
    """The global options, wherever they stand: kind takes them after its commands, too. And the other arguments."""
    verbosity, quiet = 0, False
    others: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        flag, equals, value = argument.partition("=")
        if argument == "--":
            others += [argument, *rest]
        elif argument in ("-q", "--quiet"):
            quiet = True
        elif flag in ("-v", "--verbosity"):
            number = value if equals else next(rest, "")
            try:
                verbosity = int(number)
            except ValueError as error:
                raise click.UsageError(f'{flag} needs a number, not "{number}"') from error
        elif re.fullmatch(r"-v\d+", argument):
            verbosity = int(argument[2:])
        else:
            others.append(argument)
    return Settings(verbosity=verbosity, quiet=quiet), others


def _print_version(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        from kindasync.cli._version import version_line

        click.echo(version_line(as_kind=context.find_root().info_name == KIND))
        context.exit()


@click.group(
    cls=LazyGroup,
    lazy={
        "create": "_main:create",
        "delete": "_main:delete",
        "get": "_main:get",
        "export": "_main:export",
        "stop": "_stop:stop_cluster",
        "start": "_stop:start_cluster",
        "snapshot": "_snapshots:snapshot",
        "restore": "_snapshots:restore",
        "reset": "_snapshots:reset",
        "add": "_main:add",
        "remove": "_main:remove",
        "load": "_main:load",
        "exec": "_exec:exec_program",
        "kubectl": "_exec:kubectl",
        "build": "_main:build",
        "config": "_main:config",
        "pool": "_main:pool",
        "doctor": "_doctor:doctor",
        "gc": "_gc:gc",
        "version": "_version:version",
        "completion": "_completion:completion",
        "help": "_main:show_help",
    },
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100, "auto_envvar_prefix": None},
)
@click.option("-v", "--verbosity", type=int, default=0, help="Above 0, errors come with their stack traces. May stand anywhere.")
@click.option("-q", "--quiet", is_flag=True, help="Silence all stderr output. May stand anywhere.")
@click.option(
    "--version",
    "show_version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version and exit.",
)
def cli(verbosity: int, quiet: bool) -> None:
    """Create and manage local Kubernetes clusters whose nodes are containers.

    \b
    kindasync create cluster            a cluster, and kubectl's context set to it
    kindasync get clusters              what there is
    kindasync delete cluster            gone again
    """


@click.group(cls=LazyGroup, lazy={"cluster": "_create:create_cluster"})
def create() -> None:
    """Create a cluster.

    \b
    kindasync create cluster --config cluster.yaml
    """


@click.group(
    cls=LazyGroup,
    lazy={
        "cluster": "_delete:delete_cluster",
        "clusters": "_delete:delete_clusters",
        "snapshot": "_snapshots:delete_snapshot",
    },
)
def delete() -> None:
    """Delete one cluster, several, or all; or a snapshot.

    \b
    kindasync delete clusters --all
    """


@click.group(
    cls=LazyGroup,
    lazy={
        "clusters": "_get:get_clusters",
        "nodes": "_get:get_nodes",
        "kubeconfig": "_get:get_kubeconfig",
        "snapshots": "_snapshots:get_snapshots",
    },
)
def get() -> None:
    """Print clusters, nodes, snapshots or a kubeconfig.

    \b
    kindasync get nodes -A -o wide
    """


@click.group(cls=LazyGroup, lazy={"kubeconfig": "_get:export_kubeconfig", "logs": "_logs:export_logs"})
def export() -> None:
    """Export a cluster's kubeconfig, or its logs.

    \b
    kindasync export logs ./logs
    """


@click.group(
    cls=LazyGroup,
    lazy={
        "image": "_load:load_image",
        "archive": "_load:load_archive",
        "docker-image": "_load:load_docker_image",
        "image-archive": "_load:load_image_archive",
    },
)
def load() -> None:
    """Load images into the nodes of a cluster.

    \b
    kindasync load image app:1
    """


@click.group(cls=LazyGroup, lazy={"node": "_nodes:add_node"})
def add() -> None:
    """Add a node to a cluster.

    \b
    kindasync add node --role worker
    """


@click.group(cls=LazyGroup, lazy={"node": "_nodes:remove_node"})
def remove() -> None:
    """Remove a node from a cluster.

    \b
    kindasync remove node kind-worker2
    """


@click.group(cls=LazyGroup, lazy={"fill": "_pool:fill", "claim": "_pool:claim", "get": "_pool:get", "delete": "_pool:delete"})
def pool() -> None:
    """Clusters that are made in advance, and frozen until they are claimed.

    \b
    kindasync pool fill --size 2
    """


@click.group(cls=LazyGroup, lazy={"node-image": "_build:build_node_image"})
def build() -> None:
    """Build the node image.

    \b
    kindasync build node-image --kubernetes 1.36
    """


@click.command("help")
@click.argument("names", metavar="[COMMAND]...", nargs=-1)
@click.option("--man", is_flag=True, help="Print the manual page of all commands instead, for man.")
@click.pass_context
def show_help(context: click.Context, names: tuple[str, ...], man: bool) -> None:
    """Print the help of a command.

    \b
    kindasync help create cluster
    kindasync help --man > ~/.local/share/man/man1/kindasync.1
    """
    root = context.find_root()
    if man:
        from kindasync import __version__
        from kindasync.cli._man import man_page

        click.echo(man_page(root.command, root.info_name or "kindasync", __version__), nl=False)
        return
    root.command.main([*names, "--help"], prog_name=root.info_name, standalone_mode=False, obj=root.obj)


def program_name(path: str) -> str:
    """What the command calls itself, by what it was called: by its own name, or as the kind program."""
    return KIND if Path(path).name == KIND else "kindasync"


@click.group(cls=LazyGroup, lazy={"schema": "_config:schema"})
def config() -> None:
    """About configurations.

    \b
    kindasync config schema > kindasync.schema.json
    """


def main(argv: Sequence[str] | None = None, *, program: str = "kindasync") -> int:
    """Run the command; its exit code: 0, or 1 for any error, as kind has it; 128 and its number after a signal."""
    settings = Settings()
    with ExitStack() as stack:
        if argv is not None:  # of a process that goes on
            stack.enter_context(signals_kept())
        try:
            own, passed_on = split_passed_on(sys.argv[1:] if argv is None else argv)
            settings, arguments = split_settings(respelled(own))
            if settings.quiet:
                stack.enter_context(redirect_stderr(stack.enter_context(open(os.devnull, "w"))))  # noqa: PTH123 (not a path of ours)
            if f"_{program.upper()}_COMPLETE" in os.environ:
                import_module("kindasync.cli._completion")  # our own ways of it
            color = False if "NO_COLOR" in os.environ else None  # as for kind, even if it is empty; click does not know it
            code = cli.main([*arguments, *passed_on], prog_name=program, standalone_mode=False, obj=settings, color=color)
            return code if isinstance(code, int) else 0
        except click.exceptions.Exit as error:
            return error.exit_code
        except click.exceptions.NoArgsIsHelpError as error:
            try:
                click.echo(error.ctx.get_help())  # as kind does: an error for all groups but the outermost
            except OSError:  # nobody reads it
                sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 (for as long as the process lives)
                return 1
            if error.ctx.parent is None:
                return 0
            click.echo("ERROR: a subcommand is required", err=True)
            return 1
        except click.ClickException as error:
            click.echo(f"ERROR: {error.format_message()}", err=True)
            if isinstance(error, click.UsageError) and error.ctx:
                click.echo(f"  try: {error.ctx.command_path} --help", err=True)
            return 1
        except click.Abort:
            return 130
        except (KindasyncError, OSError) as error:
            show(error, settings)
            return 1


def show(error: Exception, settings: Settings) -> None:
    """Print an error, with its notes, or its stack trace if that was asked for."""
    if settings.verbosity > 0:
        import traceback

        traceback.print_exception(error)
        return
    click.echo(f"ERROR: {error}", err=True)
    for note in getattr(error, "__notes__", ()):
        click.echo(f"  note: {note}", err=True)


def run() -> None:
    """The entry point of the installed program."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):  # in this order, so that each gets its own descriptor
        if getattr(sys, name) is None:  # closed by whoever has started us
            setattr(sys, name, open(os.devnull, mode))  # noqa: PTH123, SIM115 (for as long as the process lives)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")  # of letters that the terminal cannot show
    sys.exit(main(program=program_name(sys.argv[0])))
