"""Containers: a node image that is built in containers, of images that the Engine pulls from a registry, as where an Engine is all there is.

    nox -s containers [-- 1.36] [--cache DIRECTORY]

What plays the parts of debian:trixie and golang:… is made here, by mmdebstrap, and pushed to a registry on the loopback: the way of a build
is the same, whoever made the images. All is compiled anew, unless a cache is named. Then it is compared with what this machine's own tools
make, and tried on a cluster.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import anyio

from kindasync import Engine
from kindasync.build import Options, build
from kindasync.build._build import plan_of
from kindasync.build._debian import mirror, mmdebstrap_argv
from kindasync.build._pins import Pins
from kindasync.build._store import pieces
from kindasync.build._workshop import Here
from kindasync.docker import Connection
from kindasync.docker.archives import read_archive
from kindasync.docker.containers import ContainerSpec, container_temporary
from kindasync.docker.images import image_import, image_inspect, image_push, image_remove
from kindasync.docker.system import native_architecture
from kindasync.errors import NotFound
from tests.cluster import versions
from tests.engine.lab import untar
from tests.engine.registry import registry

CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")  # whom this machine trusts: what stands between it and registries is among them
DEBIAN_PACKAGES = ("apt",)
GO_PACKAGES = ("ca-certificates", "gcc", "git", "golang-go", "libc6-dev")
HERE, IN_CONTAINERS = "kindasync-containers/node:here", "kindasync-containers/node:in-containers"
REMOVED_S = 60.0
SBOM = "/usr/share/sbom/node-image.spdx.json"


def main() -> None:
    """Build, compare, try; print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("minor", nargs="?", metavar="MINOR", help="(default: the newest)")
    parser.add_argument("--cache", type=Path, help="keep what is built in this directory (default: a temporary one)")
    options = parser.parse_args()
    with TemporaryDirectory(dir="/var/tmp", prefix="kindasync-containers-") as scratch:
        anyio.run(tried, options.minor, options.cache or Path(scratch) / "cache", Path(scratch))


async def tried(minor: str | None, cache: Path, scratch: Path) -> None:
    """Raises: AssertionError, naming what is not as it should be; KindasyncError."""
    pins = plan_of(Options(minor=minor), default_architecture=native_architecture()).pins
    async with (
        Engine.of(None).connect() as connection,
        registry() as served,
        in_registry(connection, f"{served.host}/debian:{pins.debian_suite}", pins, DEBIAN_PACKAGES, scratch) as base_image,
        in_registry(connection, f"{served.host}/golang:{pins.debian_suite}", pins, GO_PACKAGES, scratch) as go_image,
        removed(connection, HERE, IN_CONTAINERS),
    ):
        options = Options(minor=minor, reference=IN_CONTAINERS, base_image=base_image, go_image=go_image)
        with patch.dict(os.environ, XDG_CACHE_HOME=str(cache)):
            print(f"building {pins.kubernetes} in containers …", flush=True)
            began = time.monotonic()
            await build(options)
            print(f"built in {time.monotonic() - began:.0f} s", flush=True)
        await check_labels(connection, options)
        print("building it by this machine's tools …", flush=True)
        await build(Options(minor=minor, reference=HERE))
        made, expected = await contents(connection, IN_CONTAINERS), await contents(connection, HERE)
        assert made == expected, f"only one way of building has these: {sorted(made ^ expected)}"
        print(versions.table([await versions.tried(options, pins.kubernetes)]))


@asynccontextmanager
async def in_registry(connection: Connection, reference: str, pins: Pins, packages: Sequence[str], scratch: Path) -> AsyncIterator[str]:
    """A minimal Debian with some packages as an image that a registry has, and the Engine not yet; what the Engine pulls is removed."""
    print(f"making {reference} …", flush=True)
    trusted = f'mkdir -p "$1{CERTIFICATES.parent}" && cp {CERTIFICATES} "$1{CERTIFICATES}"'
    argv = mmdebstrap_argv(
        pins.debian_suite, packages, "{out}/root.tar", architecture=pins.architecture.name, hook=trusted, mirror_uri=mirror()
    )
    with_manuals = [part for part in argv if not part.startswith("--dpkgopt")]  # as Debian's own image
    await Here(Path(), scratch).run(f"make {reference}", with_manuals, env={}, on_line=print)
    await image_import(connection, pieces(scratch / "root.tar"), reference, changes=("ENV GOTOOLCHAIN=local",))  # as Go's own
    async with removed(connection, reference):
        await image_push(connection, reference)
        await image_remove(connection, reference)
        yield reference


@asynccontextmanager
async def removed(connection: Connection, *references: str) -> AsyncIterator[None]:
    """In the end, the Engine has no such images."""
    try:
        yield
    finally:
        with anyio.move_on_after(REMOVED_S, shield=True):
            for reference in references:
                with suppress(NotFound):
                    await image_remove(connection, reference)


async def check_labels(connection: Connection, options: Options) -> None:
    """The image says by what it was made: the images of the build are inputs, too."""
    plan = plan_of(options, default_architecture=native_architecture())
    labels = (await image_inspect(connection, plan.reference)).labels
    found = {name: labels.get(f"kindasync.{name}") for name in ("contract", "image", "key", "kubernetes")}
    assert found == {"contract": "1", "image": "node", "key": plan.node_key, "kubernetes": plan.pins.kubernetes}, f"its labels are {labels}"


async def contents(connection: Connection, image: str) -> set[str]:
    """What an image is made of, by its SBOM: Go modules with their versions, and Debian packages, which may be newer than in a build of last week."""
    async with container_temporary(connection, ContainerSpec(image=image, labels={"kindasync.build": "contents"})) as container:
        ((_, sbom),) = untar(await read_archive(connection, container, SBOM)).items()
    urls = {package["externalRefs"][0]["referenceLocator"] for package in json.loads(sbom)["packages"]}
    return {url.partition("@")[0] if url.startswith("pkg:deb/") else url for url in urls}


if __name__ == "__main__":
    main()
