"""Load: images of the Engine, or of an archive, into the containerd of running nodes, in one stream and without a file in between."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from kindasync.cluster._lookup import existing_members, is_node, states_of
from kindasync.docker import Connection
from kindasync.docker.containers import Container
from kindasync.docker.execs import container_run
from kindasync.docker.images import Image, image_get, image_inspect
from kindasync.docker.system import EngineFacts, system_info
from kindasync.errors import ClusterError, ExecFailed, KindasyncError, NotFound, StepFailed
from kindasync.events import Bus, LoadProgress, NodeLoaded, Warned
from kindasync.events import StepFailed as StepFailedEvent
from kindasync.node._containerd import CTR, import_archive

if TYPE_CHECKING:
    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

AHEAD = 8  # pieces of the stream that a node may be ahead of the slowest
_REPORT_BYTES = 1024 * 1024
_BLOCK_BYTES = 256 * 1024
Source = AbstractAsyncContextManager[AsyncIterator[bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One load, as its steps know it. `subject` is what is loaded, in words; `images` its references; `total_bytes` None: not known before."""

    connection: Connection
    bus: Bus
    cluster: str
    subject: str
    images: tuple[str, ...]
    total_bytes: int | None = None
    digests: bool = False

    @property
    def step(self) -> str:
        return f"load {self.subject} into nodes"

    def loaded(self, node: Container, since: float, *, skipped: bool = False) -> None:
        duration_s = self.bus.elapsed_s() - since
        self.bus.emit(NodeLoaded(cluster=self.cluster, node=node.name, images=self.images, skipped=skipped, duration_s=duration_s))


