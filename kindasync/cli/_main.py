"""The command: its groups, its global options, and how errors leave it."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import click

from kindasync.errors import KindasyncError


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


class Settings:
    """The global options. `quiet`: nothing on stderr; `verbosity` above 0: stack traces."""

    def __init__(self, *, verbosity: int, quiet: bool) -> None:
        self.verbosity = verbosity
        self.quiet = quiet


def _print_version(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        from kindasync.cli._version import version_line

        click.echo(version_line())
        context.exit()


@click.group(
    cls=LazyGroup,
    lazy={
        "create": "_main:create",
        "delete": "_main:delete",
        "get": "_main:get",
        "export": "_main:export",
        "build": "_main:build",
        "doctor": "_doctor:doctor",
        "version": "_version:version",
        "completion": "_completion:completion",
    },
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100, "auto_envvar_prefix": None},
)
@click.option("-v", "--verbosity", type=int, default=0, help="Info log verbosity; above 0, errors come with their stack traces.")
@click.option("-q", "--quiet", is_flag=True, help="Silence all stderr output.")
@click.option(
    "--version",
    "show_version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version and exit.",
)
@click.pass_context
def cli(context: click.Context, verbosity: int, quiet: bool) -> None:
    """Create and manage local Kubernetes clusters whose nodes are containers.

    \b
    kindasync create cluster            a cluster, and kubectl's context set to it
    kindasync get clusters              what there is
    kindasync delete cluster            gone again
    """
    context.obj = Settings(verbosity=verbosity, quiet=quiet)
    if quiet:
        context.call_on_close(_silence_stderr())


@click.group(cls=LazyGroup, lazy={"cluster": "_create:create_cluster"})
def create() -> None:
    """Create a cluster."""


@click.group(cls=LazyGroup, lazy={"cluster": "_delete:delete_cluster", "clusters": "_delete:delete_clusters"})
def delete() -> None:
    """Delete one cluster, several, or all."""


@click.group(cls=LazyGroup, lazy={"clusters": "_get:get_clusters", "nodes": "_get:get_nodes", "kubeconfig": "_get:get_kubeconfig"})
def get() -> None:
    """Print clusters, nodes or a kubeconfig."""


@click.group(cls=LazyGroup, lazy={"kubeconfig": "_get:export_kubeconfig"})
def export() -> None:
    """Export a cluster's kubeconfig."""


@click.group(cls=LazyGroup, lazy={"node-image": "_build:build_node_image"})
def build() -> None:
    """Build the node image."""


def _silence_stderr() -> Any:
    """Send stderr nowhere, until the returned function is called."""
    import os

    original, sys.stderr = sys.stderr, open(os.devnull, "w")  # noqa: SIM115, PTH123 (closed by the function)

    def restore() -> None:
        sys.stderr.close()
        sys.stderr = original

    return restore


def main(argv: list[str] | None = None) -> int:
    """Run the command; its exit code: 0, or 1 for any error, as kind has it; 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP."""
    arguments = sys.argv[1:] if argv is None else argv
    verbose = any(argument.startswith(("-v", "--verbosity")) for argument in arguments)
    try:
        code = cli.main(arguments, prog_name="kindasync", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return 1
    except click.Abort:
        return 130
    except KindasyncError as error:
        if verbose:
            import traceback

            traceback.print_exc()
        else:
            click.echo(f"ERROR: {error}", err=True)
            for note in getattr(error, "__notes__", ()):
                click.echo(f"  note: {note}", err=True)
        return 1
    except OSError as error:
        click.echo(f"ERROR: {error}", err=True)
        return 1


def run() -> None:
    """The entry point of the installed program."""
    sys.exit(main())
