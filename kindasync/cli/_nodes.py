"""kindasync add node and remove node."""

from __future__ import annotations

import click

from kindasync.cli import _options
from kindasync.cli._progress import Progress, with_progress
from kindasync.cli._running import run


@click.command("node")
@_options.name
@click.option("--role", type=click.Choice(["worker", "control-plane"]), help="What the node is to be. [default: worker]")
@click.option("--image", default="", help="The node image. [default: that of the first control plane]")
@click.option(
    "--config",
    "config_path",
    metavar="FILE",
    shell_complete=_options.complete_file,
    help='What else it is to be: an entry of nodes, as in a configuration, and one of ClusterExtras\' as a second document (see kindasync config schema --for node); "-" reads stdin.',
)
@_options.wait
@with_progress
def add_node(
    progress: Progress,
    name: str,
    role: str | None,
    image: str,
    config_path: str | None,
    wait_s: float,
) -> None:
    """Add a node to a cluster that is there, and print its name. It has the first name that is free.

    \b
    kindasync add node
    kindasync add node --name ci --role control-plane
    kindasync add node --config node.yaml
    """
    from kindasync.cluster import add_node

    config = _options.text_of(config_path) if config_path else None
    with progress.of(f'Adding a node to cluster "{name}" …') as on_event:
        node = run(lambda: add_node(name, role=role, config=config, image=image, wait_s=wait_s, on_event=on_event))
    if not progress.as_json:
        click.echo(node.name)


@click.command("node")
@click.argument("node", shell_complete=_options.complete_node)
@_options.name
@click.option("--timeout", "timeout_s", type=_options.Duration(), default="2m", show_default=True, help="How long pods have time to leave.")
@click.option("--force", is_flag=True, help="Remove it also with pods that nobody would make again, or that cannot be evicted in time.")
@with_progress
def remove_node(progress: Progress, node: str, name: str, timeout_s: float, force: bool) -> None:
    """Drain a node, and remove it from its cluster.

    Pods are evicted as PodDisruptionBudgets allow; those of DaemonSets end with the node.

    \b
    kindasync remove node kind-worker2
    kindasync remove node ci-worker --name ci --timeout 5m --force
    """
    from kindasync.cluster import remove_node

    with progress.of(f'Removing node {node} from cluster "{name}" …') as on_event:
        run(lambda: remove_node(name, node, timeout_s=timeout_s, force=force, on_event=on_event))
