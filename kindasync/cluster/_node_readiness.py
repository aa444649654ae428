"""Whether a node is Ready, as its cluster's API says: what `Node` cannot know by itself."""

from __future__ import annotations

from dataclasses import dataclass

import anyio

from kindasync.errors import KindasyncError
from kindasync.events import Bus
from kindasync.node import Node

API_S = 10.0


@dataclass(frozen=True, slots=True)
class ApiReadiness:
    """By the API of the cluster, found again in the Engine each time. It holds nothing."""

    async def is_ready(self, node: Node) -> bool:
        """As the API says now; False if it does not answer."""
        from kindasync.cluster._api import ClusterApi, api_client
        from kindasync.cluster._get import get
        from kindasync.cluster._readiness import node_state

        try:
            with anyio.move_on_after(API_S):
                async with node.engine.connect() as connection:
                    found = await get(connection, node.cluster)
                async with api_client(found.kubeconfig) as client:
                    nodes = (await ClusterApi(client).request("GET", "/api/v1/nodes"))["items"]
                return any(node_state(each)[1] for each in nodes if each["metadata"]["name"] == node.name)
        except KindasyncError:
            pass
        return False

    async def wait_ready(self, node: Node, *, timeout_s: float) -> None:
        """By a watch, from the container's start on. Raises: NotReady; NodeError; EngineError."""
        from kindasync.cluster._get import get
        from kindasync.cluster._stop import wait_nodes_ready
        from kindasync.docker.containers import container_inspect

        async with node.engine.connect() as connection:
            found = await get(connection, node.cluster)
            container = await container_inspect(connection, node.id)
        await wait_nodes_ready(found.kubeconfig, node.cluster, [container], Bus(), timeout_s)
