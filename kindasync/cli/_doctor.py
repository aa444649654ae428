"""kindasync doctor."""

from __future__ import annotations

import click

from kindasync.cli import _options
from kindasync.cli._output import show
from kindasync.cli._running import run


@click.command("doctor")
@_options.output
def doctor(output: str | None) -> None:
    """Look at what usually keeps clusters from coming up. The exit code is 1 if something will.

    \b
    kindasync doctor
    kindasync doctor -o json
    """
    from kindasync.cluster._doctor import Verdict, examine

    findings = run(examine)
    if output:
        show([finding.to_json() for finding in findings], output)
    else:
        width = max(len(finding.name) for finding in findings)
        marks = {
            Verdict.OK: click.style("✓", fg="green"),
            Verdict.WARNING: click.style("!", fg="yellow"),
            Verdict.FAILURE: click.style("✗", fg="red"),
        }
        for finding in findings:
            click.echo(f"{marks[finding.verdict]} {finding.name:<{width}}  {finding.value}")
            if finding.fix:
                click.echo(f"  {'':<{width}}  → {finding.fix}")
    if any(finding.verdict is Verdict.FAILURE for finding in findings):
        raise click.exceptions.Exit(1)
