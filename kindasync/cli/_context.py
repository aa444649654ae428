"""Context: kubectl's, set to a cluster that a command has made."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.from_thread
import anyio.to_thread
import click

if TYPE_CHECKING:
    from kindasync.cluster import Cluster


async def merged(cluster: Cluster, kubeconfig: Path | None, *, made: str, retain: bool = False) -> Path:
    """Merge the cluster's kubeconfig into the user's; that file. `made`: what was done to have it ("created"), for the error of a file that cannot be written.

    Cancellation: the cluster is deleted, unless `retain`; the kubeconfig is as it was.
    """
    from kindasync.cluster._cluster import take_back
    from kindasync.cluster._kubeconfig_file import add

    merge = partial(add, cluster.kubeconfig, kubeconfig, while_waiting=anyio.from_thread.check_cancelled)
    try:
        return await anyio.to_thread.run_sync(merge)
    except anyio.get_cancelled_exc_class() as error:  # before its lock was had
        if not retain:
            await take_back(error, cluster.name, cluster.engine)
        raise
    except Exception as error:
        error.add_note(f'cluster "{cluster.name}" was {made} all the same: kindasync export kubeconfig --name {cluster.name}')
        raise


def show_context(cluster: Cluster, path: Path) -> None:
    """Say on stderr that kubectl uses the cluster now, and how."""
    context = cluster.kubeconfig["current-context"]
    click.echo(f'Set kubectl context to "{context}" in {path}\n\n    kubectl cluster-info --context {context}\n', err=True)
