"""Finished: the mark on nodes whose run has ended well, and which outlive its process: no crashed run has left them.

That has to be found in the Engine, by another process, when the one that made the nodes has ended: the command's does so right
after its success. Labels cannot be changed once a container is made, and a network or volume as a mark would outlive the
nodes, for the kind program to leave behind; so it is a file. It names the run, as a container's files may become an image's
(`docker commit`); and every node gets it, as any may be removed from the cluster later. One that has it says so of its run.
"""

from __future__ import annotations

from collections.abc import Iterable

from kindasync.cluster._lookup import is_node
from kindasync.cluster._names import RUN_LABEL
from kindasync.cluster._run import Run
from kindasync.cluster._together import together
from kindasync.docker import Connection
from kindasync.docker.archives import path_stat, put_archive
from kindasync.docker.containers import Container
from kindasync.errors import NotFound, StepFailed
from kindasync.node._files import tar_of


def _path(run: str) -> str:
    return f"/kind/finished/{run}"


async def finish(run: Run, containers: Iterable[Container]) -> None:
    """Mark the nodes among a run's containers. Raises: StepFailed."""

    async def mark(container: Container) -> None:
        await put_archive(run.connection, container.id, "/", tar_of({_path(run.id): ""}))

    step = "mark the nodes as finished"
    with run.step(step):
        if failures := await together(filter(is_node, containers), mark):
            raise StepFailed(step, run.cluster, [error for _, error in failures])


async def is_finished(connection: Connection, container: Container) -> bool:
    """Whether a container's run has marked it. One that is gone is not."""
    try:
        await path_stat(connection, container.id, _path(container.labels[RUN_LABEL]))
    except NotFound:
        return False
    return True
