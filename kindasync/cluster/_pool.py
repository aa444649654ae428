"""Pool: clusters that were made in advance and frozen, each to be claimed once. Nobody keeps a list of them: the Engine's containers say it all.

A parked cluster is a whole one, with a name, keys and a port of its own. Its nodes have the pool's label, are paused, and are marked as finished. Who
unpauses its first control plane has it: the Engine unpauses only what is paused. Then its nodes are marked as claimed, as they
may be paused again, by `Node.paused`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from secrets import token_hex
from typing import Any

from kindasync._shielded import answered
from kindasync.cluster._get import Found, get
from kindasync.cluster._leftovers import cluster_of
from kindasync.cluster._lookup import existing_members, is_node, registries, role_of
from kindasync.cluster._marks import Mark, has_mark, put_marks
from kindasync.cluster._names import CONFIG_LABEL, POOL_LABEL, natural
from kindasync.cluster._requests import AnyConfig, request_of
from kindasync.cluster._run import Request
from kindasync.cluster._together import all_together, together
from kindasync.config import Role
from kindasync.config._rules import name_problems
from kindasync.docker import Connection
from kindasync.docker.containers import Container, container_inspect, container_list, container_pause, container_unpause
from kindasync.docker.execs import RUN_S, container_run
from kindasync.errors import ApiError, ClusterError, ConfigInvalid, KindasyncError, NotFound, PoolEmpty, Problem
from kindasync.events import Bus, ClusterClaimed, ClusterParked

DNS = "deployments.v1.apps/coredns"
LEADER = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-controller-manager"
# Time goes on for what is frozen. After a thaw a kubelet would find that its runtime has not answered for long, before it has asked it, and tell
# so; and the controller-manager that no node was heard of for long. Both would know better 10 s later. So neither is frozen: they begin anew.
STOP_KUBELET, START_KUBELET = (("systemctl", verb, "kubelet") for verb in ("stop", "start"))
KILL_CONTROLLER_MANAGER = ("pkill", "-KILL", "--full", "^kube-controller-manager ")


class State(StrEnum):
    """What a cluster of a pool is. OTHER: it is being made or claimed just now, or was stopped or restarted, so that it cannot be claimed any more."""

    PARKED = "parked"
    CLAIMED = "claimed"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A pool, and the names of its clusters.

    Shape: `name` of the pool; `parked` can be claimed; `claimed` are in use; `others` are being made or claimed just now, or were stopped or restarted while they
    were parked, so that they cannot be claimed any more.
    """

    name: str
    parked: tuple[str, ...] = ()
    claimed: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


def request_of_pool(pool: str, config: AnyConfig | None, *, size: int, limit: int | None, **asked: Any) -> Request:
    """The request for each cluster of a pool; `asked` are those of `create`. Raises: ClusterError for what no pool can be; ConfigInvalid; OSError."""
    for wrong in name_problems(pool) if pool else ["it is empty"]:
        raise ClusterError(f'there can be no pool "{pool}"', why=str(wrong), hint="its name becomes part of those of its clusters")
    if size < 0 or (limit is not None and limit < 1):
        raise ClusterError(
            f"cannot fill a pool with {size} clusters, {limit} at the same time"
            if limit is not None
            else f"cannot fill a pool with {size} clusters",
            hint="a size is at least 0, a limit 1",
        )
    request = request_of(config, _new_name(pool), scoped=True, **asked)  # until it is parked it ends with this process
    if request.config.networking.disable_default_cni:
        message = "a cluster is parked when its nodes are Ready and DNS answers, which takes a pod network"
        raise ConfigInvalid([Problem(path="networking.disableDefaultCNI", message=message)])
    return replace(request, labels={**request.labels, POOL_LABEL: pool})


def another(request: Request) -> Request:
    """The same, for a cluster of another name."""
    return replace(request, config=replace(request.config, name=_new_name(request.labels[POOL_LABEL])))


def _new_name(pool: str) -> str:
    return f"pool-{pool}-{token_hex(4)}"


def state_of(first: Container, marks: Collection[Mark]) -> State:
    """The state of a cluster, by its first control plane and the marks that has."""
    if Mark.CLAIMED in marks:
        return State.CLAIMED
    return State.PARKED if Mark.FINISHED in marks and first.state == "paused" else State.OTHER


