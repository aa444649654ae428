"""Building the node image, as a caller asks for it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread

from kindasync._delivering import delivering
from kindasync.build import _pins, _sources, _steps
from kindasync.build._node_image import Builder, Images, find_built, load
from kindasync.docker import Connection, Engine
from kindasync.docker._client_config import stored_auth
from kindasync.docker.images import image_push, image_tag
from kindasync.docker.system import system_info
from kindasync.errors import KindasyncError
from kindasync.events import Bus, Callback


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to build. `minor` None: the default; its pinned version stands for it, too; `architecture` None: the Engine's; images None: with this machine's tools."""

    minor: str | None = None
    architecture: str | None = None
    reference: str = ""
    base_image: str | None = None
    go_image: str | None = None
    output: Path | None = None
    push: str | None = None
    force: bool = False


def plan_of(options: Options, *, default_architecture: str) -> _steps.Plan:
    """What `options` come to, before anything is made. Raises: KindasyncError for a minor or architecture without pins."""
    sources = _sources.directory()
    pins = _pins.read(sources, minor=options.minor, architecture=options.architecture or default_architecture)
    return _steps.plan(pins, sources, reference=options.reference, base_image=options.base_image or "")


def dry_run_text(options: Options, *, default_architecture: str) -> str:
    """What would be built, for people."""
    plan = plan_of(options, default_architecture=default_architecture)
    pins, cache = plan.pins, _steps.Cache(_cache_dir())
    lines = [
        f"image      {plan.reference} (key {plan.node_key}, {pins.architecture.name})",
        f"kubernetes {pins.kubernetes}, etcd {pins.etcd}, CoreDNS {pins.coredns}, containerd {pins.containerd}, Debian {pins.debian_suite}",
        f"sources    {plan.sources}",
        f"cache      {cache.root}",
    ]
    lines += [
        f"step       {name:<10} {key} {'cached' if cache.entry(name, key).exists() else 'to be made'}" for name, key in plan.keys.items()
    ]
    return "\n".join(lines)


async def build(options: Options, *, engine: Engine | str | None = None, on_event: Callback | Bus | None = None) -> str:
    """Build the node image, unless one with the same inputs is in the Engine; its reference.

    Raises: BuildFailed for a step, with the last lines that it printed, or what the Engine or this machine had against it; EngineError
    beside the steps; KindasyncError for what cannot be built here, and for an `output` that cannot be written.
    Cancellation: ends running programs and containers; steps that ended stay in the cache.
    """
    from kindasync.errors import one_error

    with one_error():
        async with delivering(Bus(), on_event) as bus, Engine.of(engine).connect() as connection:
            return await _build(options, connection, bus)


async def _build(options: Options, connection: Connection, bus: Bus) -> str:
    native = (await system_info(connection)).architecture
    plan = plan_of(options, default_architecture=native)
    if plan.pins.architecture.name != native:
        raise KindasyncError(
            f"cannot build an image for {plan.pins.architecture.name} with this Engine",
            why=f"the Engine is {native}, and a step of the build runs the image's containerd",
            hint=f"use an Engine on {plan.pins.architecture.name} (DOCKER_HOST)",
        )
    if options.force or options.output or not await find_built(connection, plan):
        cache = _steps.Cache(_cache_dir())
        builder = Builder(connection, plan, cache, bus, Images(base=options.base_image, go=options.go_image), anew=options.force)
        archive = await builder.build()
        if options.output:
            await _copy(archive, options.output)
        if options.force or not await find_built(connection, plan):
            await load(connection, archive, plan)
    if options.push:
        await image_tag(connection, plan.reference, options.push)
        await image_push(connection, options.push, auth=stored_auth(options.push))
    return plan.reference


async def _copy(archive: Path, output: Path) -> None:
    try:
        await anyio.to_thread.run_sync(shutil.copyfile, archive, output)
    except OSError as error:
        hint = "see that its directory is there, writable, and has room; the image is built: the same again only writes it"
        raise KindasyncError(f"cannot write {output}", why=error.strerror or str(error), hint=hint) from error


def _cache_dir() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("kindasync") / "build"
