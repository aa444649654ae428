"""The node image, from its sources: the steps in their order, each done once per content key."""

from __future__ import annotations

import errno
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

from kindasync._shielded import undoing
from kindasync.build import _go, _layers, _sbom
from kindasync.build._debian import make_root
from kindasync.build._oci import ImageRecord, Layer, write_archive
from kindasync.build._steps import Cache, Plan
from kindasync.build._store import make_store, pieces
from kindasync.build._workshop import Here, InContainer, OnLine, Workshop
from kindasync.docker import Connection
from kindasync.docker.images import image_list, image_load, image_remove, image_tag
from kindasync.errors import BuildFailed, Conflict, EngineError
from kindasync.events import BuildOutput, BuildStepEnded, BuildStepStarted, Bus

_READABLE = {
    "debian": "Debian base system",
    "containerd": "containerd",
    "storage": "storage provisioner",
    "registry": "registry",
    "kube": "Kubernetes",
    "base": "base image",
    "node": "node image",
}
_PROGRAMS = ("containerd", "storage", "registry", "kube")
_FROM_DEBIAN = ("debian", "base", "node")
NEEDS_GB = 3  # of the cache, while a node image is built
_AGAIN = "the same again goes on with this step"


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Images of container builds: one with Go and a C compiler, and one of the Debian suite. Both None: this machine's own tools."""

    base: str | None = None
    go: str | None = None


class Builder:
    """Builds one plan with one Engine."""

    def __init__(self, connection: Connection, plan: Plan, cache: Cache, bus: Bus, images: Images, *, anew: bool = False) -> None:
        self._connection = connection
        self._plan = plan
        self._cache = cache
        self._bus = bus
        self._images = images
        self._anew = anew  # also what is in the cache, where new Debian packages could make it another

    async def build(self) -> Path:
        """Build what is missing; the archive of the node image, in the cache."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._step, "debian", self._debian)
            tasks.start_soon(self._program_steps)
        await self._step("base", self._base)
        await self._step("node", self._node)
        self._cache.forget_unused()
        return self._made("node")

    async def _program_steps(self) -> None:
        for name in _PROGRAMS:  # one after the other: each uses all cores
            await self._step(name, partial(self._program, name))

    async def _step(self, name: str, make: Callable[[Path, OnLine], Awaitable[None]]) -> None:
        """Have `make` make the entry of a step, unless it is in the cache."""
        readable, key, began = _READABLE[name], self._plan.keys[name], self._bus.elapsed_s()
        with _named(f"build {readable}", self._cache.root):
            cached = self._cache.has(name, key) and not (self._anew and name in _FROM_DEBIAN)
            if not cached:
                self._bus.emit(BuildStepStarted(step=readable))
                count = 0

                def on_line(line: str) -> None:
                    nonlocal count
                    count += 1
                    self._bus.emit(BuildOutput(subject=readable, line=line, current=count, unit="lines"))

                with self._cache.scratch(name) as scratch:
                    await make(scratch, on_line)
                    self._cache.store(scratch, name, key)
        self._bus.emit(BuildStepEnded(step=readable, duration_s=self._bus.elapsed_s() - began, cached=cached))

    def _made(self, name: str) -> Path:
        return self._cache.entry(name, self._plan.keys[name])

    async def _debian(self, out: Path, on_line: OnLine) -> None:
        pins, sources = self._plan.pins, self._plan.sources
        plugins = " ".join(pins.cni_plugins)
        if not self._images.base:
            hook = f"'{sources}/base/customize' \"$1\" '{sources}/base' '{plugins}'"
            await make_root(pins.debian_suite, pins.debian_packages, out, architecture=pins.architecture.name, hook=hook, on_line=on_line)
            return
        async with InContainer.opened(
            self._connection, self._images.base, sources, labels={"kindasync.build": "debian"}, on_line=on_line
        ) as workshop:
            argv = ["{sources}/base/install", " ".join(pins.debian_packages), plugins]
            await workshop.run("install the base's packages", argv, env={}, on_line=on_line)
            await workshop.take_root(out)

    async def _program(self, name: str, out: Path, on_line: OnLine) -> None:
        async with self._workshop(out, on_line) as (workshop, env):
            await workshop.run(
                f"build {_READABLE[name]}",
                ["{sources}/build-program", name, "{out}"],
                env={**self._plan.program_env, **env},
                on_line=on_line,
            )
            await workshop.take(out)

    @asynccontextmanager
    async def _workshop(self, out: Path, on_line: OnLine) -> AsyncIterator[tuple[Workshop, dict[str, str]]]:
        sources = self._plan.sources
        if self._images.go:
            async with InContainer.opened(
                self._connection, self._images.go, sources, labels={"kindasync.build": "go"}, on_line=on_line
            ) as workshop:
                yield workshop, {"GOTOOLCHAIN": "auto"}  # Go's images say "local": they would not fetch the patch that a go.mod asks for
        else:
            if not shutil.which(self._plan.pins.architecture.cc):
                packages = " ".join(self._plan.pins.architecture.cc_packages)
                raise BuildFailed(
                    "build the pause program", f"there is no {self._plan.pins.architecture.cc}", "", hint=f"apt-get install {packages}"
                )
            env = await _go.environment(self._cache, self._plan.pins, on_line=on_line)
            yield Here(sources, out), env

    async def _base(self, out: Path, on_line: OnLine) -> None:
        await anyio.to_thread.run_sync(write_archive, out, [await self._base_record()])

    async def _base_record(self) -> ImageRecord:
        layers = await self._layers(self._made("debian"), await self._containerd_layer())
        return ImageRecord(
            reference=f"docker.io/{self._plan.base_reference}",
            architecture=self._plan.pins.architecture.name,
            layers=layers,
            config=_layers.base_config(self._plan),
        )

    async def _containerd_layer(self) -> Path:
        """The base's second layer; the node image has it, too, when the base was made long before."""
        key = self._plan.keys["base"]
        if not self._cache.has("containerd-layer", key):
            with self._cache.scratch("containerd-layer") as layer:
                await anyio.to_thread.run_sync(_layers.write_containerd_layer, layer, self._made("containerd"))
                self._cache.store(layer, "containerd-layer", key)
        return self._cache.entry("containerd-layer", key)

    async def _node(self, out: Path, on_line: OnLine) -> None:
        plan = self._plan
        with ExitStack() as stack:
            components, component_layer, node_layer, store, store_layer = (
                stack.enter_context(self._cache.scratch(name))
                for name in ("components", "component-layer", "node-layer", "store", "store-layer")
            )
            kube, storage, registry = self._made("kube"), self._made("storage"), self._made("registry")
            on_line("writing the layer of the component images")
            await anyio.to_thread.run_sync(
                partial(_layers.write_component_layer, component_layer, plan, debian=self._made("debian"), kube=kube, storage=storage)
            )
            (layer,) = await self._layers(component_layer)
            await anyio.to_thread.run_sync(write_archive, components, list(_layers.component_images(plan, layer)))
            on_line("unpacking them with containerd")
            await image_load(self._connection, pieces(self._made("base")))
            async with undoing(partial(image_remove, self._connection, plan.base_reference), f"image {plan.base_reference} stays"):
                await make_store(self._connection, plan.base_reference, plan.sources / "store", components, store, on_line=on_line)
            on_line("writing the node's layers")
            programs = [self._made(name) for name in _PROGRAMS]
            sbom = await anyio.to_thread.run_sync(partial(_sbom.document, plan, debian_root=self._made("debian"), programs=programs))
            await anyio.to_thread.run_sync(
                partial(
                    _layers.write_node_layer,
                    node_layer,
                    plan,
                    component_layer=component_layer,
                    kube=kube,
                    storage=storage,
                    registry=registry,
                    sbom=sbom,
                )
            )
            await anyio.to_thread.run_sync(_layers.write_store_layer, store_layer, store)
            base = await self._base_record()
            layers = (*base.layers, *await self._layers(node_layer, store_layer))
            reference, config = _with_registry(plan.reference), _layers.node_config(plan)
            record = ImageRecord(reference=reference, architecture=base.architecture, layers=layers, config=config)
            await anyio.to_thread.run_sync(write_archive, out, [record])

    async def _layers(self, *paths: Path) -> tuple[Layer, ...]:
        return tuple([await anyio.to_thread.run_sync(Layer.of, path) for path in paths])


