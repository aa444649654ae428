"""kindasync delete."""

from __future__ import annotations

import json
from pathlib import Path

import click

from kindasync.cli import _options
from kindasync.cli._main import Settings, show
from kindasync.cli._progress import listener
from kindasync.cli._running import run
from kindasync.errors import KindasyncError


@click.command("cluster")
@_options.name
@_options.kubeconfig
@_options.events
@click.pass_obj
def delete_cluster(settings: Settings, name: str, kubeconfig: Path | None, events_format: str | None) -> None:
    """Delete a cluster, and its entries in the kubeconfig. One that is not there counts as deleted.

    \b
    kindasync delete cluster
    kindasync delete cluster --name ci
    """
    _delete(settings, name, kubeconfig, events_format)


@click.command("clusters")
@click.argument("names", nargs=-1)
@click.option("-A", "--all", "everything", is_flag=True, help="Delete all clusters.")
@_options.kubeconfig
@_options.events
@click.pass_obj
def delete_clusters(
    settings: Settings, names: tuple[str, ...], everything: bool, kubeconfig: Path | None, events_format: str | None
) -> None:
    """Delete several clusters. A failure does not keep the others from being deleted; the exit code is 1 then.

    \b
    kindasync delete clusters ci-1 ci-2
    kindasync delete clusters --all
    """
    from kindasync.cluster import Cluster

    if everything:
        names = tuple(run(Cluster.list))
    elif not names:
        raise click.UsageError("no cluster names given (--all means all)")
    deleted = []
    for name in names:
        try:
            _delete(settings, name, kubeconfig, events_format)
            deleted.append(name)
        except (KindasyncError, OSError) as error:
            show(error, settings)
    if deleted or not names:
        click.echo(f"Deleted clusters: [{' '.join(map(json.dumps, deleted))}]", err=True)
    if len(deleted) < len(names):
        raise click.exceptions.Exit(1)


def _delete(settings: Settings, name: str, kubeconfig: Path | None, events_format: str | None) -> None:
    from kindasync.cluster import delete
    from kindasync.cluster._kubeconfig_file import take_out

    with listener(f'Deleting cluster "{name}" …', as_json=events_format == "json", quiet=settings.quiet) as on_event:
        run(lambda: delete(name, on_event=on_event))
    take_out(name, kubeconfig)
