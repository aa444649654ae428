"""Readiness: what a Node, a pod and all of them together say."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest

from kindasync.cluster._readiness import Observed, _Observer, heard_of, node_state, placed_by_choice, pods_made
from kindasync.events import Bus, Event, NodeReady, NodeRegistered, ReadinessObserved

pytestmark = pytest.mark.anyio


def condition(kind: str, status: str, **others: str) -> dict[str, Any]:
    return {"type": kind, "status": status} | others


@pytest.mark.parametrize(
    ("status", "state", "ready"),
    [
        ({}, "not heard of", False),
        ({"conditions": None}, "not heard of", False),
        ({"conditions": [condition("Ready", "True", message="kubelet is posting ready status")]}, "Ready", True),
        ({"conditions": [condition("Ready", "False", message="cni plugin not initialized")]}, "cni plugin not initialized", False),
        ({"conditions": [condition("Ready", "Unknown", message="Kubelet stopped posting")]}, "Kubelet stopped posting", False),
        ({"conditions": [condition("Ready", "False")]}, "registered", False),
        ({"conditions": [condition("MemoryPressure", "True"), condition("Ready", "True")]}, "Ready", True),  # by type, not by place
    ],
)
def test_the_state_of_a_node(status: Mapping[str, Any], state: str, ready: bool) -> None:
    """Its condition Ready; where that is not True, in the kubelet's words."""
    assert node_state({"metadata": {"name": "n"}, "status": status}) == (state, ready)


@pytest.mark.parametrize(
    ("owners", "chosen"),
    [
        (None, True),
        ([], True),
        (["ReplicaSet"], True),
        (["StatefulSet"], True),
        (["Node"], False),  # a static pod's mirror
        (["DaemonSet"], False),  # bound to its node from the beginning
        (["Other", "DaemonSet"], False),
    ],
)
def test_a_pod_that_the_scheduler_placed(owners: list[str] | None, chosen: bool) -> None:
    """Only such a pod shows that the scheduler works."""
    metadata: dict[str, Any] = {"name": "p"}
    if owners is not None:
        metadata["ownerReferences"] = [{"kind": kind} for kind in owners]

    assert placed_by_choice({"metadata": metadata}) is chosen


@pytest.mark.parametrize(
    ("kind", "status", "made"),
    [
        ("Deployment", {}, False),
        ("Deployment", {"observedGeneration": 2}, False),  # and none yet
        ("Deployment", {"observedGeneration": 2, "replicas": 1}, False),
        ("Deployment", {"observedGeneration": 2, "replicas": 2, "unavailableReplicas": 2}, True),
        ("Deployment", {"observedGeneration": 1, "replicas": 2}, False),
        ("DaemonSet", {"currentNumberScheduled": 0, "desiredNumberScheduled": 0}, False),  # as it is created
        ("DaemonSet", {"observedGeneration": 2, "currentNumberScheduled": 1, "desiredNumberScheduled": 2}, False),
        ("DaemonSet", {"observedGeneration": 2, "currentNumberScheduled": 2, "desiredNumberScheduled": 2, "numberReady": 0}, True),
        (
            "DaemonSet",
            {"observedGeneration": 2, "currentNumberScheduled": 0, "desiredNumberScheduled": 0},
            True,
        ),  # for nodes that are not here
    ],
)
def test_a_workload_whose_pods_are_made(kind: str, status: Mapping[str, Any], made: bool) -> None:
    """All of them, of this generation; they need not run."""
    assert pods_made({"kind": kind, "metadata": {"name": "w", "generation": 2}, "spec": {"replicas": 2}, "status": status}) is made


def test_what_was_observed_in_words() -> None:
    """Only what is missing, and how it was seen last: the words of NotReady."""
    observed = Observed({"node a": "Ready", "node b": "registered", "default ServiceAccount": "not seen"}, {"node a"})

    assert observed.missing == ["node b", "default ServiceAccount"]
    assert str(observed) == "node b: registered; default ServiceAccount: not seen"
    assert str(Observed({"node a": "Ready"}, {"node a"})) == "all there"


class Watch:
    """What an observer says while it is told things."""

    def __init__(self, *subjects: str) -> None:
        self.observed = Observed(dict.fromkeys(subjects, "not seen"))
        self.scope = anyio.CancelScope()
        self.bus = Bus(clock=lambda: 0.0)
        self._events = aiter(self.bus)
        self.observer = _Observer(self.observed, self.bus, "demo", self.scope, 0.0)

    async def said(self) -> list[tuple[type[Event], str]]:
        self.bus.close()
        return [(type(event), event.state if isinstance(event, ReadinessObserved) else event.node) async for event in self._events]


@pytest.mark.parametrize(
    ("others", "since", "heard"),
    [
        (None, None, False),
        ({}, None, False),
        ({"lastHeartbeatTime": "2026-11-27T08:00:00Z"}, None, True),
        ({"lastHeartbeatTime": "2026-11-27T08:00:00Z", "reason": "NodeStatusNeverUpdated"}, None, False),
        ({"lastHeartbeatTime": "2026-11-27T08:00:00Z"}, datetime(2026, 11, 27, 8, 0, 1, tzinfo=UTC), False),
        ({"lastHeartbeatTime": "2026-11-27T08:00:02Z"}, datetime(2026, 11, 27, 8, 0, 1, tzinfo=UTC), True),
    ],
)
def test_a_node_is_registered_when_its_kubelet_has_told(others: dict[str, str] | None, since: datetime | None, heard: bool) -> None:
    """Its object alone may have been made for it; and how it was before it was started again does not count."""
    conditions = [] if others is None else [condition("Ready", "False", **others)]

    assert heard_of({"metadata": {"name": "n"}, "status": {"conditions": conditions}}, since) is heard


async def test_a_registration_is_told_once() -> None:
    """Of the nodes of the cluster."""
    watch = Watch("node a")
    for name in ("a", "foreign", "a"):
        watch.observer.register(name)

    assert await watch.said() == [(NodeRegistered, "a")]


async def test_changes_are_events_and_repetitions_are_not() -> None:
    """A watch repeats a node with every heartbeat."""
    watch = Watch("node a")
    for state in ("registered", "registered", "no network", "registered"):
        watch.observer.see("node a", state, ready=False)

    assert await watch.said() == [(ReadinessObserved, "registered"), (ReadinessObserved, "no network"), (ReadinessObserved, "registered")]


async def test_it_ends_when_everything_is_ready() -> None:
    """Not before, in whatever order it comes; what nobody waits for does not count."""
    watch = Watch("node a", "default ServiceAccount")

    watch.observer.see("node a", "Ready", ready=True)
    watch.observer.see("node foreign", "registered", ready=False)
    before = watch.scope.cancel_called
    watch.observer.see("default ServiceAccount", "there", ready=True)

    assert (before, watch.scope.cancel_called) == (False, True)
    assert await watch.said() == [(ReadinessObserved, "Ready"), (NodeReady, "a"), (ReadinessObserved, "there")]


async def test_what_was_ready_and_is_not_is_waited_for_again() -> None:
    """Ready means now, not once."""
    watch = Watch("node a", "node b")

    watch.observer.see("node a", "Ready", ready=True)
    watch.observer.see("node a", "its Node object was deleted", ready=False)
    watch.observer.see("node b", "Ready", ready=True)
    between = (watch.scope.cancel_called, watch.observed.missing)
    watch.observer.see("node a", "Ready", ready=True)

    assert between == (False, ["node a"])
    assert watch.scope.cancel_called
