"""kindasync create."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.from_thread
import anyio.to_thread
import click

from kindasync.cli import _options
from kindasync.cli._main import Settings
from kindasync.cli._progress import listener
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
@click.option(
    "--config",
    "config_path",
    metavar="FILE",
    help='A configuration (kind.x-k8s.io/v1alpha4, and kindasync/v1alpha1 beside it: see kindasync config schema); "-" reads stdin.',
)
@click.option("--image", default="", help="The node image for all nodes, instead of the configuration's or the default.")
@click.option("--retain", is_flag=True, help="Keep the nodes when creation fails, to look at them.")
@click.option(
    "--wait",
    "wait_s",
    type=_options.Duration(),
    help="How long to wait until the cluster is ready; 0s: not at all. Wins over the configuration's. [default: 2m]",
)
@click.option(
    "--preload",
    "preloads",
    multiple=True,
    metavar="ARCHIVE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Load an image archive into each node before it boots. May be given several times.",
)
@_options.kubeconfig
@_options.events
@_options.timings
@_options.timeline
@click.pass_obj
def create_cluster(
    settings: Settings,
    name: str | None,
    config_path: str | None,
    image: str,
    retain: bool,
    wait_s: float | None,
    preloads: tuple[Path, ...],
    kubeconfig: Path | None,
    events_format: str | None,
    timings: bool,
    timeline: Path | None,
) -> None:
    """Create a cluster, and set kubectl's context to it.

    \b
    kindasync create cluster
    kindasync create cluster --name ci --config cluster.yaml --wait 5m
    kindasync create cluster --preload app.tar --events json
    """
    from kindasync.cluster import Cluster
    from kindasync.cluster._cluster import take_back
    from kindasync.cluster._kubeconfig_file import add, check
    from kindasync.config import DEFAULT_NAME, ClusterConfig, load

    config = load(_options.text_of(config_path)) if config_path else ClusterConfig()
    config = replace(config, extras=replace(config.extras, preload=(*config.extras.preload, *map(str, preloads))))
    check(kubeconfig)
    wanted = name or config.name or DEFAULT_NAME

    async def operation() -> tuple[Cluster, Path]:
        cluster = await Cluster.create(wanted, config=config, image=image, wait_s=wait_s, retain=retain, on_event=on_event)
        merge = partial(add, cluster.kubeconfig, kubeconfig, while_waiting=anyio.from_thread.check_cancelled)
        try:
            return cluster, await anyio.to_thread.run_sync(merge)
        except anyio.get_cancelled_exc_class() as error:  # before its lock was had: the kubeconfig is as it was
            if not retain:
                await take_back(error, cluster.name, cluster.engine)
            raise
        except Exception as error:
            error.add_note(f'cluster "{cluster.name}" was created all the same: kindasync export kubeconfig --name {cluster.name}')
            raise

    with listener(
        f'Creating cluster "{wanted}" …', as_json=events_format == "json", quiet=settings.quiet, timings=timings, timeline=timeline
    ) as on_event:
        cluster, path = run(operation, last=True)
    context = cluster.kubeconfig["current-context"]
    click.echo(f'Set kubectl context to "{context}" in {path}\n\n    kubectl cluster-info --context {context}\n', err=True)
