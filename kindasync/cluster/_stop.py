"""Stop: a cluster's containers ended and started again, in the order in which its nodes need each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from ipaddress import ip_address
from typing import Any

from kindasync import go_yaml
from kindasync.cluster._balance import balancer_among
from kindasync.cluster._get import get
from kindasync.cluster._lookup import existing_members, is_node, registries, role_of
from kindasync.cluster._together import all_together, together
from kindasync.config import Role
from kindasync.docker import Connection
from kindasync.docker.archives import path_stat, read_archive
from kindasync.docker.containers import Container, container_inspect, container_start, container_stop, container_unpause
from kindasync.errors import ClusterError, KindasyncError, NotFound, NotReady, StepFailed
from kindasync.events import Bus, ClusterReady, ClusterStopped, NodeStarted, NodeStopped, Warned
from kindasync.node._files import only_file
from kindasync.node._kubeadm import CONFIG_PATH, arguments

GRACE_S = 30  # systemd ends its services and pods in 2 to 4 s
RUNNING = ("running", "restarting")
_KINDS_REPAIR = "/kind/old-ipv4"  # written by the entrypoint of kind's images, which puts new addresses into Kubernetes' files
# Pods of workers end while their API server is there to be told; nobody needs the balancer when there is nothing behind it,
# nor the registry (which has no role).
_STOP_ORDER = ((Role.WORKER,), (Role.CONTROL_PLANE,), (Role.LOAD_BALANCER, None))
# Control planes that look for their leader through the balancer find it there.
_START_ORDER = ((Role.LOAD_BALANCER, Role.CONTROL_PLANE, None), (Role.WORKER,))


async def stop_cluster(connection: Connection, cluster: str, bus: Bus) -> None:
    """Stop all containers of a cluster: workers, then control planes, then the balancer; those that do not run are left alone.

    Raises: ClusterNotFound; StepFailed with what could not be stopped, when all others are.
    """
    began = bus.elapsed_s()

    async def stop(container: Container) -> None:
        since = bus.elapsed_s()
        await container_stop(connection, container.id, grace_s=GRACE_S, subject=container.subject)
        bus.emit(NodeStopped(cluster=cluster, node=container.name, duration_s=bus.elapsed_s() - since))

    # "created", too: the Engine has nothing to stop there.
    containers = (*await existing_members(connection, cluster), *await registries(connection, cluster))
    running = [each for each in containers if each.state not in ("created", "exited", "dead")]
    failures: list[KindasyncError] = []
    for roles in _STOP_ORDER:
        failures += [error for _, error in await together([each for each in running if role_of(each) in roles], stop)]
    if failures:
        raise StepFailed("stop the nodes", cluster, failures)
    bus.emit(ClusterStopped(cluster=cluster, duration_s=bus.elapsed_s() - began))


async def start_cluster(connection: Connection, cluster: str, bus: Bus, *, wait_s: float) -> None:
    """Start all containers of a cluster: balancer and control planes, then workers; and wait until it is ready, if `wait_s` is not 0.

    Raises: ClusterNotFound; StepFailed with what could not be started; ClusterError if nodes came back with addresses that
    their Kubernetes does not know; NotReady.
    """
    began = bus.elapsed_s()

    async def start(container: Container) -> None:
        since = bus.elapsed_s()
        if container.state == "paused":
            await container_unpause(connection, container.id, subject=container.subject)
        else:
            await container_start(connection, container.id, subject=container.subject)
        bus.emit(NodeStarted(cluster=cluster, node=container.name, duration_s=bus.elapsed_s() - since))

    containers = (*await existing_members(connection, cluster), *await registries(connection, cluster))
    # Of one that was stopped just now the Engine's lists may still say that it runs.
    resting = [each for each in [await container_inspect(connection, each.id) for each in containers] if each.state not in RUNNING]
    for batch in await _batches(connection, resting):
        await all_together("start the nodes", cluster, batch, start)
    found = await get(connection, cluster)
    nodes = [await container_inspect(connection, each.id) for each in found.containers if is_node(each)]
    if sum(role_of(each) is Role.CONTROL_PLANE for each in nodes) > 1 and not balancer_among(found.containers):
        message = (
            f'cluster "{cluster}" has no balancer any more: nothing answers where its kubeconfig leads; delete it, and create it again'
        )
        bus.emit(Warned(cluster=cluster, message=message))
    await _check_addresses(connection, cluster, nodes, bus)
    if wait_s > 0:
        await wait_nodes_ready(found.kubeconfig, cluster, nodes, bus, wait_s)
        bus.emit(ClusterReady(cluster=cluster, duration_s=bus.elapsed_s() - began))


async def _batches(connection: Connection, containers: Sequence[Container]) -> list[list[Container]]:
    """What is to be started at once, in turn.

    Of nodes whose addresses could not be fixed one after the other: the Engine gives the lowest that is free, so in the order of their
    addresses each gets its own again, if nothing else has taken it.
    """
    lowest: dict[str, Any] = {}
    for each in containers:
        if is_node(each) and not each.has_fixed_address and (addresses := await _node_addresses(connection, each)):
            lowest[each.id] = min((address.version, int(address)) for address in map(ip_address, addresses))
    at_once = [[each for each in containers if each.id not in lowest and role_of(each) in roles] for roles in _START_ORDER]
    one_by_one = sorted((each for each in containers if each.id in lowest), key=lambda each: lowest[each.id])
    return [*at_once, *([each] for each in one_by_one)]


async def wait_nodes_ready(kubeconfig: Mapping[str, Any], cluster: str, nodes: Sequence[Container], bus: Bus, wait_s: float) -> None:
    """Wait until nodes are Ready that were started again. Raises: NotReady."""
    from kindasync.cluster._api import ClusterApi, api_client
    from kindasync.cluster._readiness import wait_ready

    async with api_client(kubeconfig) as client:
        api = ClusterApi(client)
        try:
            await wait_ready(
                api,
                [node.name for node in nodes],
                bus=bus,
                cluster=cluster,
                timeout_s=wait_s,
                needs_pod=False,  # one was scheduled long ago
                since={node.name: started for node in nodes if (started := _time(node.started_at))},
            )
        except NotReady as error:
            error.hint = (
                "install a pod network: this cluster has none of its own (disableDefaultCNI)"
                if "cni plugin not initialized" in error.last_state
                else "a longer wait may do on a busy machine; docker exec NODE journalctl -u kubelet says what its kubelet does"
            )
            if api.last_failure:
                error.add_evidence(f"the API server, last: {api.last_failure}")
            raise


def _time(text: str) -> datetime | None:
    """An Engine's time, to the second: Kubernetes' heartbeats are no finer."""
    return datetime.fromisoformat(f"{text[:19]}+00:00") if text[19:20] in (".", "Z") else None


async def _check_addresses(connection: Connection, cluster: str, nodes: Sequence[Container], bus: Bus) -> None:
    """Where addresses could not be fixed, the Engine gives any at a start. Nodes whose image does not repair that are of no use then."""
    moved: list[str] = []
    repaired: list[str] = []
    for node in nodes:
        if node.has_fixed_address:
            continue
        before = await _node_addresses(connection, node)
        now = {address for attachment in node.attachments for address in (attachment.ipv4_address, attachment.ipv6_address) if address}
        if not before <= now:
            text = f"{node.name} was {' and '.join(sorted(before))}, and is {' and '.join(sorted(now))}"
            (repaired if await _repairs(connection, node) else moved).append(text)
    if moved:
        raise ClusterError(
            f'nodes of cluster "{cluster}" came back with other addresses',
            why="; ".join(moved) + ": the Engine was not asked to fix them, as the kind program made the nodes, or their network",
            hint="stop the cluster, free those addresses, and start it again; or create it by kindasync, in a network that kindasync has made",
        )
    if repaired:
        bus.emit(Warned(cluster=cluster, message=f"nodes came back with other addresses, which their image repairs: {'; '.join(repaired)}"))


async def _node_addresses(connection: Connection, node: Container) -> set[str]:
    """The addresses with which kubeadm has set up the node; none if that cannot be read."""
    try:
        text = only_file(await read_archive(connection, node.id, CONFIG_PATH)).decode()
    except NotFound:
        return set()
    for document in go_yaml.load_all(text):
        args = arguments(((document or {}).get("nodeRegistration") or {}).get("kubeletExtraArgs"))
        if "node-ip" in args:
            return set(args["node-ip"].split(","))
    return set()


async def _repairs(connection: Connection, node: Container) -> bool:
    try:
        await path_stat(connection, node.id, _KINDS_REPAIR)
    except NotFound:
        return False
    return True
