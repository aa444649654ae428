"""kindasync create."""

from __future__ import annotations

import sys
from pathlib import Path

import anyio
import anyio.to_thread
import click

from kindasync.cli import _options
from kindasync.cli._main import Settings
from kindasync.cli._progress import listener
from kindasync.cli._running import run


@click.command("cluster")
@click.option("-n", "--name", envvar="KIND_CLUSTER_NAME", help="The cluster's name; wins over the configuration's. [default: kind]")
@click.option("--config", "config_path", metavar="FILE", help='A configuration (kind.x-k8s.io/v1alpha4); "-" reads stdin.')
@click.option("--image", default="", help="The node image for all nodes, instead of the configuration's or the default.")
@click.option("--retain", is_flag=True, help="Keep the nodes when creation fails, to look at them.")
@click.option(
    "--wait",
    "wait_s",
    type=_options.Duration(),
    default="2m",
    show_default=True,
    help="How long to wait until the cluster is ready; 0s: not at all, as kind does.",
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
@click.pass_obj
def create_cluster(
    settings: Settings,
    name: str | None,
    config_path: str | None,
    image: str,
    retain: bool,
    wait_s: float,
    preloads: tuple[Path, ...],
    kubeconfig: Path | None,
    events_format: str | None,
) -> None:
    """Create a cluster, and set kubectl's context to it.

    \b
    kindasync create cluster
    kindasync create cluster --name ci --config cluster.yaml --wait 5m
    kindasync create cluster --preload app.tar --events json
    """
    from kindasync.cluster import Cluster
    from kindasync.cluster._kubeconfig_file import add, take_out
    from kindasync.config import ClusterConfig, load
    from kindasync.node import PausedNode

    config = load(_text_of(config_path)) if config_path else ClusterConfig()

    async def preload(node: PausedNode) -> None:
        for archive in preloads:
            await node.preload(archive)

    async def operation() -> tuple[Cluster, Path]:
        hooks = [preload] if preloads else []
        cluster = await Cluster.create(name, config=config, image=image, wait_s=wait_s, retain=retain, on_event=on_event, before_boot=hooks)
        try:
            return cluster, await anyio.to_thread.run_sync(add, cluster.kubeconfig, kubeconfig)
        except anyio.get_cancelled_exc_class():
            if not retain:
                with anyio.CancelScope(shield=True):
                    await cluster.delete()
                    take_out(cluster.name, kubeconfig)
            raise
        except Exception as error:
            error.add_note(f'cluster "{cluster.name}" was created all the same: kindasync export kubeconfig --name {cluster.name}')
            raise

    with listener(
        f'Creating cluster "{name or config.name or "kind"}" …', as_json=events_format == "json", quiet=settings.quiet
    ) as on_event:
        cluster, path = run(operation)
    context = cluster.kubeconfig["current-context"]
    click.echo(f'Set kubectl context to "{context}" in {path}\n\n    kubectl cluster-info --context {context}\n', err=True)


def _text_of(path: str) -> str | bytes:
    if path == "-":
        return sys.stdin.buffer.read()
    return Path(path).read_bytes()
