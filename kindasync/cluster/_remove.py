"""Remove: one node taken out of a cluster that goes on: its pods, its etcd member, its place behind the balancer, its container."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

import anyio

from kindasync import events
from kindasync._shielded import attempted
from kindasync.cluster._balance import balancer_among, is_ours, rebalance
from kindasync.cluster._delete import remove_member
from kindasync.cluster._get import get
from kindasync.cluster._lookup import existing_members, is_node, role_of
from kindasync.cluster._network import network_name
from kindasync.cluster._run import Request, Run
from kindasync.config import ClusterConfig, Role
from kindasync.docker import Connection
from kindasync.docker.containers import Container
from kindasync.errors import ClusterError, ExecFailed, NotReady
from kindasync.events import Bus
from kindasync.node import _etcd as etcd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kindasync.cluster._api import ClusterApi

BALANCED_S = 30.0
LEAVE_ETCD_S = 30.0  # it refuses changes until members have been connected for 5 s
_LEAVE_ETCD_AGAIN_S = 0.5
Step = tuple[str, Callable[[], Awaitable[None]]]


async def remove_node(connection: Connection, bus: Bus, cluster: str, name: str, *, timeout_s: float, force: bool) -> None:
    """Drain a node, and remove it. One that does not run, or whose container is gone already, is removed without being drained.

    Raises: ClusterNotFound; ClusterError for a node that is not there, or is the last control plane; NotReady with pods that
    could not be evicted; StepFailed; EngineError.
    """
    from kindasync.cluster._api import ClusterApi, api_client, deadline
    from kindasync.cluster._drain import drain, uncordon

    containers = await existing_members(connection, cluster)
    container = next((each for each in containers if each.name == name and is_node(each)), None)
    others = [each for each in containers if is_node(each) and each.name != name]
    if container and not any(role_of(each) is Role.CONTROL_PLANE for each in others):
        raise ClusterError(
            f"cannot remove node {name}",
            why=f'it is the only control plane of cluster "{cluster}"',
            hint=f"delete the cluster: kindasync delete cluster --name {cluster}",
        )
    found = await get(connection, cluster)
    run = Run(connection=connection, bus=bus, request=Request(config=ClusterConfig(name=cluster)), network=network_name())
    async with api_client(found.kubeconfig) as client:
        api = ClusterApi(client)
        with deadline(
            api,
            "the API server to say which nodes there are",
            hint="it takes most control planes to run: kindasync start starts those that do not",
        ):
            registered = {
                node["metadata"]["name"]: node["metadata"].get("labels") or {}
                for node in (await api.insist("GET", "/api/v1/nodes"))["items"]
            }
        if not container and name not in registered:
            raise ClusterError(
                f'cluster "{cluster}" has no node "{name}"',
                why=f"its nodes are {', '.join(each.name for each in others)}",
                hint=f"kindasync get nodes --name {cluster}",
            )
        is_control_plane = (
            role_of(container) is Role.CONTROL_PLANE if container else "node-role.kubernetes.io/control-plane" in registered[name]
        )
        await _warn_of_volumes(run, api, name)
        was_open = False
        if container and container.state == "running" and name in registered and not (force and not timeout_s):  # then none is waited for
            with run.step(f"drain node {name}", node=name):
                was_open = await drain(run, api, name, timeout_s=timeout_s, force=force)
        if is_control_plane:
            await _warn_of_balancer(run, name, containers)
        steps = withdrawal(run, api, name, container, others, is_control_plane=is_control_plane)
        final = 2 if is_control_plane else 0  # before that, the node is still what it was
        try:
            await _take(run, name, steps[:final])
        except BaseException as error:
            if was_open:
                await uncordon(api, name, error)
            await _balance_again(run, name, error)
            raise
        await _take(run, name, steps[final:])


async def _take(run: Run, node: str, steps: Sequence[Step]) -> None:
    for what, act in steps:
        with run.step(what, node=node):
            await act()


async def _balance_again(run: Run, node: str, error: BaseException) -> None:
    """Have the balancer know a node that stays; a note of `error`, if it cannot."""
    if not await attempted(partial(rebalance, run), BALANCED_S):
        error.add_note(f"the balancer leaves out node {node}")


async def _warn_of_volumes(run: Run, api: ClusterApi, name: str) -> None:
    """Tell whose data is on the node, such as that of the default StorageClass: it goes with it, and pods that claim it find no other node."""
    from kindasync.cluster._api import deadline

    with deadline(api, "the API server to say which PersistentVolumes there are"):
        volumes = (await api.insist("GET", "/api/v1/persistentvolumes"))["items"]
    if lost := volumes_on(name, volumes):
        run.emit(events.Warned, node=name, message=f"the data of PersistentVolumes goes with the node: {', '.join(lost)}")


def volumes_on(node: str, volumes: Sequence[Mapping[str, Any]]) -> list[str]:
    """The PersistentVolumes that can be on this node only, by their claims if they have them. Source: kubernetes.io, "Persistent Volumes", node affinity."""
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    return [
        f"{claim['namespace']}/{claim['name']}" if (claim := spec.get("claimRef")) else volume["metadata"]["name"]
        for volume in volumes
        if (spec := volume["spec"])
        and (terms := ((spec.get("nodeAffinity") or {}).get("required") or {}).get("nodeSelectorTerms"))
        and all(here in (term.get("matchExpressions") or ()) for term in terms)
    ]


async def _warn_of_balancer(run: Run, name: str, containers: Sequence[Container]) -> None:
    balancer = balancer_among(containers)
    if balancer and not await is_ours(run.connection, balancer):
        run.emit(
            events.Warned,
            node=name,
            message=f"{balancer.name} was not made by kindasync, and is not told that {name} leaves: it finds that it does not answer",
        )


def withdrawal(
    run: Run, api: ClusterApi, name: str, container: Container | None, others: Sequence[Container], *, is_control_plane: bool
) -> list[Step]:
    """The steps that take a node out of its cluster, whatever state it is in, each of which may be done again; `others` stay."""
    steps: list[Step] = []
    if is_control_plane:
        addresses = (
            {
                address
                for at in container.attachments
                for address in (at.ipv4_address, at.fixed_ipv4, at.ipv6_address, at.fixed_ipv6)
                if address
            }
            if container
            else ()
        )
        steps += [
            ("take it from the balancer", partial(rebalance, run, without=name)),
            ("remove its etcd member", partial(_leave_etcd, run, name, tuple(addresses), others)),
        ]
    if container:
        steps.append(("remove its container", partial(remove_member, run.connection, container, bus=run.bus, cluster=run.cluster)))
    return [
        *((f"{what}: node {name}", act) for what, act in steps),
        (f"remove its objects: node {name}", partial(_remove_objects, api, name)),
    ]


async def _leave_etcd(run: Run, name: str, addresses: Sequence[str], others: Sequence[Container]) -> None:
    """Remove the etcd member of a node, by another control plane's: so it makes no difference whether the node lives."""
    began = run.bus.elapsed_s()
    alive = [each for each in others if role_of(each) is Role.CONTROL_PLANE and each.state == "running"]
    if not alive:
        raise ClusterError("no other control plane runs", hint="start it: docker start NODE")
    last: ExecFailed | None = None
    with anyio.move_on_after(LEAVE_ETCD_S):
        while True:
            for container in alive:
                try:
                    member = etcd.member_of(await etcd.member_list(run.connection, container.id), name, addresses)
                    if member:
                        await etcd.member_remove(run.connection, container.id, member)
                        run.emit(events.EtcdMemberRemoved, node=name, since=began)
                    return
                except ExecFailed as error:
                    last = error
            await anyio.sleep(_LEAVE_ETCD_AGAIN_S)
    raise NotReady(
        f"etcd to let its member on node {name} go",
        last.output_tail if last else "no answer",
        after_s=LEAVE_ETCD_S,
        hint="it takes most members to agree: see that all other control planes run",
    ) from last


async def _remove_objects(api: ClusterApi, name: str) -> None:
    """The Node object, and pods that nobody can say the end of any more."""
    from kindasync.cluster._api import deadline
    from kindasync.cluster._drain import pods_of

    with deadline(api, f"the API server to forget node {name}"):
        await api.delete(f"/api/v1/nodes/{name}")
        for pod in await pods_of(api, name):
            of = pod["metadata"]
            await api.delete(f"/api/v1/namespaces/{of['namespace']}/pods/{of['name']}", uid=of["uid"])
