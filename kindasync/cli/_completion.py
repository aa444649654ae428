"""kindasync completion."""

from __future__ import annotations

import os
from glob import escape, glob

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    get_completion_class,
)

_POWERSHELL = r"""
Register-ArgumentCompleter -Native -CommandName %(prog_name)s -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    $env:%(complete_var)s = 'powershell_complete'
    $line = $commandAst.ToString()
    $env:COMP_WORDS = $line.Substring(0, [Math]::Min($line.Length, $cursorPosition - $commandAst.Extent.StartOffset))
    $env:COMP_CWORD = $wordToComplete
    try {
        %(prog_name)s | Where-Object { $_ } | ForEach-Object {
            $value, $help = $_ -split "`t", 2
            [System.Management.Automation.CompletionResult]::new($value, $value, 'ParameterValue', $help)
        }
    } finally {
        $env:%(complete_var)s = $null
        $env:COMP_WORDS = $null
        $env:COMP_CWORD = $null
    }
}
"""


class AnyEnvironment(ShellComplete):
    """Where a variable is left out: by another version's script, or as it is empty, which is none in PowerShell."""

    def get_completion_args(self) -> tuple[list[str], str]:
        os.environ.setdefault("COMP_WORDS", "")
        os.environ.setdefault("COMP_CWORD", "" if isinstance(self, FishComplete) else "0")
        return super().get_completion_args()


class WholeWords(AnyEnvironment):
    """For shells to which "--name=c" is one word, so that what it may become has to begin as it does."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        items = super().get_completions(args, incomplete)
        option, equals, _ = incomplete.partition("=")
        if equals and option.startswith("--"):
            return [CompletionItem(f"{option}={value}", help=item.help) for item in items for value in _values(item)]
        return items


def _values(item: CompletionItem) -> list[str]:
    """What an item stands for; behind an option, shells complete no paths."""
    if item.type == "plain":
        return [item.value]
    return [f"{path}/" if os.path.isdir(path) else path for path in sorted(glob(f"{escape(item.value)}*"))]  # noqa: PTH112, PTH207 (as typed)


@add_completion_class
class WordsOfBash(AnyEnvironment, BashComplete):
    """To bash, "--name=c" is three words."""

    def get_completion_args(self) -> tuple[list[str], str]:
        args, incomplete = super().get_completion_args()
        if incomplete == "=":
            return args, ""
        return (args[:-1] if args[-1:] == ["="] else args), incomplete


@add_completion_class
class WordsOfZsh(WholeWords, ZshComplete):
    pass


@add_completion_class
class WordsOfFish(WholeWords, FishComplete):
    """With all that is said of an option; click ends it at the first comma."""

    source_template = FishComplete.source_template.replace('string split ","', 'string split --max 1 ","')


@add_completion_class
class PowershellComplete(WholeWords, FishComplete):
    """Completion for PowerShell, which click does not have: it tells the words as fish does, and completes paths itself where nothing is printed."""

    name = "powershell"
    source_template = _POWERSHELL

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        return [item for item in super().get_completions(args, incomplete) if item.type == "plain"]

    def format_completion(self, item: CompletionItem) -> str:
        return f"{item.value}\t{' '.join((item.help or item.value).split())}"  # PowerShell refuses an empty help


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish", "powershell"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script that completes commands in a shell.

    \b
    source <(kindasync completion bash)    # or zsh, after compinit
    kindasync completion fish > ~/.config/fish/completions/kindasync.fish
    kindasync completion powershell | Out-String | Invoke-Expression
    """
    from kindasync.cli._main import cli

    kind = get_completion_class(shell)
    assert kind is not None  # there is one for each choice
    program = str(context.find_root().info_name)
    click.echo(kind(cli, {}, program, f"_{program.upper()}_COMPLETE").source())
