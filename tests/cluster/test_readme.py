"""What the README says, and guides that are about commands, run."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import anyio.to_thread
import pytest
import yaml

from kindasync import Cluster
from kindasync.docker.containers import container_inspect
from kindasync.testing._api_server import CERTIFICATE
from tests import pages
from tests.cluster.conftest import BUSYBOX, run_cli
from tests.pages import ROOT, typed

pytestmark = pytest.mark.anyio
blocks = partial(pages.blocks, pages.README)


@pytest.fixture(autouse=True)
def own_default(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another default name than "kind": somebody may have a cluster of that."""
    monkeypatch.setenv("KIND_CLUSTER_NAME", name)


async def test_the_first_commands(own_home: Path) -> None:
    """create and delete, without any option."""
    commands = [line.split("#")[0].split() for line in typed(blocks("console")[0])]
    assert [command[0] for command in commands] == ["pip", "kindasync", "kindasync"]

    results = [await anyio.to_thread.run_sync(partial(run_cli, *command[1:])) for command in commands[1:]]

    assert [result.returncode for result in results] == [0, 0], [result.stderr for result in results]


async def test_the_first_program(tmp_path: Path) -> None:
    """The example prints the cluster's one node."""
    script = tmp_path / "example.py"
    script.write_text(blocks("python")[0])

    result = await anyio.run_process([sys.executable, str(script)], stderr=subprocess.STDOUT, check=False)

    assert result.returncode == 0, result.stdout.decode()
    assert "-control-plane v" in result.stdout.decode()


async def test_the_first_test(tmp_path: Path) -> None:
    """The example passes."""
    (tmp_path / "test_example.py").write_text(blocks("python")[1])

    result = await anyio.run_process([sys.executable, "-m", "pytest", "-q", str(tmp_path)], cwd=tmp_path, check=False)

    assert b"1 passed" in result.stdout, result.stdout.decode()


async def test_the_example_of_the_docs(tmp_path: Path) -> None:
    """One cluster for tests of all kinds."""
    shutil.copy(ROOT / "docs/example/test_kind_cluster.py", tmp_path)
    options = ["-q", "-o", "asyncio_mode=strict", "-o", "asyncio_default_fixture_loop_scope=function"]

    result = await anyio.run_process([sys.executable, "-m", "pytest", *options, str(tmp_path)], cwd=tmp_path, check=False)

    assert b"3 passed" in result.stdout, result.stdout.decode()


async def test_the_quickstart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the checkout: it ends with a page from a pod, also when it is run again, at once, and after a delete."""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))  # not that of who runs this: it has a current context

    async def quickstart() -> None:
        result = await anyio.run_process([str(ROOT / "scripts/quickstart"), "--yes"], check=False, stderr=subprocess.STDOUT)
        assert result.returncode == 0, result.stdout.decode()
        assert b"Hello from a pod!" in result.stdout

    try:
        await quickstart()
        await quickstart()
        assert run_cli("delete", "cluster").returncode == 0
        await quickstart()
    finally:
        deleted = run_cli("delete", "cluster")

    assert deleted.returncode == 0, deleted.stderr


async def run(lines: Sequence[str], directory: Path, **env: str) -> str:
    """What a shell prints that runs all of them, as long as each succeeds; the programs are those of this Python."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    result = await anyio.run_process(
        ["sh", "-euc", "\n".join(lines)], cwd=directory, env={**os.environ, "PATH": path, **env}, stderr=subprocess.STDOUT, check=False
    )
    assert result.returncode == 0, result.stdout.decode()
    return result.stdout.decode()


@pytest.mark.parametrize("number", [0, 1], ids=["GitHub", "GitLab"])
async def test_what_ci_runs(number: int, tmp_path: Path) -> None:
    """The jobs of the guide, but for what installs, with a suite of one test."""
    (tmp_path / "test_example.py").write_text(blocks("python")[1])
    job = yaml.safe_load(pages.blocks(ROOT / "docs/ci.md", "yaml")[number])

    lines = [line for line in pages.scripts(job) if not line.startswith("pip install ")]

    assert len(lines) == 1
    assert "1 passed" in await run(lines, tmp_path)


async def test_the_tutorial(name: str, tmp_path: Path) -> None:
    """Its commands, but for what installs, one after the other; with another name than "pytest", which somebody may use."""
    python, conftest = pages.blocks(ROOT / "docs/tutorial.md", "python")
    _, commands = pages.blocks(ROOT / "docs/tutorial.md", "console")
    (tmp_path / "test_web.py").write_text(python)
    (tmp_path / "conftest.py").write_text(conftest)
    lines = [line.replace("--name pytest", f"--name {name}") for line in typed(commands)]

    printed = await run(lines, tmp_path, PYTEST_ADDOPTS=f"--kind-name {name}")

    assert printed.count("1 passed") == 2
    assert "kube-system" in printed


async def test_one_control_plane_of_three_is_gone(tmp_path: Path) -> None:
    """The guide's test."""
    (tmp_path / "test_example.py").write_text(*pages.blocks(ROOT / "docs/restarts.md", "python"))

    assert "1 passed" in await run(["pytest"], tmp_path)


