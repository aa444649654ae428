"""kindasync load."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from kindasync.cli import _options
from kindasync.cli._progress import Progress, with_progress
from kindasync.cli._running import run

_nodes = click.option(
    "--nodes", multiple=True, shell_complete=_options.complete_nodes, help="Names of nodes, separated by commas, instead of all."
)


def _load_image(progress: Progress, images: tuple[str, ...], name: str, nodes: tuple[str, ...]) -> None:
    """Load images that the Docker Engine has into nodes. Nodes that have them already are left alone.

    \b
    kindasync load {command} app:1
    kindasync load {command} app:1 db:2 --name ci --nodes ci-worker
    """
    from kindasync.cluster._cluster import load_image

    with progress.of(f'Loading {", ".join(images)} into cluster "{name}" …') as on_event:
        run(lambda: load_image(name, images, nodes=_split(nodes), on_event=on_event))


def _load_archive(progress: Progress, archives: tuple[Path, ...], name: str, nodes: tuple[str, ...]) -> None:
    """Load the images of archives into nodes: tar files of docker save, or of an OCI layout.

    \b
    kindasync load {command} app.tar
    kindasync load {command} app.tar --name ci
    """
    from kindasync.cluster._cluster import load_archive

    async def operation() -> None:
        for archive in archives:
            await load_archive(name, archive, nodes=_split(nodes), on_event=on_event)

    with progress.of(f'Loading {", ".join(map(str, archives))} into cluster "{name}" …') as on_event:
        run(operation)


def _split(lists: tuple[str, ...]) -> list[str] | None:
    return [name.strip() for name in ",".join(lists).split(",") if name.strip()] or None


def _command(name: str, argument: Callable[[Any], Any], callback: Callable[..., None]) -> click.Command:
    decorated = argument(_options.name(_nodes(with_progress(callback))))
    return click.command(name, help=str(callback.__doc__).format(command=name))(decorated)


_images = click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
_archives = click.argument(
    "archives", metavar="ARCHIVE...", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
load_image = _command("image", _images, _load_image)
load_archive = _command("archive", _archives, _load_archive)
load_docker_image = _command("docker-image", _images, _load_image)
load_image_archive = _command("image-archive", _archives, _load_archive)
