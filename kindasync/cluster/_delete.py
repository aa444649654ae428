"""Delete: remove all that belongs to a cluster, or to one run, and say what could not be removed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import anyio

from kindasync.cluster import _state
from kindasync.cluster._facts import private_dir
from kindasync.cluster._lookup import members
from kindasync.cluster._names import RUN_LABEL
from kindasync.cluster._network import release_network
from kindasync.docker import Connection
from kindasync.docker.containers import Container, container_list, container_remove
from kindasync.docker.system import system_info
from kindasync.errors import EngineError, KindasyncError
from kindasync.events import Bus, ClusterDeleted, NodeRemoved
from kindasync.node._spec import KUBECONFIG_TARGET

AT_ONCE = 8  # removals that the Engine gets at the same time


async def remove_containers(connection: Connection, containers: Sequence[Container], *, bus: Bus, cluster: str) -> list[KindasyncError]:
    """Remove containers with their volumes, concurrently; the errors of those that stay."""
    failures: list[KindasyncError] = []
    limiter = anyio.CapacityLimiter(AT_ONCE)

    async def remove(container: Container) -> None:
        async with limiter:
            began = bus.elapsed_s()
            try:
                await container_remove(connection, container.id)
            except EngineError as error:
                error.what = f"container {container.name} could not be removed"
                failures.append(error)
            else:
                bus.emit(NodeRemoved(cluster=cluster, node=container.name, duration_s=bus.elapsed_s() - began))

    async with anyio.create_task_group() as tasks:
        for container in containers:
            tasks.start_soon(remove, container)
    return failures


async def remove_run(connection: Connection, run: str, network: str, *, bus: Bus, cluster: str) -> list[KindasyncError]:
    """Remove what one run made, found by its label: nothing of any other run, even of the same cluster."""
    failures: list[KindasyncError] = []
    try:
        containers = await container_list(connection, labels={RUN_LABEL: run})
        failures += await remove_containers(connection, containers, bus=bus, cluster=cluster)
        await release_network(connection, network, bus, cluster)
    except EngineError as error:
        failures.append(error)
    return failures


def kubeconfig_dirs(containers: Sequence[Container]) -> set[str]:
    """The host's directories with the cluster's kubeconfig, by the mounts of its nodes."""
    return {mount.source for container in containers for mount in container.mounts if mount.target == KUBECONFIG_TARGET}


async def delete_cluster(connection: Connection, cluster: str, bus: Bus) -> list[KindasyncError]:
    """Remove a cluster, whoever made it; the errors of what stays. Nothing if there is none."""
    began = bus.elapsed_s()
    containers = await members(connection, cluster)
    failures = await remove_containers(connection, containers, bus=bus, cluster=cluster)
    for name in {attachment.network for container in containers for attachment in container.attachments}:
        await release_network(connection, name, bus, cluster)
    if not failures:
        for directory in kubeconfig_dirs(containers) | {str(private_dir((await system_info(connection)).engine_id, cluster))}:
            if Path(directory).name == cluster:  # a directory of ours; anything else mounted there is not touched
                _state.forget(Path(directory))
        bus.emit(ClusterDeleted(cluster=cluster, duration_s=bus.elapsed_s() - began))
    return failures
