"""An image archive that is no node's yet: for preloading and loading."""

from __future__ import annotations

import os
from pathlib import Path

from kindasync import Engine
from kindasync.build._oci import ImageRecord, Layer, LayerWriter, write_archive
from kindasync.cluster._images import default_reference
from kindasync.docker.archives import read_archive
from kindasync.docker.containers import ContainerSpec, container_create, container_remove
from kindasync.docker.system import system_info
from kindasync.node._files import only_file

REFERENCE = "docker.io/kindasync-tests/preloaded:1"


async def write_image_archive(path: Path, *, reference: str = REFERENCE, padding_bytes: int = 24 * 1024 * 1024) -> None:
    """An archive of one image with a shell; made bigger, and another than all before, by bytes that cannot be compressed."""
    async with Engine.of(None).connect() as connection:
        facts = await system_info(connection)
        container = await container_create(connection, "", ContainerSpec(image=await default_reference(connection, facts)))
        try:
            busybox = only_file(await read_archive(connection, container, "/kind/rootfs/usr/bin/busybox"))
        finally:
            await container_remove(connection, container)
    layer = path.with_suffix(".layer")
    with LayerWriter(layer) as files:
        files.add_bytes("bin/busybox", busybox, mode=0o755)
        files.add_symlink("bin/sh", "busybox")
        files.add_bytes("padding", os.urandom(padding_bytes))
    write_archive(
        path, [ImageRecord(reference=reference, architecture=facts.architecture, layers=(Layer.of(layer),), config={"Cmd": ["/bin/sh"]})]
    )
    layer.unlink()
