"""Names of clusters: which can be, which are chosen where none is given, and what is never asked of an Engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from kindasync import Cluster, ClusterNotFound, ConfigInvalid
from kindasync.cluster import delete
from kindasync.config import ClusterConfig, NodeConfig, Role
from kindasync.config._rules import length_problems
from kindasync.errors import ClusterError
from kindasync.testing import FakeEngine
from tests.unit.leftovers import nothing_left

pytestmark = pytest.mark.anyio

NONE = ["", " ", ".", "..", "-demo", "Bad_Name", "a b", "a/b", "../demo", "demo\n", "ü"]
META = {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4"}


@pytest.mark.parametrize("name", NONE)
async def test_a_name_that_no_cluster_can_have_is_not_found(fake: FakeEngine, home: Path, name: str) -> None:
    """Nothing is asked of the Engine: some take an empty value of a label for any."""
    with pytest.raises(ClusterNotFound, match="there can be no cluster") as raised:
        await Cluster.get(name, engine=fake.url)

    assert f'"{name}"' in raised.value.what
    assert raised.value.why
    assert "get clusters" in raised.value.hint
    assert fake.requests == []


@pytest.mark.parametrize("name", NONE)
async def test_a_name_that_no_cluster_can_have_is_not_deleted(fake: FakeEngine, home: Path, name: str) -> None:
    """Neither "all", nor a directory above the clusters'."""
    fake.add_container("demo-control-plane", "kindasync/node:v1.37.2", labels={"io.x-k8s.kind.cluster": "demo"})
    (home / ".local/state/kindasync/engine/demo").mkdir(parents=True)

    with nothing_left(fake, home), pytest.raises(ClusterError, match="there can be no cluster"):
        await delete(name, engine=fake.url)

    assert fake.requests == []


async def test_a_label_without_a_value_is_never_looked_for(fake: FakeEngine) -> None:
    """In all that is asked from the create to the delete, each label has its value, or any will do."""
    cluster = await Cluster.create("demo", engine=fake.url)
    await Cluster.get("demo", engine=fake.url)
    await Cluster.list(engine=fake.url)
    await cluster.delete()

    labels = {label for request in fake.requests for label in request.filters.get("label") or ()}
    assert "io.x-k8s.kind.cluster=demo" in labels
    assert [label for label in labels if label.endswith("=")] == []


# -- without a name


async def test_without_a_name_each_create_chooses_a_new_one(fake: FakeEngine, home: Path) -> None:
    """Also of one configuration, and at once: suites run side by side."""
    made: list[Cluster] = []

    async def create(config: ClusterConfig | None) -> None:
        made.append(await Cluster.create(config=config, engine=fake.url))

    with nothing_left(fake, home):
        config = ClusterConfig()
        async with anyio.create_task_group() as tasks:
            for each in (None, None, config, config):
                tasks.start_soon(create, each)

        names = {cluster.name for cluster in made}
        assert len(names) == 4
        assert all(name.startswith("test-") for name in names)
        assert set(fake.containers) == {f"{name}-control-plane" for name in names}
        assert set(await Cluster.list(engine=fake.url)) == names
        async with anyio.create_task_group() as tasks:
            for cluster in made:
                tasks.start_soon(cluster.delete)


@pytest.mark.parametrize("given", [None, ""])
async def test_the_configurations_name_is_used_where_none_is_given(fake: FakeEngine, given: str | None) -> None:
    """An empty one is none."""
    cluster = await Cluster.create(given, config={**META, "name": "configured"}, engine=fake.url)

    assert cluster.name == "configured"
    assert list(fake.containers) == ["configured-control-plane"]


# -- too long


@pytest.mark.parametrize(
    ("length", "control_planes", "too_long"),
    [(1, 1, 0), (49, 1, 0), (50, 1, 1), (63, 1, 14), (39, 2, 0), (40, 2, 0), (41, 2, 1)],
)
def test_names_that_are_too_long_for_nodes(length: int, control_planes: int, too_long: int) -> None:
    """A host name has at most 63 characters; the longest is "-control-plane", or with several the balancer's."""
    config = ClusterConfig(name="x" * length, nodes=(NodeConfig(role=Role.CONTROL_PLANE),) * control_planes)

    problems = [(problem.path, problem.message.split(" is ")[1].split(" letter")[0]) for problem in length_problems(config)]

    assert problems == ([("name", str(too_long))] if too_long else [])


@pytest.mark.parametrize("options", [{"name": "x" * 50}, {"config": {**META, "name": "x" * 50}}])
async def test_a_name_that_is_too_long_is_refused_before_anything_is_made(fake: FakeEngine, options: dict[str, Any]) -> None:
    """Wherever it was given; not by kubeadm, minutes later."""
    with pytest.raises(ConfigInvalid) as raised:
        await Cluster.create(engine=fake.url, **options)

    assert [problem.path for problem in raised.value.problems] == ["name"]
    assert fake.requests == []


async def test_the_longest_name(fake: FakeEngine) -> None:
    """Its node has a host name of 63 characters."""
    await Cluster.create("x" * 49, engine=fake.url)

    (container,) = fake.containers.values()
    assert len(container.body["Hostname"]) == 63
