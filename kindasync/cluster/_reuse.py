"""Reuse: a cluster that was found, waited for."""

from __future__ import annotations

from kindasync.cluster._api import ClusterApi, api_client
from kindasync.cluster._cluster import Cluster
from kindasync.cluster._names import CONFIG_LABEL
from kindasync.cluster._readiness import wait_ready
from kindasync.cluster._requests import AnyConfig, request_of
from kindasync.config import ClusterConfig, load
from kindasync.docker.containers import container_inspect
from kindasync.events import Bus


async def wait_found(cluster: Cluster, config: AnyConfig | None, *, timeout_s: float) -> None:
    """Wait until a cluster is ready that may be half-made, by a process that still works on it or died.

    `config`: what it was made from, if that is known: without a pod network of ours, no node has to be Ready.
    Raises: NotReady after `timeout_s`; ConfigInvalid; OSError.
    """
    decoded = config if config is None or isinstance(config, ClusterConfig) else load(config)
    has_network = not (decoded and decoded.networking.disable_default_cni)
    nodes = [node.name for node in cluster.nodes]
    async with api_client(cluster.kubeconfig) as client:
        await wait_ready(
            ClusterApi(client), nodes, bus=Bus(), cluster=cluster.name, timeout_s=timeout_s, has_network=has_network, needs_pod=False
        )


async def is_of_another(cluster: Cluster, config: AnyConfig | None, image: str) -> bool:
    """Whether a cluster was made from another configuration or image; of one that does not say, as those of the kind program, it is not known.

    Raises: ConfigInvalid; OSError; NodeError; EngineError.
    """
    asked = request_of(config, cluster.name, image=image).labels[CONFIG_LABEL]
    async with cluster.engine.connect() as connection:
        node = await container_inspect(connection, cluster.nodes[0].id)
    return node.labels.get(CONFIG_LABEL, asked) != asked
