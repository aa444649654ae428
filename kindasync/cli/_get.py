"""kindasync get, and export kubeconfig."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kindasync.cli import _options
from kindasync.cli._output import JSON, WIDE, YAML, show, show_columns
from kindasync.cli._running import run

if TYPE_CHECKING:
    from kindasync.cluster._nodes import ListedNode


@click.command("clusters")
@_options.output_or_wide
def get_clusters(output: str | None) -> None:
    """Print the names of all clusters, those of the kind program included.

    \b
    kindasync get clusters
    kindasync get clusters -o wide
    """
    from kindasync.cluster import Cluster
    from kindasync.cluster._nodes import list_nodes

    nodes = run(lambda: list_nodes(None)) if output == WIDE else ()
    names = [node.cluster for node in nodes] if output == WIDE else run(Cluster.list)
    if output in (JSON, YAML):
        show(names, output)
    elif not names:
        click.echo("No kind clusters found.", err=True)
    elif output == WIDE:
        show_columns(
            ("NAME", "NODES", "RUNNING", "IMAGE"), *(_summary(name, [*of]) for name, of in groupby(nodes, lambda node: node.cluster))
        )
    else:
        click.echo("\n".join(names))


@click.command("nodes")
@_options.name
@click.option("-A", "--all-clusters", is_flag=True, help="The nodes of all clusters.")
@_options.output_or_wide
def get_nodes(name: str, all_clusters: bool, output: str | None) -> None:
    """Print the names of a cluster's nodes.

    \b
    kindasync get nodes --name ci
    kindasync get nodes --all-clusters -o wide
    """
    from kindasync.cluster._nodes import list_nodes

    nodes = run(lambda: list_nodes(None if all_clusters else name))
    if output == WIDE and nodes:
        show_columns(
            ("NAME", "CLUSTER", "ROLE", "STATE", "ADDRESS", "IMAGE"),
            *((node.name, node.cluster, node.role, node.state, node.address or "<none>", node.image) for node in nodes),
        )
    elif output in (JSON, YAML):
        show([asdict(node) for node in nodes], output)
    elif nodes:
        click.echo("\n".join(node.name for node in nodes))
    else:
        click.echo("No kind nodes " + ("for any cluster." if all_clusters else f'found for cluster "{name}".'), err=True)


@click.command("kubeconfig")
@_options.name
@_options.internal
@_options.output
def get_kubeconfig(name: str, internal: bool, output: str | None) -> None:
    """Print a cluster's kubeconfig.

    \b
    kindasync get kubeconfig > kubeconfig
    kindasync get kubeconfig --name ci --internal
    """
    document = _kubeconfig(name, internal)
    show(document, output or YAML)


@click.command("kubeconfig")
@_options.name
@_options.internal
@_options.kubeconfig
def export_kubeconfig(name: str, internal: bool, kubeconfig: Path | None) -> None:
    """Merge a cluster's kubeconfig into the user's, and make its context the current one.

    \b
    kindasync export kubeconfig --name ci
    kindasync export kubeconfig --kubeconfig ci.yaml
    """
    from kindasync.cluster._kubeconfig_file import add

    document = _kubeconfig(name, internal)
    path = add(document, kubeconfig)
    click.echo(f'Set kubectl context to "{document["current-context"]}" in {path}', err=True)


def _summary(name: str, nodes: Sequence[ListedNode]) -> tuple[object, ...]:
    return name, len(nodes), sum(node.state == "running" for node in nodes), nodes[0].image


def _kubeconfig(name: str, internal: bool) -> dict[str, Any]:
    from kindasync.cluster import Cluster

    cluster = run(lambda: Cluster.get(name))
    return cluster.internal_kubeconfig if internal else cluster.kubeconfig
