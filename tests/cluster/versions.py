"""Versions: every Kubernetes minor that is pinned, built, and tried on a cluster of one control plane and one worker.

    nox -s versions [-- 1.36 1.35] [--kind] [--json record.json]

Images come from the cache where their inputs have not changed. --kind: the kind program makes a cluster of each image, too.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import tomllib
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

import anyio
import anyio.to_thread
from kubernetes_asyncio.client import CoreV1Api, VersionApi

from kindasync import Cluster, Engine, events
from kindasync.build import Options, build
from kindasync.build._sources import directory
from kindasync.docker.images import image_inspect
from kindasync.errors import KindasyncError
from kindasync.events import Event
from tests.cluster.conftest import pod, pod_ends, pod_is
from tests.cluster.kind_program import kind_config, kind_program

SHAPE = {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "nodes": [{"role": "control-plane"}, {"role": "worker"}]}
SERVE = "mkdir /www && hostname >/www/index.html && exec httpd -f -p 8080 -h /www"
ASK = "for i in 1 2 3 4 5 6 7 8; do wget -q -O - -T 2 http://web.default.svc.cluster.local 2>/dev/null && exit 0; sleep 1; done; exit 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one minor's image and cluster took. `kind_s` None: the kind program was not asked."""

    kubernetes: str
    image: str
    image_mb: float
    build_s: float
    create_s: float
    service_s: float
    delete_s: float
    kind_s: float | None


