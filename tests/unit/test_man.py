"""The manual page: of all commands and options, in man's language, in which nothing of their texts is a request."""

from __future__ import annotations

import re
import shutil
import subprocess

import click
import pytest

from kindasync import __version__
from kindasync.cli._main import cli, main
from kindasync.cli._man import contexts, man_page

EVERY = [*contexts(cli, "kindasync")]
COMMANDS = [context for context in EVERY if not isinstance(context.command, click.Group)]
REQUESTS = {".TH", ".SH", ".SS", ".TP", ".PP", ".B", ".BR", ".nf", ".fi"}


def page() -> str:
    return man_page(cli, "kindasync", "1.2.3")


def test_every_command_and_option_is_in_it() -> None:
    """In sections of their own."""
    sections = dict(re.findall(r"(?ms)^\.SS (.*?)\n(.*?)(?=^\.S[SH] )", page()))

    assert [*sections] == [context.command_path.replace("-", r"\-") for context in COMMANDS]
    for context in COMMANDS:
        flags = {flag for each in context.command.params if isinstance(each, click.Option) and not each.hidden for flag in each.opts}
        text = sections[context.command_path.replace("-", r"\-")].replace(r"\-", "-")
        assert {flag for flag in flags if not re.search(rf"{re.escape(flag)}\b", text)} == set(), context.command_path


@pytest.mark.parametrize("context", EVERY, ids=lambda context: context.command_path)
def test_every_help_has_an_example(context: click.Context) -> None:
    """A line that can be copied, with the name by which it was asked for; of what has commands, one of them."""
    assert re.search(rf"(?m)^ *{context.command_path}( .+)?$", context.get_help())


def test_texts_are_no_requests() -> None:
    """A line that begins as one, a backslash, a minus sign that is to be copied."""

    @click.command(help="Summary.\n\n.SH in a text\n'tis so\n\n\b\n.B verbatim\n  --flag C:\\new")
    def odd() -> None:
        pass

    assert man_page(odd, "odd", "1").splitlines()[7:16] == [
        ".PP",
        r"\&.SH in a text",
        r"\&'tis so",
        ".PP",
        ".nf",
        r"\&.B verbatim",
        r"  \-\-flag C:\enew",
        ".fi",
        ".SH OPTIONS",
    ]
    assert {line.split()[0] for line in page().splitlines() if line.startswith((".", "'"))} <= REQUESTS


@pytest.mark.skipif(not shutil.which("groff"), reason="there is no groff")
def test_groff_reads_it() -> None:
    """Without a warning."""
    ran = subprocess.run(["groff", "-man", "-ww", "-Tutf8"], input=page().encode(), capture_output=True, check=True)

    assert ran.stderr == b""


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    """And nothing else."""
    assert main(["help", "--man"]) == 0
    assert capsys.readouterr().out == man_page(cli, "kindasync", __version__)
