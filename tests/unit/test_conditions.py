"""Conditions: when they are met, what is seen instead, and how objects are, in words."""

from __future__ import annotations

from typing import Any

import pytest

from kindasync.cluster._conditions import parse, state_of, steps_of
from kindasync.errors import ClusterError


def deployment(*conditions: dict[str, Any], generation: int = 2, observed: int = 2) -> dict[str, Any]:
    metadata = {"name": "web", "generation": generation}
    return {"kind": "Deployment", "metadata": metadata, "status": {"observedGeneration": observed, "conditions": [*conditions]}}


AVAILABLE = {"type": "Available", "status": "True"}
UNAVAILABLE = {"type": "Available", "status": "False", "reason": "MinimumReplicasUnavailable", "message": "not enough"}
POD = {"kind": "Pod", "metadata": {"name": "web"}, "status": {"phase": "Running", "podIPs": [{"ip": "10.244.0.5"}], "ready": True, "n": 3}}
LABELLED = {"metadata": {"name": "web", "labels": {"app.kubernetes.io/name": "web"}}}


@pytest.mark.parametrize(
    ("condition", "document", "seen"),
    [
        ("condition=Available", deployment(AVAILABLE), ""),
        ("condition=available", deployment(AVAILABLE), ""),
        ("condition=Available=True", deployment(AVAILABLE), ""),
        ("condition=Available=False", deployment(AVAILABLE), "Available=True"),
        ("condition=Available=false", deployment(UNAVAILABLE), ""),
        ("condition=Available", deployment(UNAVAILABLE), "Available=False (MinimumReplicasUnavailable: not enough)"),
        ("condition=Available", deployment(), "no condition Available"),
        ("condition=Available", {"metadata": {"name": "web"}}, "no condition Available"),
        ("condition=Available", deployment(AVAILABLE, observed=1), "condition Available is that of an older generation"),
        ("condition=Available", deployment({**AVAILABLE, "observedGeneration": 1}), "condition Available is that of an older generation"),
        ("jsonpath={.status.phase}=Running", POD, ""),
        ("jsonpath=.status.phase=Running", POD, ""),
        ("jsonpath={.status.phase}=Failed", POD, ".status.phase is Running"),
        ("jsonpath={.status.phase}", POD, ""),
        ("jsonpath={.status.none.x}", POD, ".status.none.x is not there"),
        ("jsonpath={.status.podIPs[0].ip}=10.244.0.5", POD, ""),
        ("jsonpath={.status.podIPs[-1].ip}=10.244.0.5", POD, ""),
        ("jsonpath={.status.podIPs[1].ip}=10.244.0.5", POD, ".status.podIPs[1].ip is not there"),
        ("jsonpath={.status.ready}=true", POD, ""),
        ("jsonpath={.status.n}=3", POD, ""),
        ("jsonpath={.status.podIPs}=3", POD, '.status.podIPs is [{"ip": "10.244.0.5"}]'),
        ("jsonpath={.metadata.labels['app.kubernetes.io/name']}=web", LABELLED, ""),
        (r"jsonpath={.metadata.labels.app\.kubernetes\.io/name}=web", LABELLED, ""),
        ("exists", LABELLED, ""),
        ("create", LABELLED, ""),
        ("delete", LABELLED, "it is there, and nobody has deleted it"),
        (lambda each: each["status"]["n"] == 3, POD, ""),
        (lambda each: each["status"]["n"] == 4, POD, "it says no"),
        (lambda each: each["status"]["m"] == 4, POD, "it raises KeyError('m')"),
    ],
)
def test_what_is_seen_instead(condition: Any, document: dict[str, Any], seen: str) -> None:
    """Nothing, if the condition is met."""
    assert parse(condition).seen(document) == seen


def test_a_predicate_s_own_mistakes_are_raised() -> None:
    """Only what is not there yet means no."""
    with pytest.raises(AttributeError):
        parse(lambda each: bool(each.status)).seen(POD)  # type: ignore[attr-defined]


def test_all_have_to_meet_a_condition_and_one_has_to_be_there() -> None:
    """Other than "delete", which none at all meet."""
    running = parse("jsonpath={.status.phase}=Running")

    assert running.met_by([POD, POD])
    assert not running.met_by([POD, LABELLED])
    assert not running.met_by([])
    assert parse("delete").met_by([])
    assert not parse("delete").met_by([POD])


@pytest.mark.parametrize(
    "condition",
    [
        "",
        "ready",
        "condition",
        "condition=",
        "delete=x",
        "jsonpath=",
        "jsonpath={}=x",
        "jsonpath={.a[*]}",
        "jsonpath={.a",
        "jsonpath={status}",
    ],
)
def test_what_is_no_condition_is_refused(condition: str) -> None:
    """With those that there are."""
    with pytest.raises(ClusterError, match="there is no condition") as raised:
        parse(condition)

    assert "condition=Available" in raised.value.hint


def test_steps() -> None:
    """Keys, quoted keys, indexes."""
    assert steps_of(r""".a.b\.c[0]["d.e"]['f']""") == ["a", "b.c", 0, "d.e", "f"]
    assert steps_of(".a[?(@.b)]") is None


WAITS = {"name": "main", "state": {"waiting": {"reason": "ErrImageNeverPull", "message": "image is not present"}}}
CRASHES = {
    "name": "main",
    "state": {"waiting": {"reason": "CrashLoopBackOff"}},
    "lastState": {"terminated": {"exitCode": 3}},
}


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ({"phase": "Running"}, "Running"),
        ({}, "no phase"),
        ({"phase": "Failed", "reason": "Evicted"}, "Failed (Evicted)"),
        ({"phase": "Pending", "containerStatuses": [WAITS]}, "Pending; container main waits: ErrImageNeverPull: image is not present"),
        (
            {"phase": "Running", "containerStatuses": [CRASHES]},
            "Running; container main waits: CrashLoopBackOff; container main ended with exit code 3",
        ),
        ({"phase": "Running", "containerStatuses": [{**CRASHES, "state": {"running": {}}, "ready": True}]}, "Running"),
        (
            {"phase": "Pending", "initContainerStatuses": [{**WAITS, "name": "init"}]},
            "Pending; container init waits: ErrImageNeverPull: image is not present",
        ),
        (
            {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}]},
            "Pending; not scheduled: 0/1 nodes are available",
        ),
        (
            {"phase": "Running", "containerStatuses": [{"name": "main", "ready": False, "state": {"running": {}}}]},
            "Running; container main runs, and is not ready",
        ),
    ],
)
def test_how_pods_are(status: dict[str, Any], state: str) -> None:
    """Their phase, and why their containers do not run."""
    assert state_of({**POD, "status": status}) == state


def test_how_other_objects_are() -> None:
    """Their conditions."""
    assert state_of(deployment(AVAILABLE, {"type": "Progressing", "status": "True"})) == "Available=True, Progressing=True"
    assert state_of(LABELLED) == ""


def test_what_keeps_an_object_that_is_deleted() -> None:
    """Since when, and its finalizers."""
    metadata = {"name": "x", "deletionTimestamp": "2026-11-26T10:00:00Z", "finalizers": ["example.com/mine"]}

    assert parse("delete").seen({"metadata": metadata}) == "it is being deleted since 2026-11-26T10:00:00Z, and kept by example.com/mine"


def test_an_async_predicate_is_refused() -> None:
    """What it gives is a coroutine, which is neither yes nor no."""

    async def ready(_: object) -> bool:
        return False

    with pytest.raises(ClusterError, match="ready is no predicate"):
        parse(ready)  # type: ignore[arg-type]
