"""Reuse: a cluster that was found, waited for."""

from __future__ import annotations

from pathlib import Path

from kindasync.cluster._api import ClusterApi, api_client
from kindasync.cluster._cluster import Cluster
from kindasync.cluster._readiness import wait_ready
from kindasync.config import load
from kindasync.events import Bus


async def wait_found(cluster: Cluster, config: Path | None, *, timeout_s: float) -> None:
    """Wait until a cluster is ready that may be half-made, by a process that still works on it or died.

    `config`: what it was made from, if that is known: without a pod network of ours, no node has to be Ready.
    Raises: NotReady after `timeout_s`; ConfigInvalid; OSError.
    """
    has_network = not (config and load(config).networking.disable_default_cni)
    nodes = [node.name for node in cluster.nodes]
    async with api_client(cluster.kubeconfig) as client:
        await wait_ready(
            ClusterApi(client), nodes, bus=Bus(), cluster=cluster.name, timeout_s=timeout_s, has_network=has_network, needs_pod=False
        )
