"""One cluster of a single node: what its users do with its Kubernetes API, from Python."""

from __future__ import annotations

import asyncio
import os
import re
import ssl
import stat
import sys
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import pytest
from kubernetes_asyncio.client import VersionApi

from kindasync import Cluster, NotReady
from kindasync.errors import ClusterError, ExecFailed, StepFailed
from tests.cluster.conftest import BUSYBOX, fetch, pod

pytestmark = pytest.mark.anyio

NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
MANIFEST = """\
apiVersion: example.com/v1
kind: Widget
metadata: {name: first, namespace: shop}
spec: {size: 3}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {kind: Widget, plural: widgets, singular: widget, shortNames: [wd]}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer, maximum: 9}}}}}}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop}
"""
SLOW = r"""#!/bin/sh
sleep 2
printf 'Content-Type: text/plain\r\n\r\n'
head -c 3000000 /dev/zero
echo end
"""
SERVE = f"""
mkdir -p /www/cgi-bin
echo hello >/www/index.html
cat >/www/cgi-bin/slow <<'EOF'
{SLOW}EOF
chmod +x /www/cgi-bin/slow
exec httpd -f -p 8080 -h /www
"""


def deployment(name: str, script: str, *, image: str = BUSYBOX, replicas: int = 1) -> list[dict[str, Any]]:
    """A Deployment, and its Service, on port 80."""
    container = {
        "name": "main",
        "image": image,
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", script],
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
    }
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    ports = [{"name": "web", "port": 80, "targetPort": "http"}]
    return [
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"selector": labels, "ports": ports}},
    ]


@pytest.fixture(scope="module")
async def cluster(anyio_backend: str) -> AsyncIterator[Cluster]:
    """One for this file, with a web server, and a pod that only waits."""
    async with Cluster.running() as running:
        await running.apply([*deployment("web", SERVE), pod("idle", ["sleep", "infinity"])])
        await running.wait_for("deployment/web", "condition=Available")
        await running.wait_for("pod/idle", "condition=Ready")
        yield running


async def test_apply_wherever_objects_stand(cluster: Cluster) -> None:
    """A custom resource before its definition and its namespace; what is returned is as the API server has it."""
    widget, definition, namespace = await cluster.apply(MANIFEST)

    assert widget["spec"] == {"size": 3}
    assert definition["metadata"]["uid"]
    assert namespace["status"] == {"phase": "Active"}
    assert await cluster.wait_for("wd/first", "jsonpath={.spec.size}=3", namespace="shop")


async def test_apply_again_changes_what_is_there(cluster: Cluster) -> None:
    """Fields that are left out go; those of others stay. A pod at once in a new namespace is not refused."""
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"a": "1", "b": "2"}}
    first, _, _ = await cluster.apply([settings, NAMESPACE | {"metadata": {"name": "fresh"}}, pod("now", ["true"])], namespace="fresh")
    (second,) = await cluster.apply({**settings, "data": {"a": "3"}}, namespace="fresh")

    assert first["data"] == {"a": "1", "b": "2"}
    assert second["data"] == {"a": "3"}
    assert second["metadata"]["uid"] == first["metadata"]["uid"]


async def test_all_that_is_refused_is_named(cluster: Cluster) -> None:
    """Each with why; the rest is applied."""
    misspelt, service = deployment("bad", SERVE)
    misspelt["spec"]["replica"] = 3
    objects = [
        misspelt,
        service,
        {"apiVersion": "example.org/v1", "kind": "Gadget", "metadata": {"name": "x"}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "nowhere"}},
    ]

    with pytest.raises(StepFailed) as raised:
        await cluster.apply(objects)

    lines = str(raised.value).splitlines()
    assert "cannot apply 3 of 4 objects" in lines[0]
    assert ".spec.replica: field not declared in schema" in lines[1]
    assert lines[2].strip() == 'Gadget x is refused: the cluster knows no kind "Gadget" in example.org/v1'
    assert 'namespaces "nowhere" not found' in lines[3]
    assert await cluster.wait_for("service/bad", "exists")


async def test_wait_for_what_is_not_there_yet(cluster: Cluster) -> None:
    """Neither object nor namespace, nor kind."""
    thing = MANIFEST.replace("widget", "thing").replace("Widget", "Thing").replace("wd", "th").replace("shop", "later")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: cluster.wait_for("things.example.com/first", "exists", namespace="later"))
        tasks.start_soon(lambda: cluster.wait_for("pod", "condition=Ready", selector="app=late", namespace="later"))
        await anyio.wait_all_tasks_blocked()
        await cluster.apply(thing)
        await cluster.apply(pod("late", ["sleep", "infinity"]), namespace="later")


