"""Kubernetes events: those that are remembered, then each that comes, once for each time that it happens."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import anyio
import pytest

from kindasync.cluster._api import ClusterApi
from kindasync.cluster._kubernetes_events import kubernetes_events
from tests.unit.kubernetes import Kubernetes

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("retries_at_once")]


def event(name: str, reason: str, time: str, **fields: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Event", "metadata": {"name": name}, "reason": reason, "lastTimestamp": time, **fields}


@pytest.fixture
async def kubernetes() -> Kubernetes:
    kubernetes = Kubernetes()
    kubernetes.put(event("b", "Scheduled", "10:00"), "default")
    kubernetes.put(event("a", "Pulled", "10:01"), "default")
    kubernetes.put(event("c", "Elsewhere", "09:00"), "other")
    return kubernetes


async def reasons(api: ClusterApi, count: int, namespace: str | None = "default") -> list[str]:
    """Of the first events."""
    seen: list[str] = []
    with anyio.fail_after(10):
        async with aclosing(kubernetes_events(api, namespace)) as events:
            async for each in events:
                seen.append(each["reason"])
                if len(seen) == count:
                    break
    return seen


async def test_those_that_are_remembered_come_first(api: ClusterApi) -> None:
    """The oldest first; of one namespace, or of all."""
    assert await reasons(api, 2) == ["Scheduled", "Pulled"]
    assert await reasons(api, 3, namespace=None) == ["Elsewhere", "Scheduled", "Pulled"]


async def test_each_comes_once_for_each_time_that_it_happens(kubernetes: Kubernetes, api: ClusterApi) -> None:
    """Also where the watch ends in between; that one is forgotten is no event."""
    seen: list[str] = []

    async def collect() -> None:
        seen.extend(await reasons(api, 4))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(collect)
        await kubernetes.asked("GET /api/v1/namespaces/default/events watch")
        kubernetes.put(event("d", "Started", "10:02"), "default")
        kubernetes.forget()
        kubernetes.remove(event("b", "Scheduled", "10:00"), "default")
        await kubernetes.asked("GET /api/v1/namespaces/default/events watch", 2)
        kubernetes.put(event("a", "Pulled", "10:03", count=2), "default")

    assert seen == ["Scheduled", "Pulled", "Started", "Pulled"]
