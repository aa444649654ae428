"""kindasync config."""

from __future__ import annotations

import json

import click


@click.command("schema")
def schema() -> None:
    """Print the JSON Schema of configurations, which lets editors complete, explain and check them.

    \b
    kindasync config schema > kindasync.schema.json
    kindasync create cluster --config cluster.yaml

    \b
    In editors with yaml-language-server, such as VS Code (its YAML extension),
    Neovim and Helix, a comment in each of the file's documents names it:
    # yaml-language-server: $schema=kindasync.schema.json

    \b
    In PyCharm and the other JetBrains editors: Settings, Languages & Frameworks,
    Schemas and DTDs, JSON Schema Mappings.
    """
    from kindasync.config._schema import schema as json_schema

    click.echo(json.dumps(json_schema(), indent=2))
