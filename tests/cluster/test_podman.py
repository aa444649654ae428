"""On Podman's compatible socket: one node, all its life. Run by `nox -s podman`, as root, with a service and a storage of its own."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from kubernetes_asyncio.client import CoreV1Api

from kindasync import Cluster, Engine
from kindasync.cluster._images import default_reference
from kindasync.docker.images import image_get, image_load, image_tag
from kindasync.docker.system import system_info
from kindasync.errors import EngineUnreachable
from tests.cluster.archives import REFERENCE, write_image_archive
from tests.cluster.conftest import look, pod, pod_ends, run_cli

pytestmark = [pytest.mark.anyio, pytest.mark.podman, pytest.mark.timeout(600)]
UP_S = 20.0
APP = "docker.io/kindasync-tests/app:1"


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    """Podman's service on a socket; its URL. Everything that it keeps is gone afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="kindasync-podman-"))
    podman = [
        "podman", f"--root={directory}/storage", f"--runroot={directory}/run", f"--tmpdir={directory}/tmp",
        f"--network-config-dir={directory}/networks", "--network-backend=netavark",
    ]  # fmt: skip
    nofile, nproc = (resource.getrlimit(each)[1] for each in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC))
    # Where CAP_SYS_RESOURCE is missing, Podman's own default limits are more than it may set.
    limits = [f"nofile={nofile}:{nofile}", f"nproc={min(nproc, 32768)}:{min(nproc, 32768)}"]
    (directory / "containers.conf").write_text(f"[containers]\ndefault_ulimits = {limits}\n".replace("'", '"'))
    env = {**os.environ, "CONTAINERS_CONF": str(directory / "containers.conf")}
    url = f"unix://{directory}/socket"
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen([*podman, "system", "service", "--time=0", url], stdout=log, stderr=log, env=env)
        try:
            yield url
        finally:
            process.terminate()
            process.wait(30)
            subprocess.run([*podman, "rm", "--all", "--force", "--volumes"], check=False, env=env)
            subprocess.run(["umount", "--quiet", f"{directory}/storage/overlay"], check=False)
            shutil.rmtree(directory)


@pytest.fixture
async def podman(service: str, own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Podman, with the node image of the Docker Engine and another image; for this test what the environment names."""
    archive = tmp_path / "image.tar"
    await write_image_archive(archive, padding_bytes=1024)
    with anyio.fail_after(UP_S):
        while True:
            try:
                async with Engine.of(service).connect() as there, Engine.of(None).connect() as here:
                    reference = await default_reference(here, await system_info(here))
                    async with image_get(here, (reference,)) as pieces:
                        await image_load(there, pieces)
                    await image_load(there, _whole(archive))
                    await image_tag(there, REFERENCE, APP)
                break
            except EngineUnreachable:  # it tells nobody when it listens
                await anyio.sleep(0.1)
    monkeypatch.setenv("DOCKER_HOST", service)
    return Engine.of(service)


async def _whole(path: Path) -> AsyncIterator[bytes]:
    yield path.read_bytes()


async def test_a_single_node(podman: Engine, own_home: Path, name: str, tmp_path: Path) -> None:
    """Created on the command line, an image loaded and run, logs exported, stopped, started, deleted: nothing is left."""
    before = await look(own_home)

    async def cli(*arguments: str) -> str:
        ran = await anyio.to_thread.run_sync(lambda: run_cli(*arguments))
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    await cli("create", "cluster", "--name", name, "--wait", "5m")
    assert await cli("get", "nodes", "--name", name) == f"{name}-control-plane\n"
    await cli("load", "image", APP, "--name", name)
    async with (await Cluster.get(name)).client() as api:
        core = CoreV1Api(api)
        script = "nslookup kubernetes.default.svc.cluster.local >/dev/null && echo here"
        await core.create_namespaced_pod("default", pod("app", ["sh", "-c", script], container={"image": APP}))
        assert await pod_ends(core, "default", "app") == ("Succeeded", "here\n")
    assert await cli("export", "logs", str(tmp_path / "logs"), "--name", name) == f"{tmp_path / 'logs'}\n"
    await cli("stop", "--name", name)
    await cli("start", "--name", name)
    await cli("delete", "cluster", "--name", name)

    after = await look(own_home)
    assert (after.containers, after.networks, after.volumes) == (before.containers, before.networks, before.volumes)
    assert name not in after.kubeconfig
