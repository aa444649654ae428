"""Readiness: what "the cluster is ready" means, watched through the Kubernetes API.

All nodes are Ready, the default ServiceAccount exists, and a pod that the scheduler had to place was placed: milestones M3
and M4. Before that, a test's first pod would be refused or wait. On request a pod of DNS is ready, too: M5.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import anyio

from kindasync.cluster._api import ClusterApi, named
from kindasync.errors import NotReady
from kindasync.events import Bus, NodeReady, NodeRegistered, ReadinessObserved

WAITING = "not seen"
READY = "Ready"


@dataclass(slots=True)
class Observed:
    """What has been seen so far, by subject; each is done when its state is `ready`."""

    states: dict[str, str] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)

    @property
    def missing(self) -> list[str]:
        return [subject for subject in self.states if subject not in self.done]

    def __str__(self) -> str:
        return "; ".join(f"{subject}: {self.states[subject]}" for subject in self.missing) or "all there"


async def wait_ready(
    api: ClusterApi,
    nodes: Collection[str],
    *,
    bus: Bus,
    cluster: str,
    timeout_s: float,
    has_network: bool = True,
    needs_pod: bool = True,
    needs_dns: bool = False,
    since: Mapping[str, datetime] | None = None,
) -> None:
    """Wait until the cluster is ready, by watches; each change is a ReadinessObserved.

    `has_network`: whether it has a pod network. Without one no node becomes Ready, and no pod runs: then nodes have to be registered.
    `since`: when nodes were started again; how they were before is not how they are.
    Raises: NotReady after `timeout_s`, with what is still missing and how it was seen last.
    """
    needs_pod, needs_dns = needs_pod and has_network, needs_dns and has_network
    subjects = [f"node {name}" for name in nodes] + ["default ServiceAccount"] + ["a scheduled pod"] * needs_pod + ["DNS"] * needs_dns
    observed = Observed(dict.fromkeys(subjects, WAITING))
    began = bus.elapsed_s()
    try:
        with anyio.fail_after(timeout_s):
            async with anyio.create_task_group() as tasks:
                observer = _Observer(observed, bus, cluster, tasks.cancel_scope, began)
                tasks.start_soon(_watch_nodes, api, observer, has_network, since or {})
                tasks.start_soon(_watch_service_account, api, observer)
                if needs_pod:
                    tasks.start_soon(_watch_pods, api, observer)
                if needs_dns:
                    tasks.start_soon(_watch_dns, api, observer)
    except TimeoutError as error:
        raise NotReady(
            f'cluster "{cluster}" to be ready',
            str(observed),
            after_s=timeout_s,
            hint="a longer wait may do on a busy machine; --retain keeps the nodes to look at, with: docker exec NODE journalctl -u kubelet",
        ) from error


class _Observer:
    def __init__(self, observed: Observed, bus: Bus, cluster: str, scope: anyio.CancelScope, began: float) -> None:
        self._observed = observed
        self._bus = bus
        self._cluster = cluster
        self._scope = scope
        self._began = began
        self._registered: set[str] = set()

    def register(self, node: str) -> None:
        """Note, once, that a node of the cluster was heard of."""
        if f"node {node}" in self._observed.states and node not in self._registered:
            self._registered.add(node)
            self._bus.emit(NodeRegistered(cluster=self._cluster, node=node, duration_s=self._bus.elapsed_s() - self._began))

    def see(self, subject: str, state: str, *, ready: bool) -> None:
        """Note a state. A subject that was ready, and is not any more, is waited for again."""
        observed = self._observed
        if subject not in observed.states or observed.states[subject] == state:
            return
        observed.states[subject] = state
        node = subject.removeprefix("node ") if subject.startswith("node ") else ""
        self._bus.emit(ReadinessObserved(cluster=self._cluster, node=node, subject=subject, state=state))
        if ready:
            if node and subject not in observed.done and state == READY:  # not where there is no pod network
                self._bus.emit(NodeReady(cluster=self._cluster, node=node, duration_s=self._bus.elapsed_s() - self._began))
            observed.done.add(subject)
        else:
            observed.done.discard(subject)
        if not observed.missing:
            self._scope.cancel()


async def _watch_nodes(api: ClusterApi, observer: _Observer, has_network: bool, since: Mapping[str, datetime]) -> None:
    async for change, node in api.watch("/api/v1/nodes"):
        name = node["metadata"]["name"]
        if change == "DELETED":
            observer.see(f"node {name}", "its Node object was deleted", ready=False)
        else:
            if registered := heard_of(node, since.get(name)):  # its object may be there before
                observer.register(name)
            state, ready = node_state(node, since.get(name))
            observer.see(f"node {name}", state, ready=ready or (registered and not has_network))


async def _watch_service_account(api: ClusterApi, observer: _Observer) -> None:
    async for change, _ in api.watch("/api/v1/namespaces/default/serviceaccounts", selector=named("default")):
        observer.see("default ServiceAccount", "there" if change != "DELETED" else "deleted", ready=change != "DELETED")


async def _watch_pods(api: ClusterApi, observer: _Observer) -> None:
    async for _, pod in api.watch("/api/v1/pods"):
        if placed_by_choice(pod):
            name, state = pod["metadata"]["name"], condition_of(pod, "PodScheduled")
            if state.get("status") == "True":
                observer.see("a scheduled pod", f"{name} is on {pod['spec'].get('nodeName')}", ready=True)
                return
            observer.see("a scheduled pod", f"{name}: {state.get('message') or state.get('reason') or 'pending'}", ready=False)


async def _watch_dns(api: ClusterApi, observer: _Observer) -> None:
    async for _, deployment in api.watch("/apis/apps/v1/namespaces/kube-system/deployments", selector=named("coredns")):
        # Not its condition Available, which a Deployment of one pod has from the beginning: all but one may be missing.
        answers = bool((deployment.get("status") or {}).get("readyReplicas"))
        observer.see("DNS", "ready" if answers else "no pod of CoreDNS is ready", ready=answers)


def node_state(node: Mapping[str, Any], since: datetime | None = None) -> tuple[str, bool]:
    """How a Node is, in words, and whether that is Ready; as its kubelet has said it no earlier than `since`."""
    condition = condition_of(node, "Ready")
    if since and not heard_of(node, since):
        return "not heard of since its start", False
    if condition.get("status") == "True":
        return READY, True
    return condition.get("message") or ("registered" if condition else "not heard of"), False


def heard_of(node: Mapping[str, Any], since: datetime | None = None) -> bool:
    """Whether a Node's kubelet has said how it is, no earlier than `since`."""
    condition = condition_of(node, "Ready")
    if condition.get("reason") == "NodeStatusNeverUpdated":  # says the controller-manager, of a Node that is there for long
        return False
    heartbeat: str = condition.get("lastHeartbeatTime") or ""
    return bool(heartbeat) and (since is None or datetime.fromisoformat(heartbeat) >= since)


def placed_by_choice(pod: Mapping[str, Any]) -> bool:
    """Whether a pod is one for which the scheduler had to choose a node: no static pod, and none of a DaemonSet."""
    owners = pod["metadata"].get("ownerReferences") or []
    return not any(owner["kind"] in ("Node", "DaemonSet") for owner in owners)


def pods_made(workload: Mapping[str, Any]) -> bool:
    """Whether a Deployment or a DaemonSet has all its pods, ready or not."""
    status = workload.get("status") or {}
    if status.get("observedGeneration", 0) < workload["metadata"].get("generation", 1):
        return False
    if workload["kind"] == "DaemonSet":
        return bool(status["currentNumberScheduled"] == status["desiredNumberScheduled"])
    return bool(status.get("replicas", 0) == workload["spec"].get("replicas", 1))


def condition_of(document: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """A condition of an object's status; empty if it has none of that type."""
    conditions = document.get("status", {}).get("conditions") or []
    return next((condition for condition in conditions if condition["type"] == kind), {})
