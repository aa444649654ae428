"""Whether a node is Ready, as its cluster's API says: what `Node` cannot know by itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import anyio

from kindasync.errors import KindasyncError, NotReady
from kindasync.events import Bus
from kindasync.node import Node

API_S = 10.0
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
TYPE_CHECKING = False
if TYPE_CHECKING:
    from kindasync.cluster._api import ClusterApi


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

    async def wait_ready(self, node: Node, *, since: datetime, timeout_s: float) -> None:
        """By watches: a kubelet that lives on renews its lease, and says how it is only if that has changed. Raises: NotReady; NodeError; EngineError."""
        from kindasync.cluster._api import ClusterApi, api_client
        from kindasync.cluster._get import get
        from kindasync.cluster._stop import wait_nodes_ready
        from kindasync.docker.containers import container_inspect

        async with node.engine.connect() as connection:
            found = await get(connection, node.cluster)
            container = await container_inspect(connection, node.id)
        began = anyio.current_time()
        async with api_client(found.kubeconfig) as client:
            await _heard_of(ClusterApi(client), node, since, timeout_s)
        left_s = max(0.0, timeout_s - (anyio.current_time() - began))
        try:
            await wait_nodes_ready(found.kubeconfig, node.cluster, [container], Bus(), left_s)
        except NotReady as error:
            raise NotReady(error.awaited, error.last_state, after_s=timeout_s, hint=error.hint) from error


async def _heard_of(api: ClusterApi, node: Node, since: datetime, timeout_s: float) -> None:
    """Wait until a node's lease was renewed. Raises: NotReady."""
    renewed = "not seen"
    try:
        with anyio.fail_after(timeout_s):
            async for _, lease in api.watch(LEASES):
                if lease["metadata"]["name"] == node.name:
                    renewed = lease["spec"].get("renewTime") or "never renewed"
                    if renewed[:1].isdigit() and datetime.fromisoformat(renewed) >= since:
                        return
    except TimeoutError as error:
        raise NotReady(
            f"node {node.name} to be heard of again",
            f"its lease: {renewed}" + (f"; the API server: {api.last_failure}" if api.last_failure else ""),
            after_s=timeout_s,
            hint="a longer wait may do on a busy machine; docker exec NODE journalctl -u kubelet says what its kubelet does",
        ) from error
