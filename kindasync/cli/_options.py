"""Options that several commands share, and the types of their values."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click

from kindasync.cli._output import JSON, WIDE, YAML
from kindasync.config import DEFAULT_NAME
from kindasync.config._duration import duration_s
from kindasync.errors import KindasyncError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMPLETION_S = 1.0


class Duration(click.ParamType[float]):
    """A duration as Go writes them: 90s, 1m30s, 0; in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            return duration_s(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _found(listing: Callable[[], Awaitable[Iterable[str]]], incomplete: str) -> list[str]:
    """Those of a listing that begin so; none where the Engine does not answer, or not soon: who presses a key wants no error."""

    async def found() -> list[str]:
        with suppress(KindasyncError), anyio.move_on_after(COMPLETION_S):
            return [each for each in await listing() if each.startswith(incomplete)]
        return []

    return anyio.run(found)


def complete_cluster(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """The clusters that there are."""
    from kindasync.cluster import Cluster

    return _found(Cluster.list, incomplete)


def complete_node(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """The nodes of the cluster that was named before."""
    from kindasync.cluster._nodes import list_nodes

    async def names() -> list[str]:
        return [node.name for node in await list_nodes(context.params.get("name") or DEFAULT_NAME)]

    return _found(names, incomplete)


def complete_nodes(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """As `complete_node`, the last of several with commas between."""
    others, comma, last = incomplete.rpartition(",")
    return [f"{others}{comma}{each}" for each in complete_node(context, parameter, last)]


def complete_file(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The shell does it."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


def named(_: click.Context, __: click.Parameter, value: str) -> str:
    """A cluster's name; an empty one is none, as for the kind program."""
    return value or DEFAULT_NAME


name = click.option(
    "-n",
    "--name",
    shell_complete=complete_cluster,
    envvar="KIND_CLUSTER_NAME",
    default=DEFAULT_NAME,
    show_default=True,
    callback=named,
    help="The cluster's name (environment: KIND_CLUSTER_NAME).",
)
config = click.option(
    "--config",
    "config_path",
    metavar="FILE",
    shell_complete=complete_file,
    help='A configuration (kind.x-k8s.io/v1alpha4, and kindasync/v1alpha1 beside it: see kindasync config schema); "-" reads stdin.',
)
image = click.option("--image", default="", help="The node image for all nodes, instead of the configuration's or the default.")
create_wait = click.option(
    "--wait",
    "wait_s",
    type=Duration(),
    help="How long to wait, once the API server answers, until the cluster is ready; 0s: not at all. Wins over the configuration's. [default: 2m]",
)


class _OptionalPath(click.Path):
    """A path; empty means none, as for the kind program."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(value, param, ctx) if str(value) else None


kubeconfig = click.option(
    "--kubeconfig",
    type=_OptionalPath(path_type=Path, dir_okay=False),
    help="The kubeconfig to change, instead of $KUBECONFIG or ~/.kube/config.",
)
wait = click.option(
    "--wait",
    "wait_s",
    type=Duration(),
    default="2m",
    show_default=True,
    help="How long to wait until the cluster is ready; 0s: not at all.",
)
output = click.option(
    "-o",
    "--output",
    type=click.Choice([JSON, YAML, WIDE]),
    callback=lambda _, __, value: None if value == WIDE else value,
    help="Print a document for programs; wide has nothing more than there is without.",
)
output_or_wide = click.option(
    "-o", "--output", type=click.Choice([JSON, YAML, WIDE]), help="Print a document for programs, or more columns for people."
)
internal = click.option("--internal", is_flag=True, help="Use the address inside the nodes' network instead of the one on this host.")


def text_of(path: str) -> str | bytes:
    """The document that an option names; "-": what comes on stdin. Raises: KindasyncError."""
    if path == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise KindasyncError(
            f"cannot read the configuration {path}",
            why=error.strerror or str(error),
            hint="see that it is there, and that this user can read it",
        ) from error
