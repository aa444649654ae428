"""OpenTelemetry: an operation as a trace. Its root span is the operation, with a span for each node, and in those one for each stage.

`pip install kindasync[otel]` brings OpenTelemetry's API. What becomes of spans is the matter of an SDK that the program sets up; without one they are nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from kindasync.errors import KindasyncError
from kindasync.events import Event, Interrupted, StepFailed, Timed, Warned

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

_COMMON = ("event", "cluster", "node", "stage", "time", "monotonic_s", "duration_s")


@contextmanager
def traced(name: str, *, tracer: Tracer | None = None) -> Iterator[Callable[[Event], None]]:
    """An operation's events as a trace, when the context ends: it gives a listener for `on_event`.

    Shape: `name` that of the root span, which is current in the context, so that other instrumentations' spans are in it, too; an error that
    leaves the context is its error. A span for each node, from the first of its events to the last; in it, or in the root for what
    belongs to no node, a span for each event that ends a stage, named as the stage, with the event's name and fields as attributes
    "kindasync.…". Steps that failed, and warnings, are events of these spans. `tracer` None: kindasync's, of the global provider.
    Raises: KindasyncError without OpenTelemetry's API.
    """
    try:
        from opentelemetry import trace
    except ImportError as error:
        raise KindasyncError("there is no OpenTelemetry", why=str(error), hint="pip install kindasync[otel]") from error
    from kindasync import __version__

    tracer = tracer or trace.get_tracer("kindasync", __version__)
    seen: list[Event] = []
    with tracer.start_as_current_span(name) as root:
        try:
            yield seen.append
        finally:
            _record(tracer, root, seen)


def _record(tracer: Tracer, root: Span, events: Iterable[Event]) -> None:
    """Make the spans of what has happened, within `root`."""
    from opentelemetry.trace import set_span_in_context

    by_node: dict[str, list[Event]] = {}
    for event in events:
        by_node.setdefault(event.node, []).append(event)
    in_root = set_span_in_context(root)
    for node, own in by_node.items():
        if not node:
            _record_stages(tracer, root, own)
            continue
        names = {"kindasync.cluster": own[0].cluster, "kindasync.node": node}
        span = tracer.start_span(node, in_root, start_time=min(map(_began_ns, own)), attributes=names)
        _record_stages(tracer, span, own)
        span.end(max(_ns(event.time) for event in own))


def _record_stages(tracer: Tracer, span: Span, events: Iterable[Event]) -> None:
    """Make the spans of stages within `span`; and let it have the events that are no stages. The first step that failed is its error."""
    from opentelemetry.trace import Status, StatusCode, set_span_in_context

    within = set_span_in_context(span)
    failed = ""
    for event in events:
        match event:
            case Timed():
                stage = tracer.start_span(event.stage, within, start_time=_began_ns(event), attributes=_attributes(event))
                stage.end(_ns(event.time))
            case StepFailed() | Interrupted() | Warned():
                span.add_event(type(event).__name__, _attributes(event), _ns(event.time))
                failed = failed or getattr(event, "step", "")
    if failed:
        span.set_status(Status(StatusCode.ERROR, failed))


def _began_ns(event: Event) -> int:
    return _ns(event.time - timedelta(seconds=event.duration_s) if isinstance(event, Timed) else event.time)


def _ns(time: datetime) -> int:
    """Nanoseconds since 1970."""
    return int(time.timestamp() * 1_000_000) * 1000


def _attributes(event: Event) -> dict[str, Any]:
    """An event's name and fields, as attributes are: no empty ones, and numbers, texts, or lists of them."""
    document = event.to_json()
    own = {name: value for name, value in document.items() if name not in _COMMON}
    named = {name: document[name] for name in ("event", "cluster", "node") if document[name]}
    return {f"kindasync.{name}": value for name, value in (named | own).items()}
