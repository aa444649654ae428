"""Node images that are not kindasync's own."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import AsyncIterator

import pytest

from kindasync import Cluster, Engine, events
from kindasync.cluster._images import default_reference
from kindasync.docker import Connection
from kindasync.docker._engine import Call
from kindasync.docker.images import image_load, image_remove
from kindasync.docker.system import system_info
from kindasync.errors import ClusterError

pytestmark = pytest.mark.anyio
REFERENCE = "kindasync-tests/laid-out-as-upstream:v1"


@pytest.fixture
async def upstream(anyio_backend: str) -> AsyncIterator[str]:
    """Our node image with nothing declared: no label, an entrypoint that boots at once, as `kindest/node` images have them.

    Its layers are in the Engine, so the archive has none.
    """
    async with Engine.of(None).connect() as connection:
        reference = await default_reference(connection, await system_info(connection))
        await image_load(connection, await without_labels(connection, reference))
        yield REFERENCE
        await image_remove(connection, REFERENCE)


async def without_labels(connection: Connection, reference: str) -> AsyncIterator[bytes]:
    """An archive of one image: that of `reference` with nothing but its entrypoint and environment."""
    inspected = await connection.request_json(Call("ImageInspect", "GET", f"/images/{reference}/json", reference))
    image = {
        "architecture": inspected["Architecture"],
        "os": inspected["Os"],
        "config": {key: inspected["Config"][key] for key in ("Entrypoint", "Env", "StopSignal")},
        "rootfs": {"type": "layers", "diff_ids": inspected["RootFS"]["Layers"]},
    }
    layers = [f"{number}/layer.tar" for number, _ in enumerate(inspected["RootFS"]["Layers"])]
    manifest = [{"Config": "config.json", "RepoTags": [REFERENCE], "Layers": layers}]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, document in (("config.json", image), ("manifest.json", manifest)):
            data = json.dumps(document).encode()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))

    async def chunks() -> AsyncIterator[bytes]:
        yield buffer.getvalue()

    return chunks()


async def test_an_image_that_boots_at_once(upstream: str, name: str) -> None:
    """It is watched for the lines that kind waits for, and made a cluster of by one whole `kubeadm init`."""
    seen: list[events.Event] = []

    async with Cluster.running(name=name, image=upstream, on_event=seen.append) as cluster, cluster.client() as api:
        from kubernetes_asyncio.client import CoreV1Api

        (node,) = (await CoreV1Api(api).list_node()).items

    assert {condition.type: condition.status for condition in node.status.conditions}["Ready"] == "True"
    assert not [event for event in seen if isinstance(event, events.NodePaused)]
    assert [event for event in seen if isinstance(event, events.RuntimeReady)]


async def test_hooks_need_a_node_that_pauses(upstream: str, name: str) -> None:
    """Said before anything is made."""

    async def hook(_: object) -> None:
        raise AssertionError("there is no paused node")

    with pytest.raises(ClusterError, match="does not pause") as caught:
        await Cluster.create(name, image=upstream, before_boot=[hook])

    assert "kindasync build node-image" in caught.value.hint
    assert name not in await Cluster.list()
