"""kindasync export logs."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from kindasync.cli import _options
from kindasync.cli._progress import Progress, with_progress
from kindasync.cli._running import run
from kindasync.errors import KindasyncError


@click.command("logs")
@click.argument("directory", required=False, type=click.Path(path_type=Path, file_okay=False))
@_options.name
@with_progress
def export_logs(progress: Progress, directory: Path | None, name: str) -> None:
    """Write the logs of a cluster's nodes into a directory, and print its name. Without one: into a new temporary one.

    \b
    kindasync export logs
    kindasync export logs ./logs --name ci
    """
    from kindasync.cluster._cluster import export_logs

    target = directory or Path(tempfile.mkdtemp(prefix="kindasync-logs-"))
    try:
        with progress.of(f'Exporting logs of cluster "{name}" …') as on_event:
            run(lambda: export_logs(name, target, on_event=on_event))
    except OSError as error:
        raise KindasyncError(
            f"cannot write all logs into {target}",
            why=error.strerror or str(error),
            hint="name a directory that can be made, where there is space",
        ) from error
    finally:
        if any(target.glob("*")):
            click.echo(target, err=progress.as_json)
        elif not directory:
            target.rmdir()