@contextmanager
def _named(step: str, cache: Path) -> Iterator[None]:
    """Name the step in what the Engine refuses in it, and in what this machine does: a full disk, first of all."""
    try:
        yield
    except EngineError as error:
        hint = error.hint or "see that the Engine runs, and reaches the registries of images that it does not have"
        why = f"{error.what}: {error.why}" if error.why else error.what
        raise BuildFailed(step, why, error.evidence, hint=f"{hint}; {_AGAIN}") from error
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = (
            f"free some {NEEDS_GB} GB where the cache is, {cache}, or have it elsewhere (XDG_CACHE_HOME)"
            if full
            else f"see that this user may read what is built from, and write in the cache, {cache}"
        )
        raise BuildFailed(step, str(error), "", hint=f"{hint}; {_AGAIN}") from error


async def find_built(connection: Connection, plan: Plan) -> str | None:
    """The reference under which the Engine has the image of this plan already; tagged as the plan says if it was not."""
    for image in await image_list(connection, labels={"kindasync.key": plan.node_key}):
        if plan.reference not in image.tags:
            await image_tag(connection, image.id, plan.reference)
        return plan.reference
    return None


async def load(connection: Connection, archive: Path, plan: Plan) -> None:
    """Load a built archive into the Engine, under the plan's reference. An image that had it, and now has none, is removed if nothing uses it."""
    before = {image.id for image in await image_list(connection, reference=plan.reference)}
    await image_load(connection, pieces(archive))
    await find_built(connection, plan)
    for image in await image_list(connection, labels={"kindasync.image": "node"}):
        if image.id in before and not image.tags:
            with suppress(Conflict):  # of nodes that still run
                await image_remove(connection, image.id)


def _with_registry(reference: str) -> str:
    """The full form that containerd wants: docker.io/ unless the first part is a host."""
    first, slash, _ = reference.partition("/")
    return reference if slash and ("." in first or ":" in first or first == "localhost") else f"docker.io/{reference}"
