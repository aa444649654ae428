"""kindasync pool."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kindasync.cli import _options
from kindasync.cli._output import WIDE, show, show_columns
from kindasync.cli._progress import Progress, with_progress
from kindasync.cli._running import run
from kindasync.cluster._requests import DEFAULT_POOL

if TYPE_CHECKING:
    from kindasync.cluster import Cluster

_pool = click.argument("pool", metavar="[POOL]", default=DEFAULT_POOL)


@click.command("fill")
@_pool
@click.option("--size", type=click.IntRange(min=0), required=True, help="How many clusters are to be there to be claimed.")
@_options.config
@_options.image
@_options.create_wait
@with_progress
def fill(
    progress: Progress,
    pool: str,
    size: int,
    config_path: str | None,
    image: str,
    wait_s: float | None,
) -> None:
    """Create clusters and park them, frozen, until there are so many that can be claimed. Those that are there count.

    A parked cluster takes memory and a host port, and no processor. All of a pool are of one configuration and image.

    \b
    kindasync pool fill --size 2
    kindasync pool fill ha --size 1 --config ha.yaml
    """
    from kindasync.cluster import Cluster
    from kindasync.config import load

    config = load(_options.text_of(config_path)) if config_path else None

    async def operation() -> list[str]:
        return await Cluster.fill_pool(pool, size=size, config=config, image=image, wait_s=wait_s, on_event=on_event)

    with progress.of(f'Filling pool "{pool}" …') as on_event:
        parked = run(operation)
    click.echo(f'Parked {len(parked)} more in pool "{pool}"', err=True)


@click.command("claim")
@_pool
@_options.wait
@_options.kubeconfig
@with_progress
def claim(progress: Progress, pool: str, wait_s: float, kubeconfig: Path | None) -> None:
    """Take a cluster that is parked in a pool, print its name, and set kubectl's context to it.

    It is yours alone, and deleted as any other: kindasync delete cluster --name NAME.

    \b
    kindasync pool claim
    NAME=$(kindasync --quiet pool claim ha)
    """
    from kindasync.cli._context import merged, show_context
    from kindasync.cluster import Cluster
    from kindasync.cluster._kubeconfig_file import check

    check(kubeconfig)

    async def operation() -> tuple[Cluster, Path]:
        cluster = await Cluster.claim(pool, wait_s=wait_s, on_event=on_event)
        return cluster, await merged(cluster, kubeconfig, made="claimed")

    with progress.of(f'Claiming from pool "{pool}" …') as on_event:
        cluster, path = run(operation, last=True)
    if not progress.as_json:  # there it is in the events
        click.echo(cluster.name)
    show_context(cluster, path)


@click.command("get")
@_options.output_or_wide
def get(output: str | None) -> None:
    """Print the pools, and how many of their clusters are parked, claimed, or neither: being made, or stopped or restarted since.

    \b
    kindasync pool get
    kindasync pool get -o wide
    """
    from kindasync.cluster import Cluster

    pools = run(Cluster.pools)
    if output == WIDE:
        rows = ((each.name, name, state) for each in pools for state in ("parked", "claimed", "others") for name in getattr(each, state))
        show_columns(("POOL", "CLUSTER", "STATE"), *((pool, name, state.removesuffix("s")) for pool, name, state in rows))
    elif output:
        show([asdict(each) for each in pools], output)
    elif pools:
        show_columns(
            ("POOL", "PARKED", "CLAIMED", "OTHERS"), *((each.name, len(each.parked), len(each.claimed), len(each.others)) for each in pools)
        )
    else:
        click.echo("There are no pools: kindasync pool fill --size 1 makes one.", err=True)


@click.command("delete")
@_pool
@with_progress
def delete(progress: Progress, pool: str) -> None:
    """Delete the clusters of a pool that nobody has claimed.

    \b
    kindasync pool delete
    """
    from kindasync.cluster import Cluster

    with progress.of(f'Deleting pool "{pool}" …') as on_event:
        deleted = run(lambda: Cluster.delete_pool(pool, on_event=on_event))
    click.echo(f'Deleted {len(deleted)} cluster{"" if len(deleted) == 1 else "s"} of pool "{pool}"', err=True)