def firsts(containers: Sequence[Container]) -> list[Container]:
    """The first control plane of each cluster; that of the oldest cluster first."""
    found: dict[str, Container] = {}
    for each in sorted(containers, key=lambda each: natural(each.name)):
        if role_of(each) is Role.CONTROL_PLANE:
            found.setdefault(cluster_of(each), each)
    return sorted(found.values(), key=lambda each: int(each.created or 0))


# -- what there is


async def pools(connection: Connection) -> list[Pool]:
    """All pools of which the Engine has clusters, by name."""
    found: dict[str, dict[State, list[str]]] = {}
    for first, state in await _states(connection, None):
        found.setdefault(first.labels[POOL_LABEL], {each: [] for each in State})[state].append(cluster_of(first))
    return [
        Pool(name=name, parked=tuple(of[State.PARKED]), claimed=tuple(of[State.CLAIMED]), others=tuple(of[State.OTHER]))
        for name, of in sorted(found.items())
    ]


async def lacking(connection: Connection, request: Request, size: int) -> int:
    """How many parked clusters a pool lacks. Raises: ClusterError if those that it has were made of another configuration."""
    pool = request.labels[POOL_LABEL]
    parked = [each for each, state in await _states(connection, pool) if state is State.PARKED]
    others = [cluster_of(each) for each in parked if each.labels.get(CONFIG_LABEL) != request.labels[CONFIG_LABEL]]
    if others:
        raise ClusterError(
            f'pool "{pool}" holds clusters of another configuration',
            why=f"made of another one, or another image: {', '.join(others)}",
            hint=f"give that configuration again; or remove them first: kindasync pool delete {pool}; or choose another pool",
        )
    return max(0, size - len(parked))


async def _states(connection: Connection, pool: str | None) -> list[tuple[Container, State]]:
    """The first control planes of a pool's clusters (None: of all), and the states of these."""
    states: dict[str, State] = {}

    async def look(first: Container) -> None:
        states[first.id] = state_of(first, [mark for mark in Mark if await has_mark(connection, first, mark)])

    found = firsts(await container_list(connection, labels={POOL_LABEL: pool}))
    for _, error in await together(found, look):
        raise error
    return [(first, states[first.id]) for first in found]


# -- park


async def park(connection: Connection, bus: Bus, pool: str, cluster: str, kubeconfig: Mapping[str, Any], *, wait_s: float) -> None:
    """Freeze a cluster as soon as its DNS answers, and mark it as finished. Raises: NotReady; ExecFailed; StepFailed; EngineError."""
    from kindasync.cluster._api import ClusterApi, api_client
    from kindasync.cluster._conditions import parse
    from kindasync.cluster._discovery import Reference
    from kindasync.cluster._wait_for import wait_for

    began = bus.elapsed_s()
    async with api_client(kubeconfig) as session:
        api = ClusterApi(session)
        await wait_for(api, Reference.parse(DNS, namespace="kube-system"), parse("jsonpath={.status.readyReplicas}"), timeout_s=wait_s)
        leader = await _leader(api)

    async def pause(container: Container) -> None:
        if is_node(container):
            await container_run(connection, container.name, STOP_KUBELET)
        if role_of(container) is Role.CONTROL_PLANE and leader in ("", container.name):  # who waits to be elected knows nothing
            await container_run(connection, container.name, KILL_CONTROLLER_MANAGER, passing=(0, 1))  # 1: none runs
        await container_pause(connection, container.id, subject=container.subject)

    containers = await existing_members(connection, cluster)
    control_planes = [each for each in containers if role_of(each) is Role.CONTROL_PLANE]
    others = [each for each in containers if each not in control_planes]
    for each in ((*others, *await registries(connection, cluster)), control_planes):
        await all_together("freeze the nodes", cluster, each, pause)
    await put_marks(connection, cluster, containers, Mark.FINISHED)
    bus.emit(ClusterParked(cluster=cluster, pool=pool, duration_s=bus.elapsed_s() - began))


