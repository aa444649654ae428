"""Limits of nodes: what the Engine's host has, and what a kubelet has to leave of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kindasync.cluster._limits import beyond_host, system_reserved
from kindasync.config import ClusterConfig, ClusterExtras, NodeExtras, Role
from kindasync.docker.system import facts_from
from kindasync.node._spec import NodeSpec

ENGINE = facts_from({"Architecture": "x86_64", "NCPU": 4, "MemTotal": 8 << 30}, api_version=(1, 45))
NODE = NodeSpec(name="demo-worker", cluster="demo", role=Role.WORKER, image="i", pauses=True, network="kind")


@pytest.mark.parametrize(
    ("node", "problems"),
    [
        (NodeExtras(cpus="4", memory="8Gi"), []),
        (NodeExtras(cpus="4001m"), ['extras.nodes[0].cpus: "4001m" is more than the 4 of the Engine\'s host']),
        (NodeExtras(memory="9Gi"), ['extras.nodes[0].memory: "9Gi" is more than the 8192Mi of the Engine\'s host']),
        (NodeExtras(), []),
    ],
)
def test_limits_beyond_the_host(node: NodeExtras, problems: list[str]) -> None:
    """No node can have more than there is."""
    config = ClusterConfig(extras=ClusterExtras(nodes=(node,)))

    assert [str(problem) for problem in beyond_host(config, ENGINE)] == problems


@pytest.mark.parametrize(
    ("limits", "reserved"),
    [
        ({}, {}),
        ({"nano_cpus": 1_500_000_000}, {"cpu": "2500m"}),
        ({"memory_bytes": 2 << 30}, {"memory": str(6 << 30)}),
        ({"nano_cpus": 4_000_000_000, "memory_bytes": 8 << 30}, {"cpu": "0m", "memory": "0"}),
    ],
)
def test_what_a_kubelet_leaves(limits: dict[str, Any], reserved: dict[str, str]) -> None:
    """It sees all of the host; what it may offer is what is left of that."""
    assert system_reserved(replace(NODE, **limits), ENGINE) == reserved
