"""Wait for: objects as a user wants them, watched, whether or not they, their namespace or their kind are there yet."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing, suppress
from typing import Any
from urllib.parse import quote, urlencode

import anyio

from kindasync.cluster._api import ClusterApi
from kindasync.cluster._conditions import Condition, state_of
from kindasync.cluster._discovery import DEFINITIONS, Reference, Resource
from kindasync.cluster._pods import selector_of
from kindasync.cluster._readiness import condition_of
from kindasync.errors import ApiRefused, ApiUnreachable, KindUnknown, NotReady

EXPLAIN_S = 5.0
LOOK_S = 10.0  # for one look
Objects = list[dict[str, Any]]


async def wait_for(api: ClusterApi, reference: Reference, condition: Condition, *, timeout_s: float) -> Objects:
    """Wait until objects meet a condition, and return them; with `timeout_s` 0, only look. See `Cluster.wait_for`."""
    resource: Resource | None = None
    objects: Objects | None = None
    unseen = "no answer"
    try:
        with anyio.fail_after(timeout_s or LOOK_S):
            resource = await api.find(reference.called)
            if not resource:
                unseen = KindUnknown(reference.called.name).what
                resource = await _defined(api, reference, condition)
                unseen = "no answer"
            async with aclosing(api.observe(resource.path(reference.namespace), selector=reference.query)) as states:
                async for objects in states:
                    if condition.met_by(objects):
                        return objects
                    if not timeout_s:
                        raise TimeoutError
            raise AssertionError("observing has no end")
    except TimeoutError:
        if objects is None:
            last = api.last_failure or unseen
        else:
            last = "; ".join(_states(condition, objects)) or ("it is not there" if reference.name else "none is there")
        late = NotReady(f"{condition.text} of {reference}", last, after_s=timeout_s)
        with anyio.move_on_after(EXPLAIN_S), suppress(ApiRefused, ApiUnreachable):
            late.add_evidence("\n".join(await _explanation(api, resource, reference, objects or [])))
        raise late from None


async def _defined(api: ClusterApi, reference: Reference, condition: Condition) -> Resource:
    """Where the objects are, as soon as their kind is defined. Raises: KindUnknown for one whose objects are to be gone."""
    if condition.absent:
        raise KindUnknown(reference.called.name)
    async with aclosing(api.observe(DEFINITIONS)) as states:
        async for definitions in states:
            for each in definitions:
                if condition_of(each, "Established").get("status") == "True":
                    for resource in Resource.of_definition(each):
                        if reference.called.means(resource):
                            return resource
    raise AssertionError("observing has no end")


def _states(condition: Condition, objects: Objects) -> list[str]:
    """How those are that do not meet the condition."""
    seen = ((each, condition.seen(each)) for each in objects)
    return [f"{each['metadata']['name']}: " + "; ".join(filter(None, (state, state_of(each)))) for each, state in seen if state]


async def _explanation(api: ClusterApi, resource: Resource | None, reference: Reference, objects: Objects) -> Sequence[str]:
    """What may explain the state of objects: a namespace that is not there; how the pods of a Deployment and the like are."""
    if resource and resource.namespaced and reference.namespace and not objects:
        try:
            await api.request("GET", f"/api/v1/namespaces/{quote(reference.namespace, safe='')}")
        except ApiRefused as error:
            return [error.why]
    lines = []
    for each in objects:
        selector = selector_of(each) if "template" in (each.get("spec") or {}) else ""
        if selector:
            query = urlencode({"labelSelector": selector})
            reply = await api.request("GET", f"/api/v1/namespaces/{each['metadata']['namespace']}/pods?{query}")
            lines += [f"pod {pod['metadata']['name']}: {state_of({**pod, 'kind': 'Pod'})}" for pod in reply["items"]]
    return lines
