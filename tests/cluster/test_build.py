"""The node image that is there, as a file and in a registry: nothing of it is compiled again."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

from kindasync import Cluster
from kindasync.build import Options
from kindasync.build._build import _cache_dir, plan_of
from kindasync.build._steps import Cache, Plan
from kindasync.docker import Connection
from kindasync.docker.images import image_create, image_inspect, image_list, image_remove
from kindasync.docker.system import system_info
from tests import pages
from tests.cluster.conftest import run_cli
from tests.cluster.containers import removed
from tests.cluster.test_registries import upstream

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

LINES = [
    line.partition("#")[0].strip()
    for page, number in (("node-image", 0), ("custom-image", 1))
    for line in pages.typed(pages.blocks(pages.ROOT / f"docs/{page}.md", "console")[number])
]  # what pages say to type


async def test_output_and_push(cluster: Cluster, tmp_path: Path) -> None:
    """The file is an OCI layout with what the contract promises; what was pushed is the same image when it is pulled."""
    (line,) = (line for line in LINES if "--output" in line and "--push" in line)
    async with cluster.engine.connect() as connection, upstream(connection) as host, removed(connection, f"{host}/node:v1.37.2"):
        plan = await built_here(connection)
        *words, reference = line.replace("registry.example", host).split()
        ran = await anyio.to_thread.run_sync(lambda: run_cli(*words[1:], reference, "--events", "json", cwd=tmp_path))
        assert ran.returncode == 0, ran.stderr
        layout = read_layout(tmp_path / "node.tar")
        (tmp_path / "node.tar").unlink()
        await image_remove(connection, reference)
        await image_create(connection, reference)
        pulled, there = await image_inspect(connection, reference), await image_inspect(connection, plan.reference)

    steps = {event["step"]: event["cached"] for event in map(json.loads, ran.stdout.splitlines()) if event["event"] == "BuildStepEnded"}
    assert set(steps.values()) == {True}, steps
    labels = {
        "kindasync.contract": "1",
        "kindasync.image": "node",
        "kindasync.key": plan.node_key,
        "kindasync.kubernetes": plan.pins.kubernetes,
    }
    assert labels.items() <= layout["Labels"].items(), layout
    assert (layout["Entrypoint"], layout["StopSignal"]) == (["/usr/local/bin/entrypoint"], "SIGRTMIN+3")
    assert pulled.id == there.id


@pytest.mark.parametrize("line", [line for line in LINES if "--push" not in line or "--kubernetes" in line])
async def test_other_builds(cluster: Cluster, tmp_path: Path, line: str) -> None:
    """Of what would be compiled for a quarter of an hour, or from images that registries have, what would be done."""
    dry = ["--dry-run"] if "--kubernetes" in line or "--base-image" in line else []
    async with cluster.engine.connect() as connection:
        await built_here(connection)

    ran = await anyio.to_thread.run_sync(lambda: run_cli(*line.split()[1:], *dry, cwd=tmp_path))

    assert ran.returncode == 0, ran.stderr


async def built_here(connection: Connection) -> Plan:
    """The plan of the image that is there. Where another machine has built it, or this one in containers, there is none."""
    plan = plan_of(Options(), default_architecture=(await system_info(connection)).architecture)
    cache = Cache(_cache_dir())
    if not (
        await image_list(connection, labels={"kindasync.key": plan.node_key})
        and all(cache.entry(name, key).exists() for name, key in plan.keys.items())
    ):
        pytest.skip(f"{plan.reference} was not built by this machine's tools, and would be now")
    return plan


def read_layout(archive: Path) -> Any:
    """The configuration of the one image of an OCI layout, of which all blobs are there."""
    with tarfile.open(archive) as tar:

        def document(name: str) -> Any:
            file = tar.extractfile(name)
            assert file
            return json.load(file)

        def blob(descriptor: Any) -> str:
            name = f"blobs/{descriptor['digest'].replace(':', '/')}"
            assert tar.getmember(name).size == descriptor["size"]
            return name

        assert document("oci-layout") == {"imageLayoutVersion": "1.0.0"}
        (image,) = document("index.json")["manifests"]
        manifest = document(blob(image))
        assert [blob(layer) for layer in manifest["layers"]]
        return document(blob(manifest["config"]))["config"]
