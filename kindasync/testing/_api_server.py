"""The fake's Kubernetes API: just enough of one, on the port that a control plane publishes, for a create to come to its end.

It accepts every object, and says at once what a create waits for: nodes that are Ready as soon as they are members, the default ServiceAccount, a
scheduled pod, DNS. `Behaviour.becomes_ready` holds that back.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from kindasync.testing._listener import Listener
from kindasync.testing._nodes import Behaviour
from kindasync.testing._protocol import Answer, Head, chunk, head_of, read_body, read_head

# Of no use to anybody: this certificate is trusted by the clients of fakes, and this key is public.
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIByjCCAW+gAwIBAgIUFsDvtyIqxLO8pyKyej5wg4zSsiAwCgYIKoZIzj0EAwIw
GTEXMBUGA1UEAwwOa2luZGFzeW5jIGZha2UwIBcNMjYxMTI1MTYwNTI4WhgPMjEy
NjExMDExNjA1MjhaMBkxFzAVBgNVBAMMDmtpbmRhc3luYyBmYWtlMFkwEwYHKoZI
zj0CAQYIKoZIzj0DAQcDQgAEtWSwhnv8FwBb0qwgpUXQbLL2KCJuMZETz7zgUPZX
pvE15Am+SJS2rSomt3I4yolTJMeaYrPVpDRapkhsItu3oKOBkjCBjzAdBgNVHQ4E
FgQUFPRRedruV9E+g9f7RTDVYnvPBjAwHwYDVR0jBBgwFoAUFPRRedruV9E+g9f7
RTDVYnvPBjAwDwYDVR0TAQH/BAUwAwEB/zAsBgNVHREEJTAjhwR/AAABhxAAAAAA
AAAAAAAAAAAAAAABgglsb2NhbGhvc3QwDgYDVR0PAQH/BAQDAgKEMAoGCCqGSM49
BAMCA0kAMEYCIQDg8+5Ye2+14GQmbIYncWw0Qb7ck9G7Z2fPZ4/kX0ZpkAIhAIz6
LYeTBkKJi0caN21Ji39erYJ0inZdIniU2vYIUCyC
-----END CERTIFICATE-----
"""
KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgJLI07Sk5wx1jIRew
+YVguphQGLAxUdlvs/NnTDPA8NihRANCAAS1ZLCGe/wXAFvSrCClRdBssvYoIm4x
kRPPvOBQ9lem8TXkCb5IlLatKia3cjjKiVMkx5pis9WkNFqmSGwi27eg
-----END PRIVATE KEY-----
"""

JOINS_S = 0.02  # how long it takes until watches are told of a node that has joined

_RESOURCES = {
    "Node": "nodes",
    "Namespace": "namespaces",
    "ServiceAccount": "serviceaccounts",
    "ConfigMap": "configmaps",
    "Secret": "secrets",
    "Pod": "pods",
    "DaemonSet": "daemonsets",
    "Deployment": "deployments",
    "StorageClass": "storageclasses",
    "PriorityClass": "priorityclasses",
    "Role": "roles",
    "RoleBinding": "rolebindings",
    "ClusterRole": "clusterroles",
    "ClusterRoleBinding": "clusterrolebindings",
}
_CLUSTER_WIDE = ("Node", "Namespace", "StorageClass", "PriorityClass", "ClusterRole", "ClusterRoleBinding")


class FakeApiServer:
    """One control plane's API. `objects` are the documents that were posted; `requests` "METHOD path" of each request."""

    def __init__(self, nodes: Callable[[], list[str]], kubeadm_conf: Callable[[], bytes], behaviour: Behaviour) -> None:
        self._nodes = nodes
        self._kubeadm_conf = kubeadm_conf
        self._behaviour = behaviour
        self.objects: list[dict[str, Any]] = []
        self.requests: list[str] = []
        self._listener = Listener(self._connection)

    async def start(self, listening: socket.socket) -> None:
        await self._listener.start(listening, _context())

    def stop(self) -> None:
        self._listener.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while head := await read_head(reader):
                body = await read_body(reader, head.headers)
                self.requests.append(f"{head.method} {head.path}")
                if "watch" in head.params:
                    await self._watch(head.path, reader, writer)
                    break
                status = next(self._behaviour.api_refuses.get(head.method, iter(())), None)
                if status == 0:
                    break
                answer = _refusal(status) if status else self._answer(head, json.loads(body) if body else {})
                answer.headers["Connection"] = "keep-alive"
                writer.write(head_of(answer, api_version="") + answer.body)
                await writer.drain()
        writer.close()

    def _answer(self, head: Head, document: dict[str, Any]) -> Answer:
        method, path = head.method, head.path
        if path.endswith("/eviction"):
            return self._evict(document["metadata"]["name"])
        if method == "PATCH" and head.headers.get("content-type") == "application/apply-patch+yaml":
            self.objects.append(document)
            return Answer.of_json(document)
        if method == "POST" and "dryRun" in head.params:
            return Answer.of_json(document, 201)
        if method == "POST":
            name = (document["kind"], document["metadata"].get("namespace", ""), document["metadata"]["name"])
            there = [(each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"]) for each in self.objects]
            if name in there or (name[0] == "Node" and self._behaviour.registers_first):
                return Answer.of_json({"kind": "Status", "reason": "AlreadyExists", "message": f"{name[2]} already exists"}, 409)
            self.objects.append(document)
            return Answer.of_json(document, 201)
        if method == "GET" and (path == "/api/v1" or (path.startswith("/apis/") and path.count("/") == 3)):
            resources = [{"name": plural, "kind": kind, "namespaced": kind not in _CLUSTER_WIDE} for kind, plural in _RESOURCES.items()]
            return Answer.of_json({"kind": "APIResourceList", "resources": resources})
        if method == "GET" and path == "/apis":
            return Answer.of_json({"groups": []})
        if method == "GET" and path == "/apis/apps/v1/deployments":  # a moment too early for its pods
            return Answer.of_json({"kind": "DeploymentList", "items": [{**each, "status": {}} for each in self._observed(path)]})
        if method == "GET" and path.endswith(("/deployments", "/daemonsets", "/serviceaccounts", "/configmaps", "/namespaces", "/nodes")):
            return Answer.of_json({"metadata": {"resourceVersion": str(len(self.objects) + 1)}, "items": self._observed(path)})
        if method == "GET" and path == "/api/v1/pods":
            return Answer.of_json(
                {
                    "items": [
                        pod for pod in self._behaviour.pods if f"spec.nodeName={pod['spec']['nodeName']}" in head.params["fieldSelector"]
                    ]
                }
            )
        if method == "GET" and path == "/api/v1/persistentvolumes":
            return Answer.of_json({"items": self._behaviour.persistent_volumes})
        if method == "GET" and path.endswith("/proxy/pods"):
            return Answer.of_json({"items": [pod for pod in self._behaviour.pods if pod["spec"]["nodeName"] == path.split("/")[-3]]})
        if method == "GET" and path.endswith("/configmaps/kubeadm-config"):
            documents = yaml.safe_load_all(self._kubeadm_conf())
            (configuration,) = [each for each in documents if each["kind"] == "ClusterConfiguration"]
            return Answer.of_json({"data": {"ClusterConfiguration": yaml.safe_dump(configuration)}})
        return Answer.of_json({"kind": "Status", "status": "Success"})

    def _evict(self, name: str) -> Answer:
        if name in self._behaviour.kept_pods:
            message = "Cannot evict pod as it would violate the pod's disruption budget."
            return Answer.of_json({"kind": "Status", "reason": "TooManyRequests", "message": message}, 429)
        self._behaviour.pods[:] = [pod for pod in self._behaviour.pods if pod["metadata"]["name"] != name]
        return Answer.of_json({"kind": "Status", "status": "Success"}, 201)

    async def _watch(self, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head_of(Answer(stream=_nothing()), api_version=""))
        enough = asyncio.ensure_future(reader.read())  # until the client has seen enough
        told: set[str] = set()
        try:
            while not enough.done():
                for document in self._observed(path) if self._behaviour.becomes_ready or path.endswith("/clusterrolebindings") else ():
                    if document["metadata"]["name"] not in told:
                        told.add(document["metadata"]["name"])
                        writer.write(chunk(json.dumps({"type": "ADDED", "object": document}).encode() + b"\n"))
                await writer.drain()
                await asyncio.wait([enough], timeout=JOINS_S)
        finally:
            enough.cancel()
            await asyncio.wait([enough])
            if not enough.cancelled():
                enough.exception()

    def _observed(self, path: str) -> list[dict[str, Any]]:
        if path == "/api/v1/nodes":
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            ready = {"status": "True"} if self._behaviour.has_network else {"status": "False", "message": "cni plugin not initialized"}
            conditions = [{"type": "Ready", "lastHeartbeatTime": now, **ready}]
            return [{"metadata": {"name": name}, "status": {"conditions": conditions}} for name in self._nodes()]
        if path.endswith("/leases"):
            now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
            return [{"metadata": {"name": name}, "spec": {"renewTime": now}} for name in self._nodes()]
        if path.endswith("/clusterrolebindings"):
            return [{"metadata": {"name": "system:kube-scheduler"}}]
        if path.endswith("/namespaces"):
            return [{"metadata": {"name": "default"}}]
        if path.endswith(("/serviceaccounts", "/configmaps")):
            name = "default" if path.endswith("/serviceaccounts") else "kube-root-ca.crt"
            return [{"metadata": {"name": name, "namespace": "default"}}]
        if path.endswith("/kube-system/deployments") and self._behaviour.has_network:
            return [{"metadata": {"name": "coredns"}, "status": {"readyReplicas": 1}}]
        if path == "/apis/apps/v1/deployments":
            return [
                {
                    "kind": "Deployment",
                    "metadata": {"name": "coredns"},
                    "spec": {"replicas": 2},
                    "status": {"observedGeneration": 1, "replicas": 2},
                }
            ]
        if path == "/api/v1/pods" and self._behaviour.has_network and (nodes := self._nodes()):
            status = {"podIP": "10.244.0.2", "conditions": [{"type": name, "status": "True"} for name in ("PodScheduled", "Ready")]}
            return [{"metadata": {"name": "coredns-1", "uid": "coredns-1"}, "spec": {"nodeName": nodes[0]}, "status": status}]
        return []


def _refusal(status: int) -> Answer:
    return Answer.of_json({"kind": "Status", "reason": "Scripted", "message": "the API server refuses"}, status)


@cache
def _context() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    with TemporaryDirectory(prefix="kindasync-fake-") as directory:
        path = Path(directory) / "server.pem"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(CERTIFICATE + KEY)
        context.load_cert_chain(path)
    return context


async def _nothing() -> AsyncGenerator[bytes, None]:
    yield b""