def main() -> None:
    """Run all, print a table; the exit code is 1 if a minor fails."""
    pins = tomllib.loads((directory() / "pins.toml").read_text())["kubernetes"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("minors", nargs="*", default=sorted(pins), choices=sorted(pins), metavar="MINOR", help="(default: all)")
    parser.add_argument("--kind", action="store_true", help="the kind program, too")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    record: list[Figures] = []
    failures: list[str] = []
    for minor in options.minors:
        try:
            record.append(anyio.run(tried, Options(minor=minor), pins[minor]["version"], options.kind))
        except (AssertionError, KindasyncError) as error:
            failures.append(f"{minor}: {error}")
            print(f"{minor}: {error}", flush=True)
    print(table(record))
    if options.json:
        options.json.write_text(json.dumps([asdict(each) for each in record], indent=1))
    sys.exit(1 if failures else 0)


async def tried(options: Options, version: str, kind: bool = False) -> Figures:
    """Build the image of a minor, and try it. Raises: AssertionError, naming what is not as it should be; KindasyncError."""
    print(f"{version}: building …", flush=True)
    began = time.monotonic()
    image = await build(options)
    build_s = time.monotonic() - began
    async with Engine.of(None).connect() as connection:
        size_bytes = (await image_inspect(connection, image)).size_bytes

    print(f"{version}: a cluster of {image} …", flush=True)
    seen: list[Event] = []

    async def keep(event: Event) -> None:
        seen.append(event)

    began = time.monotonic()
    cluster = await Cluster.create(f"versions-{token_hex(3)}", config=SHAPE, image=image, on_event=keep)
    create_s = time.monotonic() - began
    try:
        warned = [event.message for event in seen if isinstance(event, events.Warned)]
        paused = [event.node for event in seen if isinstance(event, events.NodePaused)]
        assert not warned, f"creation warned: {warned}"
        assert len(paused) == 2, f"of two nodes only these paused before their boot: {paused}"
        await check_versions(cluster, version)
        await check_images(cluster)
        service_s = await check_service(cluster)
        await check_nothing_was_pulled(cluster)
    finally:
        began = time.monotonic()
        await cluster.delete()
    return Figures(
        kubernetes=version,
        image=image,
        image_mb=round(size_bytes / 1e6),
        build_s=round(build_s, 1),
        create_s=round(create_s, 2),
        service_s=round(service_s, 2),
        delete_s=round(time.monotonic() - began, 2),
        kind_s=await with_kind(image, version) if kind else None,
    )


async def check_versions(cluster: Cluster, version: str) -> None:
    """The API server and every kubelet are of the version; every node is Ready."""
    async with cluster.client() as api:
        server = (await VersionApi(api).get_code()).git_version
        nodes = (await CoreV1Api(api).list_node()).items
    assert server == version, f"the API server says that it is {server}"
    for node in nodes:
        ready = {condition.type: condition.status for condition in node.status.conditions}["Ready"]
        assert ready == "True", f"node {node.metadata.name} is not Ready"
        kubelet = node.status.node_info.kubelet_version
        assert kubelet == version, f"the kubelet of node {node.metadata.name} says that it is {kubelet}"


async def check_images(cluster: Cluster) -> None:
    """Every image that this kubeadm asks for is in the node under that name."""
    node = cluster.nodes[0]
    asked = (await node.exec(["kubeadm", "config", "images", "list", "--config=/kind/kubeadm.conf"])).text.split()
    there = (await node.exec(["ctr", "--namespace=k8s.io", "images", "list", "--quiet"])).text.split()
    missing = sorted(set(asked) - set(there))
    assert asked, "kubeadm names no images"
    assert not missing, f"kubeadm asks for images that the node does not have: {missing}"


async def check_service(cluster: Cluster) -> float:
    """A page from a pod of one node, fetched in a pod of the other by the name of its Service: DNS, kube-proxy, pod network. How long it took."""
    service: Any = {"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}}
    here, there = (node.name for node in cluster.nodes)
    began = time.monotonic()
    async with cluster.client() as api:
        core = CoreV1Api(api)
        await core.create_namespaced_service("default", service)
        await core.create_namespaced_pod("default", pod("web", ["sh", "-c", SERVE], nodeName=here))
        await pod_is(core, "default", "web", lambda status: status.phase == "Running")
        await core.create_namespaced_pod("default", pod("asks", ["sh", "-c", ASK], nodeName=there))
        phase, output = await pod_ends(core, "default", "asks")
    assert (phase, output) == ("Succeeded", "web\n"), f"the page of a Service was not had by its name: {phase}, {output!r}"
    return time.monotonic() - began


async def check_nothing_was_pulled(cluster: Cluster) -> None:
    """All pods run, from images that were there."""
    async with cluster.client() as api:
        core = CoreV1Api(api)
        for each in (await core.list_namespaced_pod("kube-system")).items:
            await pod_is(
                core, "kube-system", each.metadata.name, lambda status: all(one.ready for one in status.container_statuses or [None])
            )
        pulls = (await core.list_event_for_all_namespaces(field_selector="reason=Pulling")).items
    assert not pulls, f"images were pulled: {[event.message for event in pulls]}"


async def with_kind(image: str, version: str) -> float:
    """The kind program makes a cluster of the image, waits until it is Ready, and deletes it. How long the creation took."""
    print(f"{version}: a cluster by the kind program …", flush=True)
    name, config = f"versions-{token_hex(3)}", await kind_config()
    command = [str(kind_program()), "create", "cluster", "--name", name, "--image", image, "--config", "-", "--wait", "120s"]
    began = time.monotonic()
    try:
        created = await anyio.to_thread.run_sync(lambda: subprocess.run(command, input=config, capture_output=True, text=True, check=False))
        assert created.returncode == 0, f"kind failed: {created.stderr}"
        assert "Ready after" in created.stderr, f"kind's cluster is not Ready: {created.stderr}"
        took_s = time.monotonic() - began
        await check_versions(await Cluster.get(name), version)
    finally:
        with suppress(KindasyncError):
            await (await Cluster.get(name)).delete()
    return round(took_s, 2)


def table(record: list[Figures]) -> str:
    """The figures, for people."""
    lines = [f"\n{'Kubernetes':<11} {'image':>8} {'build':>9} {'create 1+1':>11} {'Service':>9} {'delete':>8} {'kind 1+0':>9}"]
    for each in record:
        kind = f"{each.kind_s:>7.2f} s" if each.kind_s is not None else f"{'-':>9}"
        lines.append(
            f"{each.kubernetes:<11} {each.image_mb:>5.0f} MB {each.build_s:>7.1f} s {each.create_s:>9.2f} s {each.service_s:>7.2f} s {each.delete_s:>6.2f} s {kind}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
