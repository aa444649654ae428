"""Snapshots: a cluster's API objects as they were, and again.

The program `snapshot` of the node image keeps them in etcd, and works beneath the API server: see node-image/kube/snapshot.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import anyio

from kindasync._shielded import undoing
from kindasync.cluster._get import get
from kindasync.cluster._leftovers import cluster_of
from kindasync.cluster._lookup import existing_members, is_node, role_of, states_of
from kindasync.cluster._provision import start_program
from kindasync.cluster._together import all_together
from kindasync.config import Role
from kindasync.docker import Connection
from kindasync.docker.containers import Container
from kindasync.docker.execs import container_run
from kindasync.errors import ClusterError, ExecFailed, KindasyncError, NotReady
from kindasync.events import Bus, ClusterRestored

if TYPE_CHECKING:
    from kindasync.cluster._api import ClusterApi

CREATED = "created"  # the one that `create` takes
PROGRAM = "snapshot"
PASSES = 6
USABLE_S = 60.0
_MEANT = (  # what the program may say, and what to do
    ("there is no snapshot", "those that there are: kindasync get snapshots"),
    ("is of other nodes", "remove the nodes that were added, or take a snapshot of those that there are: kindasync snapshot NAME"),
)
FORGET_S = 5.0
CLEANUP_S = 30.0
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")
_DEFINITIONS = "apiextensions.k8s.io/customresourcedefinitions/"  # in etcd
_REFUSALS = (400, 403, 404, 422)  # of what an API server does not know yet that it is gone: policies, webhooks, namespaces that end
_ABSENT = (126, 127)  # exit codes of a program that is not there
_PROBE = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "kindasync-probe-", "namespace": "default"}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A snapshot. Shape: `name`; `taken` when; `objects` how many it has."""

    name: str
    taken: datetime
    objects: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Restored:
    """What one pass of the program has done: see node-image/kube/snapshot/restore.go."""

    keys: Sequence[str]
    killed: Mapping[str, Sequence[str]] = field(default_factory=dict)
    returning: Mapping[str, Sequence[str]] = field(default_factory=dict)
    volumes: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    """What a restore has done that it has to see to the end: nodes whose kubelets it stopped, pods that return (UIDs), and changed CustomResourceDefinitions."""

    resting: set[str] = field(default_factory=set)
    returned: set[str] = field(default_factory=set)
    definitions: set[str] = field(default_factory=set)


async def take_created(connection: Connection, container: Container, revision: str) -> None:
    """Have a control plane keep its cluster as it is at a revision of etcd. Not waited for: `restore` does that. Nothing if its image has no program for it."""
    await start_program(connection, container, (PROGRAM, "take", CREATED, "-revision", revision))


async def take(connection: Connection, cluster: str, name: str) -> Snapshot:
    """Keep all API objects under a name; a snapshot that had it is replaced. Raises: ClusterNotFound; ClusterError."""
    _check(name)
    _leave_created(name)
    return _snapshot(await _ask(connection, await existing_members(connection, cluster), ["take", name]))


def _leave_created(name: str) -> None:
    if name == CREATED:
        raise ClusterError(
            f'snapshot "{CREATED}" stays as it is', why="it is of the moment of the create, for reset", hint="choose another name"
        )


async def list_snapshots(connection: Connection, cluster: str) -> tuple[Snapshot, ...]:
    """All of a cluster, by name. Raises: ClusterNotFound; ClusterError."""
    return tuple(map(_snapshot, await _ask(connection, await existing_members(connection, cluster), ["list"])))


async def drop(connection: Connection, cluster: str, name: str) -> None:
    """Forget a snapshot. Raises: ClusterNotFound; ClusterError."""
    _check(name)
    _leave_created(name)
    await _ask(connection, await existing_members(connection, cluster), ["drop", name])


async def restore(connection: Connection, bus: Bus, cluster: str, name: str) -> None:
    """Make a cluster's objects again what they were, and wait until it can be used.

    Raises: ClusterNotFound; ClusterError; StepFailed; NotReady.
    """
    _check(name)
    began = bus.elapsed_s()
    found = await get(connection, cluster)
    nodes = [container for container in found.containers if is_node(container)]
    if resting := [node for node in nodes if node.state != "running"]:
        raise ClusterError(
            f'cluster "{cluster}" cannot be as in a snapshot again while nodes rest',
            why=states_of(resting),
            hint=f"kindasync start --name {cluster}",
        )
    change = _Change()

    async def wake() -> None:
        await _wake(connection, cluster, [node for node in nodes if node.name in change.resting])

    async with undoing(wake, "kubelets may stay stopped: systemctl start kubelet, in each node, starts them"):
        done = await _pass_until_done(connection, cluster, found.kubeconfig, name, nodes, change)
    await _wait_usable(found.kubeconfig, cluster, nodes, change, bus)
    if done.killed:  # once more: of pods that are no more, kubelets may have begun containers when they were told
        await _tidy(connection, cluster, nodes, done)
    bus.emit(ClusterRestored(cluster=cluster, snapshot=name, duration_s=bus.elapsed_s() - began))


