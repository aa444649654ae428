"""Lookup: clusters and their nodes, found by the labels on their containers, and where their API is reached."""

from __future__ import annotations

from collections.abc import Iterable

import anyio

from kindasync.cluster._names import REGISTRY_LABEL, RUN_LABEL, natural
from kindasync.config import Role
from kindasync.docker import Connection
from kindasync.docker.containers import Container, container_list
from kindasync.docker.system import EngineFacts
from kindasync.errors import ClusterNotFound, NodeError
from kindasync.node._kubeadm import API_PORT
from kindasync.node._spec import CLUSTER_LABEL, ROLE_LABEL

GIVEN_UP_S = 5.0


async def clusters(connection: Connection) -> tuple[str, ...]:
    """The names of all clusters, those of the kind program included."""
    containers = await container_list(connection, labels={CLUSTER_LABEL: None})
    return tuple(sorted({container.labels[CLUSTER_LABEL] for container in containers}, key=natural))


async def members(connection: Connection, cluster: str) -> tuple[Container, ...]:
    """All containers of a cluster, in the order of their names. Empty if there is none."""
    containers = await container_list(connection, labels={CLUSTER_LABEL: cluster})
    return tuple(sorted(containers, key=lambda container: (role_of(container) is not Role.CONTROL_PLANE, natural(container.name))))


async def registries(connection: Connection, cluster: str) -> tuple[Container, ...]:
    """The containers of a cluster's registries. They are no members: the kind program would take them for nodes."""
    return await container_list(connection, labels={REGISTRY_LABEL: cluster})


async def existing_members(connection: Connection, cluster: str) -> tuple[Container, ...]:
    """As `members`. Raises: ClusterNotFound if there is none."""
    found = await members(connection, cluster)
    if not found:
        names = await clusters(connection)
        have = f"there are: {', '.join(names)}" if names else "the Engine has no cluster at all"
        raise ClusterNotFound(
            f'there is no cluster "{cluster}"',
            why=have,
            hint="kindasync get clusters; another Engine may be meant (DOCKER_HOST, docker context)",
        )
    return found


def role_of(container: Container) -> Role | None:
    """The role that the container's label says; None for one we do not know."""
    try:
        return Role(container.labels.get(ROLE_LABEL, ""))
    except ValueError:
        return None


def is_node(container: Container) -> bool:
    """Whether it is a node of Kubernetes, as the balancer is not."""
    return role_of(container) in (Role.CONTROL_PLANE, Role.WORKER)


def states_of(containers: Iterable[Container]) -> str:
    """How containers are, in words."""
    return ", ".join(f"{each.name} is {each.state}" for each in containers)


def api_server(containers: tuple[Container, ...], cluster: str, facts: EngineFacts) -> str:
    """The URL of the cluster's API server, from the ports that are published: the balancer's, else the first control plane's.

    Raises: NodeError if it is not published.
    """
    ordered = sorted(containers, key=lambda container: role_of(container) is not Role.LOAD_BALANCER)
    for container in ordered:
        if role_of(container) not in (Role.LOAD_BALANCER, Role.CONTROL_PLANE):
            continue
        for port in container.ports:
            if port.container_port == API_PORT and port.protocol == "tcp" and port.host_port:
                return server_url(port.host_ip, port.host_port, facts)
    runs = any(container.state == "running" for container in containers)
    raise NodeError(
        "the cluster's API server is not published on any port" if runs else "the cluster does not run",
        why=states_of(containers),
        hint=f"kindasync start --name {cluster}",
    )


def server_url(host_ip: str, host_port: int, facts: EngineFacts) -> str:
    """The URL for a published port."""
    return f"https://{facts.reached_at(host_ip, host_port)}"


async def made_by(connection: Connection, run: str) -> tuple[Container, ...]:
    """The containers that a run has made, which is at its end."""
    if connection.gave_up:  # what the Engine had begun to make may only come now
        await anyio.sleep(GIVEN_UP_S)
    return await container_list(connection, labels={RUN_LABEL: run})
