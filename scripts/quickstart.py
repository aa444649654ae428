"""The quickstart: a cluster with a published port, and a page from a pod in it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import anyio
import host
from kubernetes_asyncio.client import CoreV1Api

from kindasync import Cluster, Engine
from kindasync.docker.system import system_info
from kindasync.errors import KindasyncError, NodeError

NAME = os.environ.get("KIND_CLUSTER_NAME") or "kind"
NODE_PORT = 30080
POD: Any = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "hello", "labels": {"app": "hello"}},
    "spec": {
        "terminationGracePeriodSeconds": 0,
        "containers": [
            {
                "name": "hello",
                "image": "docker.io/kindasync/busybox:trixie",  # preloaded in the node image
                "imagePullPolicy": "Never",
                "command": ["sh", "-c", "mkdir /www && echo 'Hello from a pod!' >/www/index.html && exec httpd -f -p 8080 -h /www"],
            }
        ],
    },
}
SERVICE: Any = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "hello"},
    "spec": {"type": "NodePort", "selector": {"app": "hello"}, "ports": [{"port": 8080, "nodePort": NODE_PORT}]},
}
PAGE_S = 60.0


def config(publish_address: str) -> str:
    """A cluster whose node publishes one port; where, kindasync decides."""
    return f"""\
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes:
- role: control-plane
  extraPortMappings:
  - {{containerPort: {NODE_PORT}, listenAddress: "{publish_address}"}}
"""


async def publish_address() -> str:
    """The address to publish on, so that this machine reaches it."""
    async with Engine.of(None).connect() as connection:
        return (await system_info(connection)).publish_address


async def say_hello() -> str:
    """Start the pod, unless it is there; the URL of its page. Raises: KindasyncError for a cluster that was not made here."""
    cluster = await Cluster.get(NAME)
    try:
        address = await cluster.nodes[0].published(NODE_PORT)
    except NodeError as error:
        raise KindasyncError(
            f'the cluster "{NAME}" that is there cannot show the page; nothing was put into it',
            why=error.what,
            hint=f"use another name: KIND_CLUSTER_NAME=hello scripts/quickstart\nor delete it: .venv/bin/kindasync delete cluster --name {NAME}",
        ) from error
    async with cluster.client() as api:
        core = CoreV1Api(api)
        if not (await core.list_namespaced_pod("default", label_selector="app=hello")).items:
            await core.create_namespaced_pod("default", POD)
            await core.create_namespaced_service("default", SERVICE)
    return f"http://{address}/"


def fetch(url: str) -> str:
    """The page, as soon as the pod serves it."""
    deadline = time.monotonic() + PAGE_S
    while True:
        try:
            with urlopen(url, timeout=2) as page:
                return str(page.read().decode().strip())
        except (URLError, OSError) as error:
            if time.monotonic() > deadline:
                sys.exit(f"ERROR: no page from {url} within {PAGE_S:g} s: {error}")
            time.sleep(0.1)


def main() -> None:
    """Everything, from a machine without Docker to the page."""
    host.main()
    if NAME not in anyio.run(Cluster.list):
        command = [str(Path(sys.executable).with_name("kindasync")), "create", "cluster", "--name", NAME, "--config", "-"]
        if subprocess.run(command, input=config(anyio.run(publish_address)), text=True, check=False).returncode:
            sys.exit(1)
    try:
        url = anyio.run(say_hello)
    except KindasyncError as error:
        sys.exit(f"ERROR: {error}")
    print(f"{fetch(url)}\n\nIt came from {url}, by way of cluster {NAME!r}. Next:\n")
    print(f"    .venv/bin/kindasync get nodes --name {NAME}\n    .venv/bin/kindasync delete cluster --name {NAME}")


if __name__ == "__main__":
    main()