async def _pass_until_done(
    connection: Connection, cluster: str, kubeconfig: Mapping[str, Any], name: str, nodes: Sequence[Container], change: _Change
) -> _Restored:
    """Restore, and tidy the nodes, until nothing is left to do; the last pass, with all pods that were killed."""
    killed: dict[str, set[str]] = {}
    argv = ["restore", name, "-nodes", ",".join(node.name for node in nodes)]
    for _ in range(PASSES):
        done = _Restored(**await _ask(connection, nodes, [*argv, "-resting", ",".join(sorted(change.resting))]))
        awake = [node for node in nodes if node.name not in change.resting and (node.name in done.returning or "" in done.returning)]
        await _rest(connection, cluster, awake, change.resting)
        change.returned.update(*done.returning.values())
        change.definitions.update(key.removeprefix(_DEFINITIONS) for key in done.keys if key.startswith(_DEFINITIONS))
        await _wait_forgotten(kubeconfig, {node: uids for node, uids in done.killed.items() if node not in {"", *change.resting}})
        await _tidy(connection, cluster, nodes, done)
        for node, uids in done.killed.items():
            killed.setdefault(node, set()).update(uids)
        if not done.keys and not done.returning:
            return replace(done, killed={node: sorted(uids) for node, uids in killed.items()})
    raise ClusterError(
        f'cluster "{cluster}" does not stay as it was in snapshot "{name}"',
        why=f"something changes objects again and again: {', '.join(done.keys[:5])}",
        hint="end programs outside the cluster that work on it, such as controllers under test, before it is restored",
    )


async def _rest(connection: Connection, cluster: str, nodes: Iterable[Container], resting: set[str]) -> None:
    """Stop the kubelets of nodes; their pods go on."""

    async def rest(node: Container) -> None:
        resting.add(node.name)
        await container_run(connection, node.name, ["systemctl", "stop", "kubelet"])

    await all_together("stop the kubelets", cluster, nodes, rest)


async def _wake(connection: Connection, cluster: str, nodes: Iterable[Container]) -> None:
    async def wake(node: Container) -> None:
        await container_run(connection, node.name, ["systemctl", "start", "kubelet"], timeout_s=CLEANUP_S)

    await all_together("start the kubelets", cluster, nodes, wake)


async def _wait_forgotten(kubeconfig: Mapping[str, Any], killed: Mapping[str, Sequence[str]]) -> None:
    """Wait until kubelets know that pods are no more: they would start again what `_tidy` ends. One that does not answer starts nothing."""
    from kindasync.cluster._api import ClusterApi, api_client

    if not killed:
        return
    async with api_client(kubeconfig) as client:
        with anyio.move_on_after(FORGET_S):
            async with anyio.create_task_group() as tasks:
                for node, uids in killed.items():
                    tasks.start_soon(_wait_node_forgets, ClusterApi(client), node, set(uids))


async def _wait_node_forgets(api: ClusterApi, node: str, uids: set[str]) -> None:
    """Nothing tells: its kubelet is asked every RETRY_S. No timeout: the caller has one."""
    from kindasync.cluster._api import RETRY_S
    from kindasync.errors import ApiRefused

    with suppress(ApiRefused):  # its Node is gone
        while True:
            pods = (await api.insist("GET", f"/api/v1/nodes/{node}/proxy/pods"))["items"] or ()
            if uids.isdisjoint(pod["metadata"]["uid"] for pod in pods):
                return
            await anyio.sleep(RETRY_S)


async def _tidy(connection: Connection, cluster: str, nodes: Iterable[Container], done: _Restored) -> None:
    """End the containers of pods that are no more, and of those that return; remove directories of volumes that are no more."""

    async def tidy(node: Container) -> None:
        pods, returning = ([uid for place in (node.name, "") for uid in each.get(place, ())] for each in (done.killed, done.returning))
        what = {"-pods": pods, "-returning": returning, "-volumes": done.volumes}
        await container_run(
            connection, node.name, [PROGRAM, "tidy", *(part for flag, each in what.items() for part in (flag, ",".join(each)))]
        )

    await all_together("end the pods that are no more", cluster, nodes, tidy)


