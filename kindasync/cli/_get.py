"""kindasync get, and export kubeconfig."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from kindasync import go_yaml
from kindasync.cli import _options
from kindasync.cli._running import run


@click.command("clusters")
@_options.output
def get_clusters(output: str | None) -> None:
    """Print the names of all clusters, those of the kind program included."""
    from kindasync.cluster import Cluster

    names = run(Cluster.list)
    if output:
        click.echo(json.dumps(names))
    elif names:
        click.echo("\n".join(names))
    else:
        click.echo("No kind clusters found.", err=True)


@click.command("nodes")
@_options.name
@click.option("-A", "--all-clusters", is_flag=True, help="The nodes of all clusters.")
@_options.output
def get_nodes(name: str, all_clusters: bool, output: str | None) -> None:
    """Print the names of a cluster's nodes."""
    from kindasync.cluster._nodes import list_nodes

    nodes = run(lambda: list_nodes(None if all_clusters else name))
    if output:
        click.echo(
            json.dumps(
                [
                    {"name": node.name, "cluster": node.cluster, "role": node.role, "state": node.state, "image": node.image}
                    for node in nodes
                ]
            )
        )
    elif nodes:
        click.echo("\n".join(node.name for node in nodes))
    else:
        click.echo("No kind nodes " + ("for any cluster." if all_clusters else f'found for cluster "{name}".'), err=True)


@click.command("kubeconfig")
@_options.name
@_options.internal
@_options.output
def get_kubeconfig(name: str, internal: bool, output: str | None) -> None:
    """Print a cluster's kubeconfig."""
    document = _kubeconfig(name, internal)
    click.echo(json.dumps(document) if output else go_yaml.dump(document), nl=bool(output))


@click.command("kubeconfig")
@_options.name
@_options.internal
@_options.kubeconfig
def export_kubeconfig(name: str, internal: bool, kubeconfig: Path | None) -> None:
    """Merge a cluster's kubeconfig into the user's, and make its context the current one."""
    from kindasync.cluster._kubeconfig_file import add

    document = _kubeconfig(name, internal)
    path = add(document, kubeconfig)
    click.echo(f'Set kubectl context to "{document["current-context"]}" in {path}', err=True)


def _kubeconfig(name: str, internal: bool) -> dict[str, Any]:
    from kindasync.cluster import Cluster

    cluster = run(lambda: Cluster.get(name))
    return cluster.internal_kubeconfig if internal else cluster.kubeconfig
