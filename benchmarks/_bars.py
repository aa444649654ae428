"""The bars: what the project has set itself, and whether records meet it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks import _figures as of
from benchmarks._programs import KIND, KIND_WAITS, OURS, OURS_PROCESSES, OURS_SINGLE
from benchmarks._records import Record, chosen, median, values

# Seconds of kind on this project's machines, as first measured: nothing that slows kind counts for us. That image had a CNI configuration
# in it; in ours the pod network's daemon writes it, as in kind's own, so a node of kind's is Ready no sooner than that runs.
KINDS_OWN = (
    ("1+0 Ready", of.ready, 13.0, "1+0", 1),
    ("1+0 Ready, ServiceAccount", of.ready_and_account, 17.4, "1+0", 1),
    ("1+0 DNS", of.dns, 29.3, "1+0", 1),
    ("1+2 Ready, ServiceAccount", of.ready_and_account, 23.5, "1+2", 1),
    ("four at once", of.ready_and_account, 36.0, "1+0", 4),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A figure, and the most that it may be."""

    what: str
    figure: float
    limit: float
    unit: str = "x"

    @property
    def met(self) -> bool:
        return self.figure <= self.limit


def bars(records: Sequence[Record]) -> Iterator[Bar]:
    """Those that there are records for. A ratio is one of medians; kind's is that of kind or of kind --wait, whichever is less."""

    def ours(figure: of.Figure, shape: str, clusters: int = 1, program: str = OURS) -> float | None:
        return median(values(chosen(records, benchmark="create", shape=shape, clusters=clusters, program=program), figure))

    def kinds(figure: of.Figure, shape: str, clusters: int = 1) -> float | None:
        both = (ours(figure, shape, clusters, program) for program in (KIND, KIND_WAITS))
        return min((each for each in both if each is not None), default=None)

    def ratio(what: str, limit: float, one: float | None, other: float | None) -> Iterator[Bar]:
        if one is not None and other:
            yield Bar(what=what, figure=one / other, limit=limit)

    def at_most(what: str, limit: float, unit: str, figure: float | None) -> Iterator[Bar]:
        if figure is not None:
            yield Bar(what=what, figure=figure, limit=limit, unit=unit)

    yield from at_most("1+0 usable", 7.0, "s", ours(of.usable, "1+0"))
    for shape in ("1+0", "1+2"):
        yield from ratio(f"{shape} usable, to kind's", 0.40, ours(of.usable, shape), kinds(of.usable, shape))
    yield from ratio("3+0 usable, to our 1+0's", 2.5, ours(of.usable, "3+0"), ours(of.usable, "3+0", program=OURS_SINGLE))
    for program in (OURS, OURS_PROCESSES):
        yield from ratio(f"four at once ({program}), to kind's", 0.60, ours(of.usable, "1+0", 4, program), kinds(of.usable, "1+0", 4))
        yield from at_most(f"four at once ({program}), to the core-seconds needed", 1.2, "x", ours(of.over_need, "1+0", 4, program))
        if eight := chosen(records, benchmark="create", shape="1+0", clusters=8, program=program):
            failed = sum(bool(record["error"]) for record in eight)
            yield Bar(what=f"eight at once ({program}), runs of {len(eight)} that failed", figure=failed, limit=0, unit="")
        yield from at_most(f"eight at once ({program}), memory", 16.0, "GiB", ours(of.memory_peak, "1+0", 8, program))
    yield from at_most("eight at once, client memory of one process", 120.0, "MB", ours(of.client_memory, "1+0", 8))
    yield from ratio("1+0 DNS pods ready, to kind's", 0.35, ours(of.dns, "1+0"), kinds(of.dns, "1+0"))
    yield from ratio("1+2 delete, to kind's", 0.70, ours(of.delete, "1+2"), kinds(of.delete, "1+2"))
    for shape in ("1+0", "1+2"):
        yield from ratio(f"{shape} client CPU, to kind's", 1.0, ours(of.client_cpu, shape), kinds(of.client_cpu, shape))
    yield from ratio("image of 300 MB into 1+2, to kind's", 0.50, *(_load(records, program) for program in (OURS, KIND)))
    claims = values(chosen(records, benchmark="claim", shape="1+0", program=OURS), of.api)
    yield from at_most("claim from a pool, API usable", 1.0, "s", median(claims))
    for what, figure, seconds, shape, clusters in KINDS_OWN:
        yield from ratio(f"kind's {what}, to {seconds} s", 1.15, kinds(figure, shape, clusters), seconds)


def _load(records: Sequence[Record], program: str) -> float | None:
    """The median of a program's seconds."""
    return median(values(chosen(records, benchmark="load", shape="1+2", size_bytes=300_000_000, program=program), of.taken))
