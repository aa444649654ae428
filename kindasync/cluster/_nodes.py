"""Nodes: those of one cluster, or of all, as the Engine has them, running or not; the balancer among them, as kind lists it."""

from __future__ import annotations

from dataclasses import dataclass

from kindasync.cluster._lookup import clusters, members, role_of
from kindasync.docker import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedNode:
    """A node in a list. `role` is control-plane, worker or external-load-balancer; `state` is its container's; `address` "" if it has none now."""

    name: str
    cluster: str
    role: str
    state: str
    image: str
    address: str


async def list_nodes(cluster: str | None, *, engine: Engine | str | None = None) -> list[ListedNode]:
    """The nodes of a cluster (None: of all). Empty if there is no such cluster. Raises: EngineError."""
    async with Engine.of(engine).connect() as connection:
        names = await clusters(connection) if cluster is None else (cluster,)
        return [
            ListedNode(
                name=container.name,
                cluster=name,
                role=str(role_of(container)),
                state=container.state,
                image=container.image,
                address=next((at.ipv4_address or at.ipv6_address for at in container.attachments), ""),
            )
            for name in names
            for container in await members(connection, name)
        ]
