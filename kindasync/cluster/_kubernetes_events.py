"""Kubernetes events: what a cluster's own components tell, one by one."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any
from urllib.parse import quote

from kindasync.cluster._api import ClusterApi

Event = dict[str, Any]


async def kubernetes_events(api: ClusterApi, namespace: str | None) -> AsyncGenerator[Event, None]:
    """Those that are remembered, oldest first; then each that is new, or has happened again; on and on."""
    within = "" if namespace is None else f"/namespaces/{quote(namespace, safe='')}"
    told: dict[str, str] = {}
    async with aclosing(api.observe(f"/api/v1{within}/events")) as states:
        async for events in states:
            for event in sorted(events, key=_time):
                metadata = event["metadata"]
                if told.get(metadata["uid"]) != metadata["resourceVersion"]:
                    yield event
            told = {event["metadata"]["uid"]: event["metadata"]["resourceVersion"] for event in events}


def _time(event: Event) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or "")
