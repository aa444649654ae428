"""Traces: an operation as spans within each other, with the times of its events."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode, Tracer

from kindasync import Cluster
from kindasync.errors import StepFailed
from kindasync.events import ClusterReady, Event, KubeadmPhase, NetworkCreated, NodeBooted, ReadinessObserved, Warned
from kindasync.events import StepFailed as StepFailedEvent
from kindasync.otel import traced
from kindasync.testing import FakeEngine

pytestmark = pytest.mark.anyio
BEGAN = datetime(2026, 11, 26, 12, tzinfo=UTC)


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracer(exporter: InMemorySpanExporter) -> Tracer:
    """Of an SDK of its own."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider.get_tracer("tests")


def at(event: Event, seconds: float) -> Event:
    return replace(event, time=BEGAN + timedelta(seconds=seconds), monotonic_s=seconds)


EVENTS = [
    at(NetworkCreated(cluster="demo", duration_s=0.5, network="kind", subnets=("10.0.0.0/8", "fd00::/64")), 1),
    at(Warned(cluster="demo", node="a", message="published on 0.0.0.0"), 1.5),
    at(NodeBooted(cluster="demo", node="a", duration_s=1), 3),
    at(KubeadmPhase(cluster="demo", node="b", duration_s=2, phase="certs"), 4),
    at(ReadinessObserved(cluster="demo", node="a", subject="node a", state="Ready"), 5),
    at(ClusterReady(cluster="demo", duration_s=6), 6),
]


def seconds(span: ReadableSpan) -> tuple[float, float]:
    """From when to when, after BEGAN."""
    began_ns = int(BEGAN.timestamp()) * 10**9
    assert span.start_time
    assert span.end_time
    return (span.start_time - began_ns) / 1e9, (span.end_time - began_ns) / 1e9


def parents(exporter: InMemorySpanExporter) -> dict[str, str | None]:
    """In which span each is, by name."""
    spans = exporter.get_finished_spans()
    names = {span.context.span_id: span.name for span in spans if span.context}
    return {span.name: names[span.parent.span_id] if span.parent else None for span in spans}


def named(exporter: InMemorySpanExporter, name: str) -> ReadableSpan:
    (span,) = (span for span in exporter.get_finished_spans() if span.name == name)
    return span


def test_stages_are_in_nodes_and_nodes_in_the_operation(tracer: Tracer, exporter: InMemorySpanExporter) -> None:
    """With their times: of a stage, when it began and ended; of a node, from the first to the last that was heard of it."""
    with traced("create demo", tracer=tracer) as listener:
        for event in EVENTS:
            listener(event)

    assert parents(exporter) == {
        "network": "create demo",
        "boot": "a",
        "a": "create demo",
        "kubeadm": "b",
        "b": "create demo",
        "readiness": "create demo",
        "create demo": None,
    }
    assert {name: seconds(named(exporter, name)) for name in ("network", "boot", "a", "kubeadm", "b", "readiness")} == {
        "network": (0.5, 1),
        "boot": (2, 3),
        "a": (1.5, 5),
        "kubeadm": (2, 4),
        "b": (2, 4),
        "readiness": (0, 6),
    }


def test_attributes_are_what_events_say(tracer: Tracer, exporter: InMemorySpanExporter) -> None:
    """Names and fields, but for those that the span has itself; warnings are events of their node's span."""
    with traced("create demo", tracer=tracer) as listener:
        for event in EVENTS:
            listener(event)

    assert named(exporter, "network").attributes == {
        "kindasync.event": "NetworkCreated",
        "kindasync.cluster": "demo",
        "kindasync.network": "kind",
        "kindasync.subnets": ("10.0.0.0/8", "fd00::/64"),
    }
    assert (named(exporter, "kubeadm").attributes or {})["kindasync.phase"] == "certs"
    node = named(exporter, "a")
    assert node.attributes == {"kindasync.cluster": "demo", "kindasync.node": "a"}
    (warning,) = node.events
    assert (warning.name, (warning.attributes or {})["kindasync.message"]) == ("Warned", "published on 0.0.0.0")
    assert all(span.status.status_code is StatusCode.UNSET for span in exporter.get_finished_spans())


def test_what_failed(tracer: Tracer, exporter: InMemorySpanExporter) -> None:
    """The first step is the status of where it failed."""
    with traced("create demo", tracer=tracer) as listener:
        for step in ("boot node a", "create"):
            listener(at(StepFailedEvent(cluster="demo", node="a", step=step, error="it died"), 1))

    assert (named(exporter, "a").status.status_code, named(exporter, "a").status.description) == (StatusCode.ERROR, "boot node a")
    assert [event.name for event in named(exporter, "a").events] == ["StepFailed", "StepFailed"]


async def test_a_create(fake: FakeEngine, tracer: Tracer, exporter: InMemorySpanExporter) -> None:
    """As a listener of a real operation: all that the program itself traces in it is in it, too."""
    with traced("create demo", tracer=tracer) as listener:
        await Cluster.create("demo", engine=fake.url, on_event=listener)
        tracer.start_span("of the program").end()

    within = parents(exporter)
    assert within["of the program"] == within["demo-control-plane"] == "create demo"
    assert {"container", "boot", "runtime"} <= within.keys()


async def test_a_create_that_fails(fake: FakeEngine, tracer: Tracer, exporter: InMemorySpanExporter) -> None:
    """The trace has what there was until then, and the error."""
    fake.fail("ContainerStart", message="no space left on device")

    with pytest.raises(StepFailed), traced("create demo", tracer=tracer) as listener:
        await Cluster.create("demo", engine=fake.url, on_event=listener)

    assert named(exporter, "create demo").status.status_code is StatusCode.ERROR
    assert named(exporter, "demo-control-plane").status.status_code is StatusCode.ERROR


def test_without_opentelemetry() -> None:
    """It can be imported; a trace says what is missing."""
    program = """
import sys
sys.modules["opentelemetry"] = None
from kindasync.errors import KindasyncError
from kindasync.otel import traced
try:
    with traced("create"): pass
except KindasyncError as error:
    print(error.hint)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert ran.stdout == "pip install kindasync[otel]\n"


def test_without_an_sdk() -> None:
    """Nothing is kept, and nothing fails."""
    with traced("create demo") as listener:
        listener(EVENTS[0])
