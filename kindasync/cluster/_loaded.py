"""Loaded: the images that a node has from preloads and loads, given to one that is added. What nodes pull, it can pull, too."""

from __future__ import annotations

import anyio

from kindasync.cluster._load import Failures, Load, spread
from kindasync.cluster._run import Run
from kindasync.docker.containers import Container
from kindasync.docker.execs import container_run
from kindasync.errors import one_error
from kindasync.node._containerd import CTR, exported


async def give_loaded_images(run: Run, source: Container, node: Container) -> None:
    """Load into a node what `source` was given, in one stream from one to the other. Raises: StepFailed; EngineError."""
    there: dict[str, frozenset[tuple[str, str]]] = {}

    async def look(each: Container) -> None:
        listed = await container_run(run.connection, each.name, [*CTR, "images", "check"])
        there[each.name] = complete(listed.text)

    with one_error():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(look, source)
            tasks.start_soon(look, node)
    missing = there[source.name] - there[node.name]
    if not missing:
        return
    references = tuple(sorted(reference for reference, _ in missing))
    load = Load(
        connection=run.connection,
        bus=run.bus,
        cluster=run.cluster,
        subject=f"the images of {source.name}",
        images=references,
    )
    failures = Failures(load)
    with one_error():
        await spread(load, exported(run.connection, source.name, references), [node], failures)
    failures.end()


def complete(listing: str) -> frozenset[tuple[str, str]]:
    """Of what `ctr images check` prints, the names and digests of images that are there with all their content.

    Those are the loaded ones: of an image that is pulled, or part of the node image, containerd keeps the unpacked layers only. Names
    that are IDs are containerd's own.
    """
    rows = [line.split() for line in listing.splitlines()[1:]]
    return frozenset((row[0], row[2]) for row in rows if len(row) > 3 and row[3] == "complete" and not row[0].startswith("sha256:"))
