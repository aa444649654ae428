"""Timings: how long each stage of an operation took, as a table at its end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from kindasync.events import BuildStepEnded, Event, KubeadmPhase, ManifestApplied, Timed


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stage of a node (or cluster, or build), `subject`; `until`: what ended it."""

    subject: str
    stage: str
    until: str
    began_s: float
    took_s: float


def spans(events: Iterable[Event]) -> list[Span]:
    """The stages that ended, in the order in which they began."""
    every = [
        Span(
            subject=event.node or event.cluster or event.stage,
            stage=event.stage,
            until=_until(event),
            began_s=event.monotonic_s - event.duration_s,
            took_s=event.duration_s,
        )
        for event in events
        if isinstance(event, Timed)
    ]
    return sorted(every, key=lambda span: span.began_s)


def aligned(events: Iterable[Event]) -> tuple[Event, ...]:
    """The events with times since the first operation began: those of clusters that are made side by side have each the times of their own."""
    events = tuple(events)
    began: dict[str, float] = {}
    for event in events:
        began.setdefault(event.cluster, event.time.timestamp() - event.monotonic_s)
    offsets = {cluster: round(each - min(began.values()), 2) for cluster, each in began.items()}
    return tuple(replace(event, monotonic_s=event.monotonic_s + offsets[event.cluster]) for event in events)


def _until(event: Timed) -> str:
    match event:
        case KubeadmPhase():
            return event.phase
        case ManifestApplied():
            return event.manifest
        case BuildStepEnded():
            return event.step
    return type(event).__name__


def rows(events: Iterable[Event]) -> Iterator[tuple[str, ...]]:
    """Node (or cluster), stage and what ended it, when it began and how long it took; in the order in which they began. None at all if nothing has ended."""
    ended = spans(aligned(events))
    if ended:
        yield "NODE", "STAGE", "UNTIL", "BEGAN", "TOOK"
    for span in ended:
        yield span.subject, span.stage, span.until, f"{span.began_s:.2f} s", f"{span.took_s:.2f} s"
