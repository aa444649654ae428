"""Limits: what a node's container may use, and so what its kubelet has to leave of the host that it sees.

Groups of processes do not show their limits to what runs in them (kind#877): a kubelet offers all that the host has.
"""

from __future__ import annotations

from collections.abc import Iterator

from kindasync.config import ClusterConfig
from kindasync.docker.system import EngineFacts
from kindasync.errors import Problem
from kindasync.node._spec import NodeSpec

PODS = 110  # the kubelet's own limit, its maxPods


def beyond_host(config: ClusterConfig, engine: EngineFacts) -> Iterator[Problem]:
    """The limits that are more than the Engine's host has."""
    for index, node in enumerate(config.extras.nodes):
        if node.nano_cpus > engine.cpus * 10**9:
            yield Problem(path=f"extras.nodes[{index}].cpus", message=f'"{node.cpus}" is more than the {engine.cpus} of the Engine\'s host')
        if node.memory_bytes > engine.memory_bytes:
            has = f"{engine.memory_bytes >> 20}Mi"
            yield Problem(path=f"extras.nodes[{index}].memory", message=f'"{node.memory}" is more than the {has} of the Engine\'s host')


def capacity(node: NodeSpec, engine: EngineFacts) -> dict[str, str]:
    """What a node offers to pods, until its kubelet says it more exactly. Empty if the Engine does not tell what its host has."""
    if not (engine.cpus and engine.memory_bytes):
        return {}
    return {
        "cpu": f"{(node.nano_cpus or engine.cpus * 10**9) // 10**6}m",
        "memory": f"{(node.memory_bytes or engine.memory_bytes) >> 10}Ki",
        "pods": str(PODS),
    }


def system_reserved(node: NodeSpec, engine: EngineFacts) -> dict[str, str]:
    """What the node's kubelet leaves to others, so that it offers what the limits are. Source: KubeletConfiguration, systemReserved."""
    reserved = {}
    if node.nano_cpus:
        reserved["cpu"] = f"{engine.cpus * 1000 - node.nano_cpus // 10**6}m"
    if node.memory_bytes:
        reserved["memory"] = f"{engine.memory_bytes - node.memory_bytes}"
    return reserved
