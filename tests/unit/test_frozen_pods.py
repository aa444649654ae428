"""Frozen pods: a node that cannot end because of one is removed nevertheless."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from kindasync import Cluster
from kindasync.cluster import _frozen_pods
from kindasync.testing import FakeContainer, FakeEngine, ProgramResult
from tests.unit.leftovers import nothing_left

pytestmark = pytest.mark.anyio

NODE = "demo-control-plane"
NO_EXIT = f'cannot remove container "/{NODE}": could not kill: tried to kill container, but did not receive an exit event'


@pytest.fixture
def thawed(fake: FakeEngine) -> list[str]:
    """The IDs of containers whose pods were thawed."""
    found: list[str] = []

    def find(container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ProgramResult:
        found.append(argv[argv.index("-path") + 1].strip("*"))
        return ProgramResult()

    fake.node.programs["find"] = find
    return found


@pytest.mark.parametrize("cgroup_v1", [True, False])
async def test_a_node_that_does_not_end(
    fake: FakeEngine, home: Path, tmp_path: Path, thawed: list[str], monkeypatch: pytest.MonkeyPatch, cgroup_v1: bool
) -> None:
    """Its pods are thawed before it is tried again, where they can be; what thaws them is gone then."""
    monkeypatch.setattr(_frozen_pods, "FREEZER", str(tmp_path if cgroup_v1 else tmp_path / "missing"))
    with nothing_left(fake, home):
        cluster = await Cluster.create("demo", engine=fake.url)
        node = fake.containers[NODE].id
        fake.fail("ContainerDelete", message=NO_EXIT)

        await cluster.delete()

    assert thawed == ([node] if cgroup_v1 else [])


async def test_a_node_that_is_refused_for_another_reason(fake: FakeEngine, thawed: list[str]) -> None:
    """Is not looked into."""
    cluster = await Cluster.create("demo", engine=fake.url)
    fake.fail("ContainerDelete", message="device or resource busy")

    with pytest.raises(Exception, match="device or resource busy"):
        await cluster.delete()

    assert not thawed
