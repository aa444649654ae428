"""kindasync build."""

from __future__ import annotations

from pathlib import Path

import click

from kindasync.cli._progress import Progress, with_progress
from kindasync.cli._running import run


@click.command("node-image")
@click.argument("version", required=False)
@click.option("--type", type=click.Choice(["release"]), expose_value=False, help="What VERSION is. Of source only the kind program builds.")
@click.option("--kubernetes", "minor", metavar="MINOR", help="The Kubernetes minor, such as 1.36. [default: the newest pinned]")
@click.option("--arch", "architecture", help="The architecture, such as amd64. [default: the Engine's]")
@click.option("--image", "reference", default="", metavar="REF", help="The name of the result. [default: kindasync/node:VERSION]")
@click.option(
    "--base-image", metavar="REF", help="Make the base in a container of this Debian image, instead of by mmdebstrap on this machine."
)
@click.option(
    "--go-image", metavar="REF", help="Compile in a container of this image, which has Go and a C compiler, instead of on this machine."
)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Also write the image as an OCI archive.")
@click.option("--push", metavar="REF", help="Also push the image, under this name.")
@click.option("--force", is_flag=True, help="Build even if an image with the same inputs is there, from fresh Debian packages.")
@click.option("--dry-run", is_flag=True, help="Print what would be built, and from what; build nothing.")
@with_progress
def build_node_image(
    progress: Progress,
    version: str | None,
    minor: str | None,
    architecture: str | None,
    reference: str,
    base_image: str | None,
    go_image: str | None,
    output: Path | None,
    push: str | None,
    force: bool,
    dry_run: bool,
) -> None:
    """Build the node image, from Debian packages and Go modules; of Kubernetes VERSION, if it is one of those pinned.

    Needs, on this machine, mmdebstrap, a C compiler and Go (or Debian's package sources, to fetch one); with --base-image and
    --go-image nothing but an Engine. What was built before from the same inputs is not built again.

    \b
    kindasync build node-image
    kindasync build node-image --kubernetes 1.36 --output node.tar
    kindasync build node-image --type release v1.37.2
    kindasync build node-image --base-image debian:trixie --go-image golang:1.26
    """
    if version and minor:
        raise click.UsageError("give either VERSION or --kubernetes")
    from kindasync.build import Options, build, dry_run_text
    from kindasync.docker.system import native_architecture

    options = Options(
        minor=version or minor,
        architecture=architecture,
        reference=reference,
        base_image=base_image,
        go_image=go_image,
        output=output,
        push=push,
        force=force,
    )
    if dry_run:
        if progress.as_json:
            raise click.UsageError("--dry-run does nothing of which there could be --events")
        click.echo(dry_run_text(options, default_architecture=native_architecture()))
        return
    with progress.of("Building the node image …") as on_event:
        built = run(lambda: build(options, on_event=on_event))
    click.echo(built, err=progress.as_json)