def never_pulled(each: dict[str, Any]) -> bool:
    return bool(each["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "ErrImageNeverPull")


async def test_an_expired_wait_says_why(cluster: Cluster) -> None:
    """Here an image that no node has."""
    await cluster.apply(deployment("missing", "true", image="example.com/no/such:1"))
    await cluster.wait_for("pod", never_pulled, selector="app=missing")

    with pytest.raises(NotReady) as raised:
        await cluster.wait_for("deployment/missing", "condition=Available", timeout_s=0.5)

    assert "missing: Available=False (MinimumReplicasUnavailable" in raised.value.last_state
    assert "container main waits: ErrImageNeverPull" in raised.value.evidence


async def test_wait_for_the_end(cluster: Cluster) -> None:
    """Of a pod that is deleted."""
    await cluster.apply(pod("ends", ["sleep", "infinity"]))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: cluster.wait_for("pod/ends", "delete"))
        await cluster.wait_for("pod/ends", "condition=Ready")
        async with cluster.client() as api:
            await api.call_api("/api/v1/namespaces/default/pods/ends", "DELETE", auth_settings=["BearerToken"])


async def test_ports_forwarded(cluster: Cluster) -> None:
    """A Service's, several connections at once; and none when the context has been left."""
    async with cluster.port_forward("service/web", "web") as address:
        pages = []

        async def get() -> None:
            pages.append(await anyio.to_thread.run_sync(fetch, f"http://{address}/"))

        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(get)

    assert pages == [b"hello\n"] * 8
    with pytest.raises(OSError, match="failed"):
        await anyio.connect_tcp("127.0.0.1", int(address.rpartition(":")[2]))


async def test_a_forwarded_client_may_end_its_direction(cluster: Cluster) -> None:
    """An answer that takes its time, and megabytes, comes whole."""
    async with cluster.port_forward("deployment/web", "http", on_event=print) as address:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]))
        writer.write(b"GET /cgi-bin/slow HTTP/1.0\r\n\r\n")
        writer.write_eof()
        answer = await reader.read()
        writer.close()

    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(bytes(3_000_000) + b"end\n")


async def test_a_port_on_which_nothing_listens(cluster: Cluster) -> None:
    """Is told, and a reset."""
    told: list[Any] = []
    async with cluster.port_forward("pod/idle", 1234, on_event=told.append) as address:
        reader, _ = await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]))
        with pytest.raises(ConnectionResetError):
            await reader.read()

    assert "refused" in told[0].message


async def test_programs_in_pods(cluster: Cluster) -> None:
    """Output, input, exit code."""
    done = await cluster.exec("pod/idle", ["sh", "-c", "echo out & echo problem >&2; wc -c"], stdin=b"x" * 3_000_000)

    assert (done.exit_code, done.stdout, done.stderr) == (0, b"out\n3000000\n", b"problem\n")
    with pytest.raises(ExecFailed, match=r'"false" failed in pod default/idle') as raised:
        await cluster.exec("pod/idle", ["false"])
    assert raised.value.exit_code == 1
    assert (await cluster.exec("deployment/web", ["sh", "-c", "exit 7"], check=False)).exit_code == 7
    with pytest.raises(ClusterError, match="not found"):
        await cluster.exec("pod/idle", ["no-such-program"])
    with pytest.raises(ClusterError, match=r"container other is not valid|container not found"):
        await cluster.exec("pod/idle", ["true"], container="other")


async def test_strict_certificates(cluster: Cluster) -> None:
    """The API server's pass RFC 5280 to the letter, as Python's ssl wants it from 3.13 on; and so does every request of `client()`."""
    entry = cluster.kubeconfig["clusters"][0]["cluster"]
    context = ssl.create_default_context(cadata=b64decode(entry["certificate-authority-data"]).decode())
    context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    server = urlsplit(entry["server"])

    _, writer = await asyncio.open_connection(server.hostname, server.port, ssl=context)
    writer.close()
    await writer.wait_closed()
    async with cluster.client() as api:
        assert await VersionApi(api).get_code()


async def test_other_programs_have_a_working_environment(cluster: Cluster) -> None:
    """A kubeconfig of this user alone, written anew if it was removed, and the name for kind."""
    cluster.kubeconfig_path.unlink()
    env = cluster.env()

    assert env["KIND_CLUSTER_NAME"] == cluster.name
    assert stat.S_IMODE(Path(env["KUBECONFIG"]).stat().st_mode) == 0o600
    done = await anyio.run_process(
        [sys.executable, "-m", "kindasync", "get", "nodes"], env={**os.environ, **env}
    )  # of the cluster that the environment names
    assert done.stdout.decode().split() == [f"{cluster.name}-control-plane"]


async def test_events_of_the_cluster(cluster: Cluster) -> None:
    """What its components tell, from the beginning, as it comes."""
    await cluster.apply(pod("told", ["true"]))

    with anyio.fail_after(30):
        async with aclosing(cluster.events(namespace="default")) as events:
            seen = [each["reason"] async for each in until_started(events, "told")]

    assert seen[-1] == "Started"
    assert "Scheduled" in seen


async def until_started(events: AsyncIterator[dict[str, Any]], name: str) -> AsyncIterator[dict[str, Any]]:
    """Those of one pod, the first Started included."""
    async for each in events:
        if each["involvedObject"]["name"] == name:
            yield each
            if each["reason"] == "Started":
                return


async def test_a_node_s_console_as_it_comes(cluster: Cluster) -> None:
    """Line by line, from the beginning."""
    with anyio.fail_after(10):
        async with aclosing(cluster.nodes[0].logs(follow=True)) as lines:
            async for line in lines:
                if line == "kindasync: runtime ready":
                    break


async def test_the_documentation_s_example(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    """As it stands there."""
    page = (Path(__file__).parents[2] / "docs/kubernetes.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    module: dict[str, Any] = {}
    exec(example, module)

    await module["use"](cluster)

    assert capsys.readouterr().out.count("hello") == 2
