"""What pages say in Python and no other test runs, as it stands there: only names that somebody may use are others."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
import yaml

from kindasync import Cluster
from kindasync.node import PausedNode
from kindasync.testing._api_server import CERTIFICATE
from tests.pages import ROOT, blocks, module

pytestmark = pytest.mark.anyio
WORKER = {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "nodes": [{"role": "control-plane"}, {"role": "worker"}]}


def block(page: str, number: int, **others: str) -> str:
    """A block of Python, with other names in quotation marks."""
    text = blocks(ROOT / f"docs/{page}.md", "python")[number]
    for name, other in others.items():
        assert f'"{name}"' in text
        text = text.replace(f'"{name}"', f'"{other}"')
    return module(text)


def names_of(text: str) -> dict[str, Any]:
    """What a block defines."""
    names: dict[str, Any] = {}
    exec(text, names)
    return names


async def test_a_power_cut() -> None:
    """The node is Ready afterwards."""
    async with Cluster.running(WORKER) as cluster:
        (worker,) = [node for node in cluster.nodes if node.role == "worker"]

        await names_of(block("index", 3))["around"](worker)

        await cluster.wait_for(f"node/{worker.name}", "condition=Ready", timeout_s=10)


async def test_a_hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The node trusts the authority before it boots."""
    (tmp_path / "ours.crt").write_text(CERTIFICATE)
    monkeypatch.chdir(tmp_path)
    names = names_of(block("custom-image", 0))
    hook, seen = names["trust_our_ca"], []

    async def trust_our_ca(node: PausedNode) -> None:
        await hook(node)
        seen.append((await node.exec(["cat", "/etc/ssl/certs/ours.pem"])).text)

    names["trust_our_ca"] = trust_our_ca
    await names["work"]()

    assert seen == [CERTIFICATE]


async def test_clusters_for_a_suite(name: str, tmp_path: Path) -> None:
    """Two of them, for both workers; none is left."""
    fixtures = block("many", 1, blue=f"{name}-blue", green=f"{name}-green")
    tests = "\n\ndef test_one(blue, green):\n    assert blue.name != green.name\n\n\ntest_other = test_one\n"
    (tmp_path / "test_clusters.py").write_text(fixtures + tests)

    result = await anyio.run_process(
        [sys.executable, "-m", "pytest", "-n", "2", str(tmp_path)], cwd=tmp_path, check=False, stderr=subprocess.STDOUT
    )

    assert b"2 passed" in result.stdout, result.stdout.decode()
    assert [each for each in await Cluster.list() if each.startswith(name)] == []


async def test_for_testcontainers(app: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """An app of one's own, from the Engine's image to the address that it is reached by."""
    labels = {"app": "app"}
    serve = "mkdir /www && echo hello >/www/index.html && exec busybox httpd -f -p 80 -h /www"
    container = {"name": "app", "image": app, "command": ["busybox", "sh", "-c", serve.replace("mkdir", "busybox mkdir")]}
    pods = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    documents = [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "app"},
            "spec": {"selector": {"matchLabels": labels}, "template": pods},
        },
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "app"}, "spec": {"selector": labels, "ports": [{"port": 80}]}},
    ]
    (tmp_path / "app.yaml").write_text(yaml.safe_dump_all(documents))
    monkeypatch.chdir(tmp_path)

    await anyio.to_thread.run_sync(partial(names_of, block("migrating", 0, **{"app:1": app})))

    assert capfd.readouterr().out.startswith("http://127.0.0.1:")