class Failures:
    """What went wrong, node by node. One node's failure is no reason for the others to end."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._errors: list[KindasyncError] = []

    def note(self, node: Container, error: KindasyncError) -> None:
        load = self._load
        load.bus.emit(StepFailedEvent(cluster=load.cluster, node=node.name, step=load.step, error=str(error)))
        self._errors.append(error)

    def end(self) -> None:
        """Raises: StepFailed, if there are any."""
        if self._errors:
            raise StepFailed(self._load.step, self._load.cluster, self._errors) from self._errors[0]


async def load_images(connection: Connection, bus: Bus, cluster: str, references: Sequence[str], nodes: Sequence[str] | None) -> None:
    """Load images of the Engine, all in one export, into those nodes that lack one of them.

    Raises: ClusterNotFound; ClusterError for images that the Engine does not have, and for nodes that are not there, before
    anything is loaded; StepFailed with what failed in some nodes, after the others are through.
    """
    if not references:
        raise ClusterError("there is nothing to load", hint="name at least one image")
    references = tuple(dict.fromkeys(references))
    containers = await chosen(connection, bus, cluster, nodes)
    images = await known(connection, references)
    facts = await system_info(connection)
    for warning in misgivings(images, facts.architecture):
        bus.emit(Warned(cluster=cluster, message=warning))
    named = all(is_named(reference, image) for reference, image in images.items())
    load = Load(connection=connection, bus=bus, cluster=cluster, subject=", ".join(references), images=tuple(references), digests=not named)
    failures = Failures(load)
    lacking: list[Container] = []

    async def look(node: Container) -> None:
        began = bus.elapsed_s()
        try:
            names = names_to_give(images, await held(connection, node, facts))
            if names is None:
                lacking.append(node)
                return
            for name, handle in names.items():
                await container_run(connection, node.name, [*CTR, "images", "tag", "--force", handle, name])
            load.loaded(node, began, skipped=True)
        except (ExecFailed, ValueError):  # it cannot say what it has, or not give it another name
            lacking.append(node)
        except KindasyncError as error:
            failures.note(node, error)

    async with anyio.create_task_group() as tasks:
        for node in containers:
            tasks.start_soon(look, node)
    if lacking:
        export = image_get(connection, tuple(references), platform=f"linux/{facts.architecture}")
        await spread(load, export, lacking, failures)
    failures.end()


def misgivings(images: Mapping[str, Image], architecture: str) -> Iterator[str]:
    """What may surprise pods that ask for an image, although it is loaded."""
    for reference, image in images.items():
        if image.architecture not in ("", architecture):
            yield f"{reference} is for {image.architecture}, and the nodes are {architecture}"
        if "@" in reference:
            yield f"pods cannot ask for {reference}: an image has no such digest outside a registry; load it by a tag"


async def load_archive(connection: Connection, bus: Bus, cluster: str, archive: Path, nodes: Sequence[str] | None) -> None:
    """Load an archive (docker or OCI layout, compressed or not), a file or a pipe, into nodes.

    Raises: OSError for a file that cannot be read; ClusterNotFound; ClusterError for nodes that are not there; StepFailed as `load_images`.
    """
    containers = await chosen(connection, bus, cluster, nodes)
    async with await anyio.open_file(archive, "rb") as file:
        total = None
        if file.wrapped.seekable():
            total = await file.seek(0, 2)
            await file.seek(0)
        load = Load(
            connection=connection,
            bus=bus,
            cluster=cluster,
            subject=archive.name,
            images=(archive.name,),
            total_bytes=total,
            digests=True,
        )
        failures = Failures(load)
        await spread(load, _blocks(file), containers, failures)
    failures.end()


@asynccontextmanager
async def _blocks(file: anyio.AsyncFile[bytes]) -> AsyncIterator[AsyncIterator[bytes]]:
    async def blocks() -> AsyncIterator[bytes]:
        while block := await file.read(_BLOCK_BYTES):
            yield block

    yield blocks()


async def chosen(connection: Connection, bus: Bus, cluster: str, names: Sequence[str] | None) -> tuple[Container, ...]:
    """The cluster's nodes of those names; None: all that run, and a Warned of the others.

    Raises: ClusterNotFound; ClusterError for names that none has, if one of them does not run, and if none does.
    """
    there = [each for each in await existing_members(connection, cluster) if is_node(each)]
    if not any(each.state == "running" for each in there):
        raise ClusterError(f'no node of cluster "{cluster}" runs', why=states_of(there), hint=f"kindasync start --name {cluster}")
    unknown = [name for name in names or () if name not in {each.name for each in there}]
    if unknown:
        raise ClusterError(
            f'cluster "{cluster}" has no node {", ".join(unknown)}', why=f"there are: {', '.join(each.name for each in there)}"
        )
    meant = [each for each in there if names is None or each.name in names]
    resting = [each for each in meant if each.state != "running"]
    if resting and names is not None:
        named = ", ".join(each.name for each in resting)
        raise ClusterError(f"nothing can be loaded into {named}", why=states_of(resting), hint=f"kindasync start --name {cluster}")
    for each in resting:
        bus.emit(Warned(cluster=cluster, node=each.name, message=f"node {each.name} is {each.state}: nothing is loaded into it"))
    return tuple(each for each in meant if each not in resting)


async def known(connection: Connection, references: Sequence[str]) -> dict[str, Image]:
    """The images, by what they were asked for. Raises: ClusterError that names all which the Engine does not have."""
    images: dict[str, Image] = {}
    for reference in references:
        try:
            images[reference] = await image_inspect(connection, reference)
        except NotFound:
            continue
    unknown = [reference for reference in references if reference not in images]
    if unknown:
        noun = "image" if len(unknown) == 1 else "images"
        raise ClusterError(
            f"the Engine does not have the {noun} {', '.join(unknown)}",
            why="nothing was loaded",
            hint="build or pull first, or look for a mistake in the name",
        )
    return images


# -- what a node has


def normalised(reference: str) -> str:
    """A reference as containerd has it: app -> docker.io/library/app:latest. Source: distribution/reference, "familiar names"."""
    name, at, digest = reference.partition("@")
    domain, slash, rest = name.partition("/")
    if not slash or not ("." in domain or ":" in domain or domain == "localhost" or domain != domain.lower()):
        domain, rest = "docker.io", name
    if domain in ("docker.io", "index.docker.io"):
        domain, rest = "docker.io", rest if "/" in rest else f"library/{rest}"
    if not at and ":" not in rest.rpartition("/")[2]:
        rest += ":latest"
    return f"{domain}/{rest}{at}{digest}"


def is_named(reference: str, image: Image) -> bool:
    """Whether the image was asked for by a tag: its export has that then; by an ID or digest, no name at all."""
    return normalised(reference) in {normalised(tag) for tag in image.tags}


@dataclass(frozen=True, slots=True)
class Held:
    """An image in a node. `id` as the Engine says it; `name` is empty for one that has none; `handle` is what ctr knows it by."""

    name: str
    id: str
    handle: str


async def held(connection: Connection, node: Container, facts: EngineFacts) -> list[Held]:
    """What a node has. Raises: ExecFailed; ValueError if it cannot say.

    An image's ID is the digest of its configuration where the Engine has its classic store, and that of its manifest or index
    where it has containerd's: the node is asked for the same.
    """
    if facts.containerd_store:
        listed = await container_run(connection, node.name, [*CTR, "images", "list"])
        rows = [fields for line in listed.text.splitlines()[1:] if len(fields := line.split()) > 2]
        return [Held(fields[0], fields[2], fields[0]) for fields in rows]
    listed = await container_run(connection, node.name, ["crictl", "images", "-o", "json"])
    images = json.loads(listed.text).get("images") or ()
    return [Held(tag, image["id"], image["id"]) for image in images for tag in (*(image.get("repoTags") or ()), "")]


def names_to_give(images: dict[str, Image], has: Sequence[Held]) -> dict[str, str] | None:
    """The names that a node lacks for images that it has, and what it knows those by; None if it lacks an image."""
    handles = {each.id: each.handle for each in has}
    if any(image.id not in handles for image in images.values()):
        return None
    there = {(each.name, each.id) for each in has}
    named = {normalised(reference): image.id for reference, image in images.items() if is_named(reference, image)}
    return {name: handles[image_id] for name, image_id in named.items() if (name, image_id) not in there}


# -- one stream into all of them


async def spread(load: Load, source: Source, nodes: Sequence[Container], failures: Failures) -> None:
    """Import what `source` gives in all nodes at once. The slowest sets the pace; one that fails drops out."""
    shares: list[MemoryObjectSendStream[bytes]] = []
    try:
        async with anyio.create_task_group() as tasks:
            for node in nodes:
                send, receive = anyio.create_memory_object_stream[bytes](AHEAD)
                shares.append(send)
                tasks.start_soon(_import_in, load, node, receive, failures)
            async with source as pieces:
                await _deal(pieces, shares)
            for share in shares:
                share.close()
    finally:
        for share in shares:  # only here, after the imports have ended: a source that fails is not the end of an archive
            share.close()


async def _deal(pieces: AsyncIterator[bytes], shares: list[MemoryObjectSendStream[bytes]]) -> None:
    """Give each piece to all of `shares` that are still read; the others are closed, and no longer among them."""
    async for piece in pieces:
        for share in tuple(shares):
            try:
                await share.send(piece)
            except anyio.BrokenResourceError:
                share.close()
                shares.remove(share)
        if not shares:
            return


async def _import_in(load: Load, node: Container, receive: MemoryObjectReceiveStream[bytes], failures: Failures) -> None:
    began = load.bus.elapsed_s()
    with receive:
        try:
            left = await import_archive(load.connection, node.name, _reported(load, node, receive), digests=load.digests)
        except KindasyncError as error:
            failures.note(node, error)
        else:
            load.loaded(node, began)
            if left:
                load.bus.emit(Warned(cluster=load.cluster, node=node.name, message=left))


async def _reported(load: Load, node: Container, receive: MemoryObjectReceiveStream[bytes]) -> AsyncIterator[bytes]:
    """A node's share of the stream; how much of it was taken is told by events."""
    taken = told = 0

    def tell() -> None:
        load.bus.emit(LoadProgress(cluster=load.cluster, node=node.name, subject=load.subject, current=taken, total=load.total_bytes))

    async for piece in receive:
        yield piece
        taken += len(piece)
        if taken - told >= _REPORT_BYTES:
            told = taken
            tell()
    tell()
