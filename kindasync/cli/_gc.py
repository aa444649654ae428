"""kindasync gc."""

from __future__ import annotations

import click

from kindasync.cli import _options
from kindasync.cli._output import show
from kindasync.cli._running import run


@click.command("gc")
@click.option("--dry-run", is_flag=True, help="Only print what would be removed.")
@click.option(
    "--older-than",
    "older_than_s",
    type=_options.Duration(),
    help="Remove what is not finished and older than this, too, where it cannot be told from here whether its process lives: 24h.",
)
@_options.output
def gc(dry_run: bool, older_than_s: float | None, output: str | None) -> None:
    """Remove what crashed runs have left: containers, networks and directories of clusters, and of nodes, that were never finished, and of killed runs of pytest.

    Other clusters that were finished, are being made, were kept by --retain, or are of the kind program, are left alone.

    \b
    kindasync gc --dry-run
    kindasync gc --older-than 24h
    """
    from kindasync.cluster import gc

    leftovers = run(lambda: gc(older_than_s=older_than_s, dry_run=dry_run))
    if output:
        show([leftover.to_json() for leftover in leftovers], output)
        return
    for leftover in leftovers:
        of = f" of cluster {leftover.cluster}" if leftover.cluster and leftover.kind != "directory" else ""
        click.echo(f"{'would remove' if dry_run else 'removed'} {leftover.kind} {leftover.name}{of}: {leftover.why}")
    if not leftovers:
        click.echo("nothing was left by crashed runs", err=True)
