"""Delete: remove all that belongs to a cluster, or to one run, and say what could not be removed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kindasync.cluster import _state
from kindasync.cluster._facts import private_dir
from kindasync.cluster._frozen_pods import remove_container
from kindasync.cluster._lookup import made_by, members, registries
from kindasync.cluster._names import NETWORK_LABEL, RUN_LABEL
from kindasync.cluster._network import network_name, release_network
from kindasync.cluster._together import together
from kindasync.docker import Connection
from kindasync.docker.containers import Container
from kindasync.docker.networks import network_list
from kindasync.docker.system import system_info
from kindasync.errors import EngineError
from kindasync.events import Bus, ClusterDeleted, NodeRemoved, Warned
from kindasync.node._spec import KUBECONFIG_TARGET


@dataclass(frozen=True, slots=True)
class Left:
    """Something that could not be removed, such as "container demo-control-plane", and why."""

    what: str
    error: Exception

    def __str__(self) -> str:
        return f"{self.what}: {getattr(self.error, 'why', '') or self.error}"


async def remove_member(connection: Connection, container: Container, *, bus: Bus, cluster: str) -> None:
    """Remove one container with its volumes, and tell of it."""
    began = bus.elapsed_s()
    await remove_container(connection, container)
    bus.emit(NodeRemoved(cluster=cluster, node=container.name, duration_s=bus.elapsed_s() - began))


async def remove_containers(connection: Connection, containers: Sequence[Container], *, bus: Bus, cluster: str) -> list[Left]:
    """Remove containers with their volumes, concurrently; those that stay."""

    async def remove(container: Container) -> None:
        await remove_member(connection, container, bus=bus, cluster=cluster)

    return [Left(container.subject, error) for container, error in await together(containers, remove)]


async def remove_run(connection: Connection, run: str, network: str, *, bus: Bus, cluster: str) -> list[Left]:
    """Remove what one run made, found by its label: nothing of any other run, even of the same cluster. What stays."""
    try:
        containers = await made_by(connection, run)
        left = await remove_containers(connection, containers, bus=bus, cluster=cluster)
    except EngineError as error:
        left = [Left(f"whatever has the label {RUN_LABEL}={run}", error)]
    return left + await _release(connection, {network}, bus=bus, cluster=cluster)


async def _release(connection: Connection, networks: set[str], *, bus: Bus, cluster: str) -> list[Left]:
    left = []
    for name in sorted(networks):
        try:
            await release_network(connection, name, bus, cluster)
        except EngineError as error:
            left.append(Left(f"network {name}", error))
    return left


def forget(directory: Path, *, bus: Bus, cluster: str) -> list[Left]:
    """Remove a cluster's kubeconfig and directory on this machine. Those of another user are a matter of theirs: a Warned."""
    try:
        _state.forget(directory)
    except PermissionError as error:
        bus.emit(Warned(cluster=cluster, message=f"the kubeconfig in {directory} stays: {error}"))
    except OSError as error:
        return [Left(f"directory {directory}", error)]
    return []


def kubeconfig_dirs(containers: Sequence[Container], cluster: str) -> set[Path]:
    """The host's directories with the cluster's kubeconfig, by the mounts of its nodes; only such as we make."""
    sources = {
        Path(mount.source)
        for container in containers
        if RUN_LABEL in container.labels
        for mount in container.mounts
        if mount.target == KUBECONFIG_TARGET
    }
    return {path for path in sources if path.name == cluster and path.parent.parent.name == "kindasync"}


async def delete_cluster(connection: Connection, cluster: str, bus: Bus) -> list[Left]:
    """Remove a cluster, whoever made it; what stays. Nothing if there is none, but for a network of ours that an earlier attempt left."""
    began = bus.elapsed_s()
    containers = (*await members(connection, cluster), *await registries(connection, cluster))
    left = await remove_containers(connection, containers, bus=bus, cluster=cluster)
    if not left:
        for directory in kubeconfig_dirs(containers, cluster) | {private_dir((await system_info(connection)).engine_id, cluster)}:
            left += forget(directory, bus=bus, cluster=cluster)
    networks = {attachment.network for container in containers for attachment in container.attachments}
    networks |= {network.name for network in await network_list(connection, labels={NETWORK_LABEL: cluster})}
    left += await _release(connection, networks | {network_name()}, bus=bus, cluster=cluster)
    if not left:
        bus.emit(ClusterDeleted(cluster=cluster, duration_s=bus.elapsed_s() - began, existed=bool(containers)))
    return left
