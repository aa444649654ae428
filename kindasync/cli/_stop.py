"""kindasync stop and start."""

from __future__ import annotations

import click

from kindasync.cli import _options
from kindasync.cli._progress import Progress, with_progress
from kindasync.cli._running import run


@click.command("stop")
@_options.name
@with_progress
def stop_cluster(progress: Progress, name: str) -> None:
    """Stop a cluster's nodes; "start" brings them back, with all that is in them. Nodes that do not run stay as they are.

    \b
    kindasync stop --name ci
    """
    from kindasync.cluster import stop

    with progress.of(f'Stopping cluster "{name}" …') as on_event:
        run(lambda: stop(name, on_event=on_event))


@click.command("start")
@_options.name
@_options.wait
@with_progress
def start_cluster(progress: Progress, name: str, wait_s: float) -> None:
    """Start a stopped cluster's nodes, and wait until all are Ready.

    \b
    kindasync start --name ci --wait 5m
    """
    from kindasync.cluster import start

    with progress.of(f'Starting cluster "{name}" …') as on_event:
        run(lambda: start(name, wait_s=wait_s, on_event=on_event))