OPERATOR = f"""
apiVersion: v1
kind: Namespace
metadata: {{name: operator}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: operator, namespace: operator}}
spec:
  selector: {{matchLabels: {{app: operator}}}}
  template:
    metadata: {{labels: {{app: operator}}}}
    spec: {{containers: [{{name: operator, image: "{BUSYBOX}", imagePullPolicy: Never, command: [sleep, infinity]}}]}}
"""
USES = """

@pytest.mark.anyio
@pytest.mark.parametrize("number", [1, 2])
async def test_a_new_one(CLUSTER, number):
    async with CLUSTER.client() as api:
        from kubernetes_asyncio.client import CoreV1Api
        await CoreV1Api(api).create_namespace({"metadata": {"name": "mine"}})
    await CLUSTER.wait_for("EXPECTED", "exists", timeout_s=30)
"""


async def test_resets_between_tests(tmp_path: Path) -> None:
    """The guide's fixtures: each test makes what could not be made twice."""
    as_created, installed = pages.blocks(ROOT / "docs/reset.md", "python")
    (tmp_path / "operator.yaml").write_text(OPERATOR)
    (tmp_path / "test_as_created.py").write_text(as_created + USES.replace("CLUSTER", "kind_cluster").replace("EXPECTED", "namespace/mine"))
    (tmp_path / "test_installed.py").write_text(installed + USES.replace("CLUSTER", "cluster").replace("EXPECTED", "namespace/operator"))

    assert "4 passed" in await run(["pytest"], tmp_path)


# -- what is typed on other pages, the docker client's commands among it


needs_docker = pytest.mark.skipif(not shutil.which("docker"), reason="no docker client on this machine")


@needs_docker
async def test_a_registry(app: str, name: str, tmp_path: Path, own_home: Path) -> None:
    """What is pushed runs; tools find it; of the caches only volumes are left. With a port and caches that nobody else has."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    others = {"5001": port, "app:1": app, "registry-1.docker.io": f"{name}.test", "docker.io": f"{name}.test", ".example": f".{name}.test"}
    page = ROOT / "docs/registries.md"

    def own(text: str) -> str:
        for its, ours in others.items():
            text = text.replace(its, ours)
        return text

    (tmp_path / "registries.yaml").write_text(own(pages.blocks(page, "yaml")[0]))
    (push, look, volumes) = (typed(own(block)) for block in pages.blocks(page, "console"))
    pulled = "kindasync kubectl wait pod/app --for=jsonpath='{.status.containerStatuses[0].imageID}' --timeout=60s"
    try:
        await run(["kindasync create cluster --config registries.yaml", *push, pulled], tmp_path)
        assert f"localhost:{port}" in await run(look, tmp_path)
        await run(["kindasync delete cluster"], tmp_path)
        printed = await run(volumes, tmp_path)
    finally:
        leave = f"docker image rm localhost:{port}/{app}; docker volume rm kindasync-cache-registry.internal.{name}.test_8443"
        await run(["kindasync delete cluster", leave], tmp_path)

    assert f"kindasync-cache-{name}.test" in printed


@needs_docker
async def test_an_image_of_ones_own(cluster: Cluster, name: str, tmp_path: Path, own_home: Path) -> None:
    """Built on top of ours: its node trusts one authority more."""
    page = ROOT / "docs/custom-image.md"
    (dockerfile,) = pages.blocks(page, "dockerfile")
    async with cluster.engine.connect() as connection:
        ours = (await container_inspect(connection, cluster.nodes[0].id)).image
    (tmp_path / "Dockerfile").write_text(re.sub("(?m)^FROM .*", f"FROM {ours}", dockerfile))
    (tmp_path / "ours.crt").write_text(CERTIFICATE)
    lines = typed(pages.blocks(page, "console")[0].replace("registry.example", name))
    try:
        printed = await run([*lines, "kindasync exec -- cat /etc/ssl/certs/ours.pem"], tmp_path)
    finally:
        await run(["kindasync delete cluster", f"docker image rm {name}/node:v1.37.2"], tmp_path)

    assert printed.endswith(CERTIFICATE)


async def test_kindasyncs_own_document(archive: Path, name: str, tmp_path: Path, own_home: Path) -> None:
    """A cluster of it, one node more, and what it says of both; with a network and a host port that nobody else has."""
    document, node = pages.blocks(ROOT / "docs/config.md", "yaml")
    (tmp_path / "build").mkdir()
    (tmp_path / "build/app.tar").symlink_to(archive)
    (tmp_path / "demo.yaml").write_text(document.replace("name: demo", f"name: {name}"))
    (tmp_path / "node.yaml").write_text(node.replace("hostPort: 8080", "hostPort: 0"))
    look = "kindasync kubectl get nodes --selector tier=db --output name"
    hosts = f"kindasync exec --node {name}-worker -- grep registry.example.com /etc/hosts"
    try:
        printed = await run(["kindasync create cluster --config demo.yaml", "kindasync add node --config node.yaml", look, hosts], tmp_path)
    finally:
        await run(["kindasync delete cluster"], tmp_path)

    assert f"node/{name}-worker2\n" in printed
    assert "10.0.0.5" in printed
