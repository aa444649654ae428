"""Conditions: what can be waited for in objects, as `kubectl wait` has it, and what is to be said of those that are not there yet."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kindasync.cluster._readiness import condition_of
from kindasync.errors import ClusterError

Object = dict[str, Any]
Predicate = Callable[[Object], bool]
FORMS = (
    'forms: "condition=Available", "condition=Ready=False", "jsonpath={.status.phase}=Running", "exists", "delete"; '
    "for all else a function that gets the object"
)
_JSONPATH = re.compile(r"jsonpath=(?:\{(?P<braced>[^}]*)\}|(?P<plain>[^=]*))(?:=(?P<value>.*))?", re.DOTALL)
_STEP = re.compile(r"""\.(?P<name>(?:\\.|[^.\[\\])+)|\[(?P<index>-?\d+)\]|\[(?P<quote>['"])(?P<key>.*?)(?P=quote)\]""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Shape: `seen`, what an object has instead, or "" if the condition is met. `absent`: it is met when no object is there."""

    text: str
    seen: Callable[[Object], str]
    absent: bool = False

    def met_by(self, objects: Collection[Object]) -> bool:
        """Whether it is met by all, of which there has to be one; or by there being none."""
        return not objects if self.absent else bool(objects) and not any(map(self.seen, objects))


def parse(condition: str | Predicate) -> Condition:
    """Raises: ClusterError for what is no condition."""
    if not isinstance(condition, str):
        name = getattr(condition, "__name__", "")
        if inspect.iscoroutinefunction(condition) or inspect.iscoroutinefunction(getattr(condition, "__call__", None)):  # noqa: B004
            raise ClusterError(
                f"{name or condition} is no predicate", why="it is async: its coroutine would count as yes", hint="give a plain function"
            )
        return Condition(
            text=f"the predicate {name}" if name.isidentifier() else "the predicate", seen=lambda each: _denied(condition, each)
        )
    form, _, rest = condition.partition("=")
    match form:
        case "exists" | "create" if not rest:
            return Condition(text="exists", seen=lambda _: "")
        case "delete" if not rest:
            return Condition(text="delete", seen=_still_there, absent=True)
        case "condition" if rest:
            kind, _, status = rest.partition("=")
            return Condition(text=condition, seen=lambda each: _other_status(each, kind, status or "True"))
        case "jsonpath":
            path = _JSONPATH.fullmatch(condition)
            expression = path and (path["braced"] or path["plain"] or "")
            steps = steps_of(expression) if expression else None
            if path and expression and steps:
                return Condition(text=condition, seen=lambda each: _other_value(each, expression, steps, path["value"]))
    raise ClusterError(f'there is no condition "{condition}" to wait for', hint=FORMS)


def _denied(predicate: Predicate, document: Object) -> str:
    try:
        return "" if predicate(document) else "it says no"
    except LookupError as error:  # of what the object does not have yet
        return f"it raises {error!r}"


def _still_there(document: Object) -> str:
    metadata = document["metadata"]
    if not metadata.get("deletionTimestamp"):
        return "it is there, and nobody has deleted it"
    finalizers = metadata.get("finalizers")
    return f"it is being deleted since {metadata['deletionTimestamp']}" + (f", and kept by {', '.join(finalizers)}" if finalizers else "")


def _other_status(document: Object, kind: str, status: str) -> str:
    """What a condition of an object's status is instead. One of an older generation of the object says nothing of this."""
    found = next((each for each in _conditions(document) if str(each.get("type")).lower() == kind.lower()), None)
    if not found:
        return f"no condition {kind}"
    observed = found.get("observedGeneration") or (document.get("status") or {}).get("observedGeneration")
    if observed and observed < document["metadata"].get("generation", 0):
        return f"condition {kind} is that of an older generation"
    if str(found.get("status")).lower() == status.lower():
        return ""
    why = ": ".join(found[field] for field in ("reason", "message") if found.get(field))
    return f"{found['type']}={found.get('status')}" + (f" ({why})" if why else "")


def _other_value(document: Object, expression: str, steps: list[str | int], wanted: str | None) -> str:
    try:
        value = at(document, steps)
    except LookupError:
        return f"{expression} is not there"
    if wanted is None or _text(value) == wanted.strip():
        return ""
    return f"{expression} is {_text(value)}"


def steps_of(expression: str) -> list[str | int] | None:
    """The keys and indexes of a JSONPath such as `.status.addresses[0]['type']`; None for what is more than those."""
    steps: list[str | int] = []
    position = 0
    while position < len(expression):
        step = _STEP.match(expression, position)
        if not step:
            return None
        position = step.end()
        if step["index"]:
            steps.append(int(step["index"]))
        else:
            steps.append(step["key"] if step["key"] is not None else re.sub(r"\\(.)", r"\1", step["name"]))
    return steps


def at(document: Any, steps: list[str | int]) -> Any:
    """The value at a path. Raises: LookupError."""
    for step in steps:
        match document, step:
            case list(), int():
                document = document[step]
            case Mapping(), str():
                document = document[step]
            case _:
                raise LookupError(step)
    return document


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else json.dumps(value)


# -- states


def state_of(document: Object) -> str:
    """How an object is, in words: a pod's phase and why its containers do not run; of others their conditions."""
    if document.get("kind") == "Pod":
        return "; ".join(_pod_state(document))
    return ", ".join(f"{each['type']}={each['status']}" for each in _conditions(document))


def _pod_state(pod: Object) -> Iterator[str]:
    status = pod.get("status") or {}
    yield str(status.get("phase") or "no phase") + (f" ({status['reason']})" if status.get("reason") else "")
    scheduled = condition_of(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        yield f"not scheduled: {scheduled.get('message') or scheduled.get('reason')}"
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        name, state = container["name"], container.get("state") or {}
        if waiting := state.get("waiting"):
            yield f"container {name} waits: " + ": ".join(waiting[field] for field in ("reason", "message") if waiting.get(field))
        before = {} if container.get("ready") else container.get("lastState") or {}
        ended = state.get("terminated") or before.get("terminated")
        if ended and ended.get("exitCode"):
            yield f"container {name} ended with exit code {ended['exitCode']}"
        if "running" in state and not container.get("ready"):
            yield f"container {name} runs, and is not ready"


def _conditions(document: Object) -> Collection[Mapping[str, Any]]:
    return (document.get("status") or {}).get("conditions") or ()
