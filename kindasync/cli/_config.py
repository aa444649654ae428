"""kindasync config."""

from __future__ import annotations

import json

import click


@click.command("schema")
@click.option(
    "--for",
    "purpose",
    type=click.Choice(["cluster", "node"]),
    default="cluster",
    show_default=True,
    help="Of what: of create cluster's --config, or of add node's.",
)
def schema(purpose: str) -> None:
    """Print the JSON Schema of configurations, which lets editors complete, explain and check them.

    \b
    kindasync config schema > kindasync.schema.json
    kindasync create cluster --config cluster.yaml
    kindasync config schema --for node > node.schema.json
    kindasync add node --config node.yaml

    \b
    In editors with yaml-language-server, such as VS Code (its YAML extension),
    Neovim and Helix, a comment in each of the file's documents names it:
    # yaml-language-server: $schema=kindasync.schema.json

    \b
    In PyCharm and the other JetBrains editors: Settings, Languages & Frameworks,
    Schemas and DTDs, JSON Schema Mappings.
    """
    from kindasync.config import _schema

    click.echo(json.dumps(_schema.node_schema() if purpose == "node" else _schema.schema(), indent=2))
