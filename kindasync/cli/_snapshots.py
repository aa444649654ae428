"""kindasync snapshot, restore, reset, get snapshots and delete snapshot."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import click

from kindasync.cli import _options
from kindasync.cli._output import show, show_columns
from kindasync.cli._progress import Progress, with_progress
from kindasync.cli._running import run

if TYPE_CHECKING:
    from kindasync.cluster import Cluster

_snapshot = click.argument("snapshot_name", metavar="SNAPSHOT")


def _on(name: str, work: Callable[[Cluster], Awaitable[Any]]) -> Any:
    from kindasync.cluster import Cluster

    async def found() -> Any:
        return await work(await Cluster.get(name))

    return run(found)


@click.command("snapshot")
@_snapshot
@_options.name
def snapshot(name: str, snapshot_name: str) -> None:
    """Keep a cluster's API objects as they are now, under a name; "restore" makes them that again. An earlier one of that name is replaced.

    \b
    kindasync snapshot installed --name ci
    """
    _on(name, lambda cluster: cluster.snapshot(snapshot_name))
    click.echo(f'kept snapshot "{snapshot_name}" of cluster "{name}"', err=True)


@click.command("restore")
@_snapshot
@_options.name
@with_progress
def restore(progress: Progress, name: str, snapshot_name: str) -> None:
    """Make a cluster's API objects again what they were in a snapshot. What was made since is gone, finalizers or not.

    \b
    kindasync restore installed --name ci
    """
    with progress.of(f'Restoring cluster "{name}" …') as on_event:
        _on(name, lambda cluster: cluster.restore(snapshot_name, on_event=on_event))


@click.command("reset")
@_options.name
@with_progress
def reset(progress: Progress, name: str) -> None:
    """Make a cluster's API objects again what they were when it was created, mostly in a second or two.

    \b
    kindasync reset --name ci
    """
    with progress.of(f'Resetting cluster "{name}" …') as on_event:
        _on(name, lambda cluster: cluster.reset(on_event=on_event))


@click.command("snapshots")
@_options.name
@_options.output
def get_snapshots(name: str, output: str | None) -> None:
    """Print a cluster's snapshots; "created" is of the moment when it was.

    \b
    kindasync get snapshots --name ci
    """
    found = _on(name, lambda cluster: cluster.snapshots())
    rows = [{"name": each.name, "taken": each.taken.isoformat(), "objects": each.objects} for each in found]
    if output:
        show(rows, output)
    else:
        show_columns(("NAME", "TAKEN", "OBJECTS"), *(tuple(str(value) for value in row.values()) for row in rows))


@click.command("snapshot")
@_snapshot
@_options.name
def delete_snapshot(name: str, snapshot_name: str) -> None:
    """Forget a snapshot.

    \b
    kindasync delete snapshot installed --name ci
    """
    _on(name, lambda cluster: cluster.delete_snapshot(snapshot_name))
    click.echo(f'deleted snapshot "{snapshot_name}" of cluster "{name}"', err=True)
