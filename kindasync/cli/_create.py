"""kindasync create."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kindasync.cli import _options
from kindasync.cli._progress import Progress, with_progress
from kindasync.cli._running import run

if TYPE_CHECKING:
    from kindasync.cluster import Cluster


@click.command("cluster")
@click.option(
    "-n",
    "--name",
    envvar="KIND_CLUSTER_NAME",
    help="The cluster's name (environment: KIND_CLUSTER_NAME); wins over the configuration's. [default: kind]",
)
@_options.config
@_options.image
@click.option("--retain", is_flag=True, help="Keep the nodes when creation fails, to look at them.")
@_options.create_wait
@click.option(
    "--preload",
    "preloads",
    multiple=True,
    metavar="ARCHIVE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Load an image archive into each node before it boots. May be given several times.",
)
@_options.kubeconfig
@with_progress
def create_cluster(
    progress: Progress,
    name: str | None,
    config_path: str | None,
    image: str,
    retain: bool,
    wait_s: float | None,
    preloads: tuple[Path, ...],
    kubeconfig: Path | None,
) -> None:
    """Create a cluster, and set kubectl's context to it.

    \b
    kindasync create cluster
    kindasync create cluster --name ci --config cluster.yaml --wait 5m
    kindasync create cluster --preload app.tar --events json
    """
    from kindasync.cli._context import merged, show_context
    from kindasync.cluster import Cluster
    from kindasync.cluster._kubeconfig_file import check
    from kindasync.config import DEFAULT_NAME, ClusterConfig, load
    from kindasync.errors import ConfigInvalid

    document = _options.text_of(config_path) if config_path else None
    config = ClusterConfig()
    with suppress(ConfigInvalid):  # what is wrong with it is told when it is read again
        config = load(document, name=name or "") if document is not None else config
        document = None
    config = replace(config, extras=replace(config.extras, preload=(*config.extras.preload, *map(str, preloads))))
    check(kubeconfig)
    wanted = name or config.name or DEFAULT_NAME

    async def operation() -> tuple[Cluster, Path]:
        named, asked = (wanted, config) if document is None else (name or None, document)
        cluster = await Cluster.create(named, config=asked, image=image, wait_s=wait_s, retain=retain, on_event=on_event)
        return cluster, await merged(cluster, kubeconfig, made="created", retain=retain)

    with progress.of(f'Creating cluster "{wanted}" …') as on_event:
        cluster, path = run(operation, last=True)
    show_context(cluster, path)
