"""kindasync completion."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script that completes commands in a shell.

    \b
    source <(kindasync completion bash)
    kindasync completion fish > ~/.config/fish/completions/kindasync.fish
    """
    from kindasync.cli._main import cli

    kind = get_completion_class(shell)
    assert kind is not None  # click has one for each choice
    program = str(context.find_root().info_name)
    click.echo(kind(cli, {}, program, f"_{program.upper()}_COMPLETE").source())
