"""Marks: files in the nodes of a run, by which other processes find out in the Engine alone how far that has come.

They are needed when the process that made the nodes has ended: the command's does so right after its success. Labels cannot be
changed once a container is made, and a network or volume as a mark would outlive the nodes, for the kind program to leave behind; so
it is a file, which the Engine takes and shows also while the node is frozen. It names the run, as a container's files may become an image's
(`docker commit`); and every node gets it, as any may be removed from the cluster later. One that has it says so of its run.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from kindasync.cluster._lookup import is_node
from kindasync.cluster._names import RUN_LABEL
from kindasync.cluster._together import all_together
from kindasync.docker import Connection
from kindasync.docker.archives import path_stat, put_archive
from kindasync.docker.containers import Container
from kindasync.errors import NotFound
from kindasync.node._files import tar_of


class Mark(StrEnum):
    """What a mark says of a run."""

    FINISHED = "finished"
    """It has ended well, and its nodes outlive its process: no crashed run has left them."""
    CLAIMED = "claimed"
    """Somebody has claimed its cluster from a pool, and uses it."""


def _path(mark: Mark, container: Container) -> str:
    return f"/kind/{mark}/{container.labels[RUN_LABEL]}"


async def put_marks(connection: Connection, cluster: str, containers: Iterable[Container], mark: Mark) -> None:
    """Mark the nodes among a run's containers. Raises: StepFailed."""

    async def put(container: Container) -> None:
        await put_archive(connection, container.id, "/", tar_of({_path(mark, container): ""}))

    await all_together(f"mark the nodes as {mark}", cluster, filter(is_node, containers), put)


async def has_mark(connection: Connection, container: Container, mark: Mark) -> bool:
    """Whether a container's run has marked it. One that is gone is not."""
    try:
        await path_stat(connection, container.id, _path(mark, container))
    except NotFound:
        return False
    return True
