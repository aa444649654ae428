"""The programs: what is started to create clusters of a shape, and to delete them."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.kind_program import kind_config, kind_program

OURS, KIND, KIND_WAITS = "kindasync", "kind", "kind --wait"
OURS_PROCESSES, OURS_SINGLE = "kindasync, a process each", "kindasync 1+0"
KINDASYNC = (sys.executable, "-m", "kindasync")


def default_image() -> str:
    """The node image that kindasync takes if none is named."""
    said = subprocess.run([*KINDASYNC, "version", "-o", "json"], check=True, capture_output=True).stdout
    return str(json.loads(said)["node_image"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How many nodes of each role; as text "1+2"."""

    control_planes: int
    workers: int

    @classmethod
    def parse(cls, text: str) -> Shape:
        control_planes, workers = map(int, text.split("+"))
        return cls(control_planes=control_planes, workers=workers)

    @property
    def nodes(self) -> int:
        return self.control_planes + self.workers

    def __str__(self) -> str:
        return f"{self.control_planes}+{self.workers}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What is started. `create`: argv and environment of each process, all at once; `nodes`: of each cluster."""

    name: str
    nodes: int
    create: tuple[tuple[tuple[str, ...], dict[str, str]], ...]
    delete: tuple[str, ...]


async def programs(shape: Shape, clusters: tuple[str, ...], image: str, directory: Path) -> list[Program]:
    """Those that can make clusters of a shape, as many at once as there are names. Each process has a kubeconfig of its own: kind's fails at once where it is locked."""

    def program(name: str, create: tuple[str, ...], delete: tuple[str, ...], nodes: int = shape.nodes) -> Program:
        each = tuple(((*create, "--name", cluster), {"KUBECONFIG": str(directory / cluster)}) for cluster in clusters)
        return Program(name=name, nodes=nodes, create=each, delete=(*delete, "delete", "clusters", *clusters))

    ours = (*KINDASYNC, "create", "cluster", "--image", image, "--events", "json")
    (directory / "ours.yaml").write_text(_config(shape))
    shaped = (*ours, "--config", str(directory / "ours.yaml")) if shape.nodes > 1 else ours
    if shape.control_planes > 1:  # the image of kind's balancer is out of reach
        return [program(OURS, shaped, KINDASYNC), program(OURS_SINGLE, ours, KINDASYNC, nodes=1)]
    (directory / "kind.yaml").write_text(await kind_config(shape.workers))
    kind = str(kind_program())
    kinds = (kind, "create", "cluster", "--image", image, "--config", str(directory / "kind.yaml"), "--quiet")
    if len(clusters) == 1:
        return [program(OURS, shaped, KINDASYNC), program(KIND, kinds, (kind,)), program(KIND_WAITS, (*kinds, "--wait", "5m"), (kind,))]
    many = (sys.executable, "-m", "benchmarks._create_many", image, *clusters)
    processes = program(OURS_PROCESSES, shaped, KINDASYNC)
    return [
        Program(name=OURS, nodes=1, create=((many, {}),), delete=processes.delete),
        processes,
        program(KIND, kinds, (kind,)),
    ]


def _config(shape: Shape) -> str:
    roles = ["control-plane"] * shape.control_planes + ["worker"] * shape.workers
    return "\n".join(["kind: Cluster", "apiVersion: kind.x-k8s.io/v1alpha4", "nodes:", *(f"- role: {role}" for role in roles)])