async def _leader(api: Any) -> str:
    """The node whose controller-manager leads; empty: none is elected, as there is one control plane."""
    from kindasync.errors import ApiRefused

    try:
        lease = await api.insist("GET", LEADER)
    except ApiRefused as error:
        if error.status != 404:
            raise
        return ""
    return str((lease.get("spec") or {}).get("holderIdentity", "")).rpartition("_")[0]


# -- claim


async def take(connection: Connection, pool: str) -> Container:
    """Take a parked cluster, so that nobody else does, and let its first control plane go on: that is what is returned.

    Raises: PoolEmpty. Cancellation: takes effect when it is known whether one was taken; if so, it is returned, and the caller's next await ends.
    """
    there = firsts(await container_list(connection, labels={POOL_LABEL: pool}))
    for first in there:
        if first.state == "paused" and await answered(_take(connection, first)):
            return first
    raise PoolEmpty(
        f'pool "{pool}" has no parked cluster',
        why="its clusters are claimed, or being made: " + ", ".join(map(cluster_of, there)) if there else "the Engine has no cluster of it",
        hint=f"kindasync pool fill {pool} --size 1 makes one; kindasync pool get shows all pools",
    )


async def _take(connection: Connection, first: Container) -> bool:
    """Whether a cluster was parked, and is ours now."""
    try:
        if not await has_mark(connection, first, Mark.FINISHED) or await has_mark(connection, first, Mark.CLAIMED):
            return False
        try:
            await container_unpause(connection, first.id, subject=first.subject)
        except ApiError:
            if (await container_inspect(connection, first.id)).state == "paused":
                raise
            return False  # somebody was faster
        try:
            if await has_mark(connection, first, Mark.CLAIMED):  # somebody was, and has paused it again since
                await container_pause(connection, first.id, subject=first.subject)
                return False
            await put_marks(connection, cluster_of(first), [first], Mark.CLAIMED)
        except KindasyncError:
            await container_pause(connection, first.id, subject=first.subject)
            raise
    except NotFound:  # it is being removed
        return False
    return True


async def thaw(connection: Connection, bus: Bus, first: Container, *, wait_s: float) -> Found:
    """Let a cluster go on that was taken, and return it when its API answers and its nodes are Ready (`wait_s` 0: at once).

    Raises: NotReady; StepFailed; EngineError.
    """
    from kindasync.cluster._api import ClusterApi, api_client, deadline
    from kindasync.cluster._readiness import wait_ready

    cluster = cluster_of(first)
    containers = await existing_members(connection, cluster)

    async def wake(container: Container) -> None:
        if container.state == "paused":
            await container_unpause(connection, container.id, subject=container.subject)
        if is_node(container):
            await container_run(connection, container.name, START_KUBELET, timeout_s=wait_s or RUN_S)

    await all_together("let the nodes go on", cluster, (*containers, *await registries(connection, cluster)), wake)
    await put_marks(connection, cluster, (each for each in containers if each.id != first.id), Mark.CLAIMED)
    found = await get(connection, cluster)

    if wait_s > 0:
        async with api_client(found.kubeconfig) as session:
            nodes = [each.name for each in containers if is_node(each)]
            api = ClusterApi(session)
            with deadline(api, f'the API server of cluster "{cluster}" to go on', wait_s):
                await api.delete(LEADER)  # who leads now need not wait until the one that was killed has lost that: 15 s
            await wait_ready(api, nodes, bus=bus, cluster=cluster, timeout_s=wait_s, needs_pod=False)
    bus.emit(ClusterClaimed(cluster=cluster, pool=first.labels[POOL_LABEL], duration_s=bus.elapsed_s()))
    return found


async def removable(connection: Connection, pool: str) -> tuple[list[str], list[str]]:
    """The clusters of a pool that nobody uses: those that are parked; and whole ones that cannot be claimed, as they were stopped or
    restarted, or as who took them was killed before it could mark them.
    """
    states = await _states(connection, pool)
    parked = [cluster_of(each) for each, state in states if state is State.PARKED]
    others = [each for each, state in states if state is State.OTHER]
    return parked, [cluster_of(each) for each in others if await has_mark(connection, each, Mark.FINISHED)]
