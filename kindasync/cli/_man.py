"""The manual page: what the help of all commands says, in the language of man.

Source: groff_man(7).
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

_VERBATIM = "\b"  # click's mark of a paragraph whose lines are to stay
_EXIT_STATUS = "0, or 1 for any error; of exec and kubectl, that of the program that ran; after a signal, 128 and its number."


def man_page(command: click.Command, name: str, version: str) -> str:
    """The page of a command and all below it, each in a section of its own."""
    root, *others = contexts(command, name)
    summary, _, rest = _help(root.command).partition("\n\n")
    lines = [
        f'.TH {name.upper()} 1 "" "{name} {version}"',
        ".SH NAME",
        rf"{name} \- {_text(summary.removesuffix('.'))}",
        ".SH SYNOPSIS",
        *_usage(root),
        ".SH DESCRIPTION",
        *_paragraphs(rest),
        ".SH OPTIONS",
        *_options(root),
        ".SH COMMANDS",
    ]
    for context in others:
        if not isinstance(context.command, click.Group):
            lines += [f".SS {_text(context.command_path)}", *_usage(context), *_paragraphs(_help(context.command)), *_options(context)]
    lines += [".SH EXIT STATUS", _text(_EXIT_STATUS), ".SH SEE ALSO", ".BR docker (1),", ".BR kubectl (1)"]
    return "\n".join(lines) + "\n"


def contexts(command: click.Command, name: str, parent: click.Context | None = None) -> Iterator[click.Context]:
    """A context for a command, and for each below it."""
    with click.Context(command, info_name=name, parent=parent, terminal_width=100, **command.context_settings) as context:
        yield context
        if isinstance(command, click.Group):
            for each in command.list_commands(context):
                found = command.get_command(context, each)
                assert found
                yield from contexts(found, each, context)


def _help(command: click.Command) -> str:
    return inspect.cleandoc(command.help or "")


def _usage(context: click.Context) -> Iterator[str]:
    yield f".B {_text(context.command_path)}"
    yield _text(" ".join(context.command.collect_usage_pieces(context)))


def _options(context: click.Context) -> Iterator[str]:
    for parameter in context.command.get_params(context):
        names, text = parameter.get_help_record(context) or ("", "")
        if text:
            yield from (".TP", f".B {_text(names)}", _text(text))


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in text.split("\n\n"):
        first, *lines = paragraph.strip("\n").splitlines() or [""]
        if first.strip(" ") == _VERBATIM:
            yield from (".PP", ".nf", *map(_text, lines), ".fi")
        elif first:
            yield from (".PP", *map(_text, (first, *lines)))


def _text(line: str) -> str:
    """A line that is nothing but text: minus signs stay what can be copied, and no line is a request."""
    line = line.strip("\n").replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{line}" if line.startswith((".", "'")) else line
