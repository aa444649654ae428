"""Timings: how long each stage of an operation took, as a table at its end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kindasync.events import Event, KubeadmPhase, ManifestApplied, Timed


def rows(events: Iterable[Event]) -> Iterator[tuple[str, ...]]:
    """Node (or cluster), stage and what ended it, when it began and how long it took; in the order in which they began."""
    yield "NODE", "STAGE", "UNTIL", "BEGAN", "TOOK"
    timed = [event for event in events if isinstance(event, Timed)]
    for event in sorted(timed, key=lambda event: event.monotonic_s - event.duration_s):
        match event:
            case KubeadmPhase():
                until = event.phase
            case ManifestApplied():
                until = event.manifest
            case _:
                until = type(event).__name__
        began_s = event.monotonic_s - event.duration_s
        yield event.node or event.cluster, event.stage, until, f"{began_s:.2f} s", f"{event.duration_s:.2f} s"
