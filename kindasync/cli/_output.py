"""Output: what -o asks for on stdout, as JSON, YAML or columns."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click

from kindasync import go_yaml

JSON, YAML, WIDE = "json", "yaml", "wide"


def show(document: object, output: str) -> None:
    """Print a document of plain values."""
    click.echo(json.dumps(document) if output == JSON else go_yaml.dump(document).rstrip("\n"))


def show_columns(*rows: Sequence[object], err: bool = False) -> None:
    """Print a table, the first row of which says what is in its columns."""
    texts = [[str(each) for each in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    for row in texts:
        click.echo("   ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip(), err=err)
