"""Pods: which one a user's reference means, and what its ports and containers are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from kindasync.cluster._api import ClusterApi, deadline
from kindasync.cluster._conditions import state_of
from kindasync.cluster._discovery import Reference
from kindasync.cluster._readiness import condition_of
from kindasync.errors import ClusterError, KindUnknown

Object = Mapping[str, Any]
_DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A pod, and the object that led to it: a Service, a Deployment, or the pod itself."""

    pod: Object
    referred: Object

    def __str__(self) -> str:
        return f"pod {self.pod['metadata']['namespace']}/{self.pod['metadata']['name']}"

    @property
    def path(self) -> str:
        """The pod's, in the API."""
        return f"/api/v1/namespaces/{self.pod['metadata']['namespace']}/pods/{self.pod['metadata']['name']}"

    @property
    def container(self) -> str:
        """The container that is meant where none is named: as kubectl, the annotated one, else the first."""
        annotated = (self.pod["metadata"].get("annotations") or {}).get(_DEFAULT_CONTAINER)
        return str(annotated or self.pod["spec"]["containers"][0]["name"])

    def port(self, port: int | str) -> int:
        """The pod's port that is meant by a number or name: a Service's own ports lead to those of its pods. Raises: ClusterError."""
        port = int(port) if isinstance(port, str) and port.isdecimal() else port
        if isinstance(port, int) and not 1 <= port <= 65535:
            raise ClusterError(f"there is no port {port}", hint="1 to 65535, or a name")
        wanted: int | str = port
        if self.referred.get("kind") == "Service":
            ports = self.referred["spec"].get("ports") or []
            found = next((each for each in ports if port in (each["port"], each.get("name"))), None)
            if not found:
                raise _no_port(f"service {self.referred['metadata']['name']}", port, [each["port"] for each in ports])
            wanted = found.get("targetPort") or found["port"]
        if isinstance(wanted, int):
            return wanted
        ports = [each for container in self.pod["spec"]["containers"] for each in container.get("ports") or []]
        for each in ports:
            if each.get("name") == wanted:
                return int(each["containerPort"])
        raise _no_port(str(self), wanted, [each["name"] for each in ports if each.get("name")])


def _no_port(where: str, port: int | str, ports: Sequence[int | str]) -> ClusterError:
    return ClusterError(f"{where} has no port {port}", why="it has " + (", ".join(map(str, ports)) or "none"))


async def pod_of(api: ClusterApi, reference: Reference) -> Target:
    """The pod itself; or of those that a Service, a Deployment or the like selects, the newest that is Ready, else the newest that runs.

    Raises: ApiRefused, 404, if there is no such object; KindUnknown; ClusterError if it has no pod that runs; ApiUnreachable; NotReady if the API
    server does not answer for API_S seconds.
    """
    with deadline(api, f"the API server to say which pod {reference} is"):
        return await _pod_of(api, reference)


async def _pod_of(api: ClusterApi, reference: Reference) -> Target:
    if not reference.name:
        raise ClusterError(f'"{reference.text}" names no pod', hint='forms: "pod/web", "service/web", "deployment/web"')
    resource = await api.find(reference.called)
    if not resource:
        raise KindUnknown(reference.called.name)
    referred = await api.request("GET", resource.path(reference.namespace, reference.name))
    if resource.kind == "Pod":
        if (referred.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            raise ClusterError(f"{reference} has ended", why=state_of({**referred, "kind": "Pod"}))
        return Target(pod=referred, referred=referred)
    selector = selector_of(referred)
    if not selector:
        raise ClusterError(f"{reference} selects no pods", hint="name one of its pods")
    query = urlencode({"labelSelector": selector})
    listed = (await api.request("GET", f"/api/v1/namespaces/{referred['metadata']['namespace']}/pods?{query}"))["items"]
    running = [
        pod for pod in listed if (pod.get("status") or {}).get("phase") == "Running" and not pod["metadata"].get("deletionTimestamp")
    ]
    if not running:
        states = [f"pod {pod['metadata']['name']}: {state_of({**pod, 'kind': 'Pod'})}" for pod in listed]
        raise ClusterError(
            f"no pod of {reference} runs",
            why="\n".join(states) or f"there is none with {selector}",
            hint=f'wait: cluster.wait_for("pod", "condition=Ready", selector="{selector}")',
        )
    return Target(pod=max(running, key=_preference), referred=referred)


def selector_of(document: Object) -> str:
    """The labels of an object's pods, as a label selector; "" if it has none."""
    selector = (document.get("spec") or {}).get("selector") or {}
    labels = selector if document.get("kind") == "Service" else selector.get("matchLabels") or {}
    return ",".join(f"{name}={value}" for name, value in labels.items())


def _preference(pod: Object) -> tuple[bool, str, str]:
    ready = condition_of(pod, "Ready").get("status") == "True"
    return ready, pod["metadata"].get("creationTimestamp", ""), pod["metadata"]["name"]
