"""kindasync version."""

from __future__ import annotations

import json
import platform
from typing import Any

import click

from kindasync.cli import _options
from kindasync.cli._main import Settings
from kindasync.cli._running import run


def version_line() -> str:
    """What `kindasync --version` prints."""
    from kindasync import __version__

    return f"kindasync version {__version__}"


@click.command("version")
@_options.output
@click.pass_obj
def version(settings: Settings, output: str | None) -> None:
    """Print the version; with -o json also the default node image, present or not, and its Kubernetes version."""
    from kindasync import __version__

    if output:
        click.echo(json.dumps({"version": __version__, "python": platform.python_version(), **_default_image()}))
    elif settings.quiet:
        click.echo(__version__)
    else:
        click.echo(f"kindasync v{__version__} python{platform.python_version()} {platform.system().lower()}/{platform.machine()}")


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
