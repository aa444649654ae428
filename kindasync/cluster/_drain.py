"""Drain: the pods of a node that is to be removed, evicted as `kubectl drain` does, as far as PodDisruptionBudgets allow."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio

from kindasync import events
from kindasync._shielded import attempted
from kindasync.cluster._api import ClusterApi, deadline
from kindasync.cluster._run import Run
from kindasync.errors import ApiRefused, ApiUnreachable, ClusterError, NotReady

EVICT_AGAIN_S = 0.5
UNCORDON_S = 10.0
FORCE = "--force removes the node all the same (in Python: force=True)"
_MIRROR = "kubernetes.io/config.mirror"
Pod = Mapping[str, Any]


async def drain(run: Run, api: ClusterApi, node: str, *, timeout_s: float, force: bool) -> bool:
    """Cordon a node, and evict its pods; those of DaemonSets, and static ones, end with the node. Whether it was not cordoned before.

    `force`: pods that nobody makes again go, too, and those that cannot be evicted in time are told, and left to end with the node.
    Raises: ClusterError for pods that nobody makes again, before any is evicted; NotReady with those that are left after
    `timeout_s`, and why. Then, and when it is cancelled, pods can be placed on the node again.
    """
    began = run.bus.elapsed_s()
    with deadline(api, f"the API server to say which pods node {node} has"):
        lost = [_name(pod) for pod in await _evictable(api, node) if is_bare(pod)]
    if lost and not force:
        raise ClusterError(
            f"node {node} has pods that nobody would make again", why=", ".join(lost), hint=f"delete them, or have them go: {FORCE}"
        )
    async with _cordoned(api, node) as was_open:
        run.emit(events.NodeCordoned, node=node)
        reasons: dict[str, str] = {}
        try:
            with anyio.fail_after(timeout_s):
                await _evict_all(run, api, node, reasons)
        except TimeoutError as error:
            left = "; ".join(f"{pod}: {reason}" for pod, reason in reasons.items())
            if not force:
                raise NotReady(
                    f"the pods of node {node} to leave it", left, after_s=timeout_s, hint=f"a longer --timeout may do; {FORCE}"
                ) from error
            run.emit(events.Warned, node=node, message=f"pods that could not be evicted end with the node: {left}")
        else:
            run.emit(events.NodeDrained, node=node, since=began)
    return was_open


@asynccontextmanager
async def _cordoned(api: ClusterApi, node: str) -> AsyncIterator[bool]:
    """Have no more pods placed on a node. Where the body fails, or is cancelled, they can be placed again, if they could before: that is the value."""
    with deadline(api, f"the API server to say what node {node} is like"):
        was_open = not ((await api.insist("GET", f"/api/v1/nodes/{node}")).get("spec") or {}).get("unschedulable")
    try:
        with deadline(api, f"the API server to cordon node {node}"):
            await _set_unschedulable(api, node, True)
        yield was_open
    except BaseException as error:
        if was_open:
            await uncordon(api, node, error)
        raise


async def uncordon(api: ClusterApi, node: str, error: BaseException) -> None:
    """Let pods be placed on a node again, as `error` keeps it from being removed; a note of that, if it cannot be."""
    if not await attempted(partial(_set_unschedulable, api, node, False), UNCORDON_S):
        error.add_note(f"node {node} stays cordoned: kubectl uncordon {node}")


async def _evict_all(run: Run, api: ClusterApi, node: str, reasons: dict[str, str]) -> None:
    """Evict again and again what is left; `reasons`: why each still is. Nothing tells when a budget allows the next one."""
    evicted: set[str] = set()
    while pods := await _evictable(api, node):
        for name in reasons.keys() - {_name(pod) for pod in pods}:
            del reasons[name]
        for pod in pods:
            name = _name(pod)
            if pod["metadata"].get("deletionTimestamp"):
                reasons[name] = ends_slowly(pod)
                continue
            refusal = await _evict(api, pod)
            reasons[name] = refusal or ends_slowly(pod)
            if not refusal and pod["metadata"]["uid"] not in evicted:
                evicted.add(pod["metadata"]["uid"])
                run.emit(events.PodEvicted, node=node, pod=name)
        await anyio.sleep(EVICT_AGAIN_S)


def ends_slowly(pod: Pod) -> str:
    """Why an evicted pod is still there."""
    finalizers = ", ".join(pod["metadata"].get("finalizers") or ())
    return f"it ends when these finalizers are removed: {finalizers}" if finalizers else "it takes its time to end"


async def _evict(api: ClusterApi, pod: Pod) -> str:
    """Ask for one eviction; why it is still to come, if a budget forbids it for now, or there was no answer."""
    metadata = {"name": pod["metadata"]["name"], "namespace": pod["metadata"]["namespace"]}
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": metadata,
        "deleteOptions": {"preconditions": {"uid": pod["metadata"]["uid"]}},
    }
    try:
        await api.request("POST", f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/eviction", eviction)
    except ApiRefused as error:
        if error.status == 429:
            return error.why
        if error.status not in (404, 409):  # it is gone, or another one has its name
            raise
    except ApiUnreachable as error:
        return error.why
    return ""


async def _evictable(api: ClusterApi, node: str) -> Sequence[Pod]:
    return [pod for pod in await pods_of(api, node) if not is_bound(pod)]


async def pods_of(api: ClusterApi, node: str) -> Sequence[Pod]:
    """All pods on a node."""
    reply = await api.insist("GET", f"/api/v1/pods?fieldSelector=spec.nodeName%3D{node}")
    pods: Sequence[Pod] = reply["items"]
    return pods


def is_bound(pod: Pod) -> bool:
    """Whether a pod belongs to its node: a static one, or one of a DaemonSet."""
    return _MIRROR in (pod["metadata"].get("annotations") or {}) or (_controller(pod) or {}).get("kind") == "DaemonSet"


def is_bare(pod: Pod) -> bool:
    """Whether a pod that has not ended would not be made again."""
    return not _controller(pod) and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")


def _controller(pod: Pod) -> Mapping[str, Any] | None:
    return next((owner for owner in pod["metadata"].get("ownerReferences") or () if owner.get("controller")), None)


def _name(pod: Pod) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"


async def _set_unschedulable(api: ClusterApi, node: str, value: bool) -> None:
    patch = {"spec": {"unschedulable": value or None}}
    await api.insist("PATCH", f"/api/v1/nodes/{node}", patch, content_type="application/merge-patch+json")
