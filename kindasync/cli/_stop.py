"""kindasync stop and start."""

from __future__ import annotations

from pathlib import Path

import click

from kindasync.cli import _options
from kindasync.cli._main import Settings
from kindasync.cli._progress import listener
from kindasync.cli._running import run


@click.command("stop")
@_options.name
@_options.events
@_options.timings
@_options.timeline
@click.pass_obj
def stop_cluster(settings: Settings, name: str, events_format: str | None, timings: bool, timeline: Path | None) -> None:
    """Stop a cluster's nodes; "start" brings them back, with all that is in them. Nodes that do not run stay as they are.

    \b
    kindasync stop --name ci
    """
    from kindasync.cluster import stop

    with listener(
        f'Stopping cluster "{name}" …', as_json=events_format == "json", quiet=settings.quiet, timings=timings, timeline=timeline
    ) as on_event:
        run(lambda: stop(name, on_event=on_event))


@click.command("start")
@_options.name
@_options.wait
@_options.events
@_options.timings
@_options.timeline
@click.pass_obj
def start_cluster(settings: Settings, name: str, wait_s: float, events_format: str | None, timings: bool, timeline: Path | None) -> None:
    """Start a stopped cluster's nodes, and wait until all are Ready.

    \b
    kindasync start --name ci --wait 5m
    """
    from kindasync.cluster import start

    with listener(
        f'Starting cluster "{name}" …', as_json=events_format == "json", quiet=settings.quiet, timings=timings, timeline=timeline
    ) as on_event:
        run(lambda: start(name, wait_s=wait_s, on_event=on_event))