async def _ask(connection: Connection, containers: Iterable[Container], arguments: Sequence[str]) -> Any:
    """What the program answers in a control plane that runs. Raises: ClusterError."""
    control_planes = [each for each in containers if role_of(each) is Role.CONTROL_PLANE]
    running = [each for each in control_planes if each.state == "running"]
    if not running:
        raise ClusterError(
            "no control plane of the cluster runs",
            why=states_of(control_planes),
            hint=f"kindasync start --name {cluster_of(control_planes[0])} starts them" if control_planes else "",
        )
    failure: KindasyncError | None = None
    for each in running:
        try:
            return json.loads((await container_run(connection, each.name, [PROGRAM, *arguments])).stdout)
        except ExecFailed as error:
            failure = _explained(error, cluster_of(each))
    assert failure
    raise failure


def _explained(error: ExecFailed, cluster: str) -> ClusterError:
    if error.exit_code in _ABSENT:
        return ClusterError(
            "the cluster's nodes cannot take snapshots",
            why="their image has no program for it",
            hint="create it with an image that kindasync build node-image has made",
        )
    for fragment, hint in _MEANT:
        if fragment in error.output_tail:
            return ClusterError(error.output_tail, hint=f"{hint} --name {cluster}")
    return ClusterError("the snapshot's program failed", why=error.output_tail)


async def _wait_usable(kubeconfig: Mapping[str, Any], cluster: str, nodes: Sequence[Container], change: _Change, bus: Bus) -> None:
    """Wait until objects are taken again, and served, all nodes are Ready, and so are the pods that had to return. Raises: NotReady."""
    from kindasync.cluster._api import ClusterApi, api_client, deadline
    from kindasync.cluster._readiness import wait_ready

    async with api_client(kubeconfig) as client:
        api = ClusterApi(client)
        with deadline(api, f'cluster "{cluster}" to take objects again', USABLE_S):
            await api.insist("POST", "/api/v1/namespaces/default/configmaps?dryRun=All", _PROBE, passing=_REFUSALS)
            for definition in sorted(change.definitions):
                await _wait_served(api, definition)
        names = [node.name for node in nodes]
        await wait_ready(api, names, bus=bus, cluster=cluster, timeout_s=USABLE_S, needs_pod=False)
        if change.returned:
            await _wait_returned(api, cluster, set(change.returned))


async def _wait_served(api: ClusterApi, definition: str) -> None:
    """Wait until the objects of a CustomResourceDefinition are served; nothing if it is one that is gone. No timeout: the caller has one."""
    from kindasync.errors import ApiRefused

    try:
        spec = (await api.insist("GET", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{definition}"))["spec"]
    except ApiRefused:
        return
    for version in spec["versions"]:
        if version["served"]:
            await api.insist("GET", f"/apis/{spec['group']}/{version['name']}/{spec['names']['plural']}?limit=1", passing=_REFUSALS)


async def _wait_returned(api: ClusterApi, cluster: str, missing: set[str]) -> None:
    from kindasync.cluster._readiness import condition_of

    seen: dict[str, str] = {}
    try:
        with anyio.fail_after(USABLE_S):
            async for change, pod in api.watch("/api/v1/pods"):
                uid, status = pod["metadata"]["uid"], pod.get("status", {})
                if uid in missing:
                    seen[uid] = f"{pod['metadata']['name']} is {status.get('phase')}"
                    if change == "DELETED" or (status.get("podIP") and condition_of(pod, "Ready").get("status") == "True"):
                        missing.remove(uid)
                if not missing:
                    return
    except TimeoutError as error:
        state = "; ".join(seen.get(uid, f"{uid} not seen") for uid in sorted(missing))
        raise NotReady(f'the pods that return to cluster "{cluster}" to be Ready', state, after_s=USABLE_S) from error


def _check(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ClusterError(
            f'there can be no snapshot "{name}"',
            hint="a name has at most 63 lower case letters, digits, dots and dashes, no dash or dot at its ends",
        )


def _snapshot(document: Mapping[str, Any]) -> Snapshot:
    return Snapshot(name=document["name"], taken=datetime.fromisoformat(document["taken"]), objects=document["objects"])
