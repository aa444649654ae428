"""kindasync delete."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import anyio
import click

from kindasync.cli import _options
from kindasync.cli._main import Settings, show
from kindasync.cli._progress import Listener, Progress, with_progress
from kindasync.cli._running import run
from kindasync.errors import KindasyncError


@click.command("cluster")
@_options.name
@_options.kubeconfig
@with_progress
def delete_cluster(progress: Progress, name: str, kubeconfig: Path | None) -> None:
    """Delete a cluster, and its entries in the kubeconfig. One that is not there counts as deleted.

    \b
    kindasync delete cluster
    kindasync delete cluster --name ci
    """
    from kindasync.cluster import delete
    from kindasync.cluster._kubeconfig_file import take_out

    with progress.of(f'Deleting cluster "{name}" …') as on_event:
        run(lambda: delete(name, on_event=on_event))
    take_out(name, kubeconfig)


@click.command("clusters")
@click.argument("names", nargs=-1, shell_complete=_options.complete_cluster)
@click.option("-A", "--all", "everything", is_flag=True, help="Delete all clusters.")
@_options.kubeconfig
@with_progress
@click.pass_obj
def delete_clusters(settings: Settings, names: tuple[str, ...], everything: bool, kubeconfig: Path | None, progress: Progress) -> None:
    """Delete several clusters. A failure does not keep the others from being deleted; the exit code is 1 then.

    \b
    kindasync delete clusters ci-1 ci-2
    kindasync delete clusters --all
    """
    from kindasync.cluster import Cluster
    from kindasync.cluster._kubeconfig_file import take_out

    if everything:
        names = tuple(run(Cluster.list))
    elif not names:
        raise click.UsageError("no cluster names given (--all means all)")
    with progress.of("Deleting clusters …") as on_event:
        failures = run(lambda: _delete_all(names, on_event))
    deleted = []
    for name in names:
        try:
            if failure := failures.get(name):
                raise failure
            take_out(name, kubeconfig)
            deleted.append(name)
        except (KindasyncError, OSError) as error:
            show(error, settings)
    if deleted or not names:
        click.echo(f"Deleted clusters: [{' '.join(map(json.dumps, deleted))}]", err=True)
    if len(deleted) < len(names):
        raise click.exceptions.Exit(1)


async def _delete_all(names: Iterable[str], on_event: Listener | None) -> dict[str, KindasyncError | OSError]:
    """Delete clusters, several at once; those with which it failed, and why."""
    from kindasync._delivering import delivering
    from kindasync.cluster import delete
    from kindasync.cluster._together import AT_ONCE
    from kindasync.events import Bus

    failures: dict[str, KindasyncError | OSError] = {}
    limiter = anyio.CapacityLimiter(AT_ONCE)
    async with delivering(Bus(), on_event) as bus, anyio.create_task_group() as tasks:

        async def one(name: str) -> None:
            async with limiter:
                try:
                    await delete(name, on_event=bus)
                except (KindasyncError, OSError) as error:
                    failures[name] = error

        for name in names:
            tasks.start_soon(one, name)
    return failures
