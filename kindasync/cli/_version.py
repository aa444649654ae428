"""kindasync version."""

from __future__ import annotations

import platform
from typing import Any

import click

from kindasync.cli import _options
from kindasync.cli._main import KIND, Settings
from kindasync.cli._output import show
from kindasync.cli._running import run

KIND_VERSION = "0.33.0"  # of the kind program whose commands, flags and documents ours are: the one to compare with


def version_line(*, as_kind: bool) -> str:
    """What `kindasync --version` prints; `as_kind`: called by kind's name, for scripts that want one of at least some version."""
    from kindasync import __version__

    return f"{KIND} version {KIND_VERSION}" if as_kind else f"kindasync version {__version__}"


@click.command("version")
@_options.output
@click.pass_context
def version(context: click.Context, output: str | None) -> None:
    """Print the version; with -o json also the default node image, present or not, and its Kubernetes version.

    \b
    kindasync version -o json
    """
    from kindasync import __version__

    as_kind = context.find_root().info_name == KIND
    settings: Settings = context.obj
    own = f"v{__version__} python{platform.python_version()} {platform.system().lower()}/{platform.machine()}"
    if output:
        show({"version": __version__, "python": platform.python_version(), **_default_image()}, output)
    elif settings.quiet:
        click.echo(KIND_VERSION if as_kind else __version__)
    else:
        click.echo(f"{KIND} v{KIND_VERSION} kindasync-{own}" if as_kind else f"kindasync {own}")


def _default_image() -> dict[str, Any]:
    from kindasync.cluster._images import DEFAULT_MINOR, PINNED, default_reference, kubernetes_version
    from kindasync.docker import Engine
    from kindasync.docker.images import image_inspect
    from kindasync.docker.system import system_info
    from kindasync.errors import EngineError, NotFound

    async def ask() -> dict[str, Any]:
        try:
            async with Engine.of(None).connect() as connection:
                reference = await default_reference(connection, await system_info(connection))
                try:
                    present, image = True, await image_inspect(connection, reference)
                    return {
                        "node_image": reference,
                        "node_image_present": present,
                        "kubernetes_version": kubernetes_version(reference, image),
                    }
                except NotFound:
                    return {"node_image": reference, "node_image_present": False, "kubernetes_version": kubernetes_version(reference, None)}
        except EngineError as error:
            reference = PINNED[DEFAULT_MINOR]
            return {
                "node_image": reference,
                "node_image_present": False,
                "kubernetes_version": kubernetes_version(reference, None),
                "engine_error": str(error),
            }

    return run(ask)
