"""The report of records: a table for each series, the bars, and the plots."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import _figures as of
from benchmarks._bars import bars
from benchmarks._plot import dots, spans
from benchmarks._programs import OURS
from benchmarks._records import Record, chosen, median, p90, values

COLUMNS: tuple[tuple[str, of.Figure, int], ...] = (
    ("API s", of.api, 2),
    ("usable s", of.usable, 2),
    ("new namespace s", of.account, 2),
    ("DNS s", of.dns, 2),
    ("delete s", of.delete, 2),
    ("load s", of.taken, 2),
    ("MB/s into each node", lambda record: record["size_bytes"] / 1e6 / record["taken_s"] if "size_bytes" in record else None, 1),
    ("node core-s", of.node_cpu, 1),
    ("nodes' memory GiB", of.memory_peak, 2),
    ("… without page cache", of.memory_own, 2),
    ("client core-s", of.client_cpu, 2),
    ("client MB", of.client_memory, 0),
)
PLOTS: tuple[tuple[str, str, of.Figure], ...] = (
    ("usable", "Create: seconds until all nodes are Ready, the default ServiceAccount exists and a pod is scheduled", of.usable),
    ("dns", "Create: seconds until the DNS pods are Ready", of.dns),
    ("delete", "Delete: seconds", of.delete),
    ("load", "Load: seconds for an image into all nodes", of.taken),
)
QUIET_CORES = 0.2  # in use before a run
NOTABLE_S = 0.05


def report(records: Sequence[Record], plots: Path | None) -> str:
    """As Markdown. A cell is a median, and in brackets what nine of ten runs are below. The plots are written to a directory."""
    if plots:
        plots.mkdir(parents=True, exist_ok=True)
        for name, text in _plots(records):
            (plots / f"{name}.svg").write_text(text)
    return "\n".join([*_tables(records), *_bars(records), *_caveats(records)])


def _series(records: Sequence[Record]) -> dict[str, list[Record]]:
    series: dict[str, list[Record]] = {}
    for record in records:
        at_once = f", {record['clusters']} at once" if record.get("clusters", 1) > 1 else ""
        series.setdefault(f"{record['benchmark']} {record['shape']}{at_once}", []).append(record)
    return series


def _programs(records: Sequence[Record]) -> dict[str, list[Record]]:
    return {name: chosen(records, program=name) for name in sorted({record["program"] for record in records})}


def _tables(records: Sequence[Record]) -> Iterator[str]:
    for name, those in _series(records).items():
        columns = [column for column in COLUMNS if values(those, column[1])]
        yield f"\n| {name} | runs | failed | " + " | ".join(title for title, *_ in columns) + " |"
        yield "|---" * (len(columns) + 3) + "|"
        for program, each in _programs(those).items():
            cells = [_cell(values(each, figure), digits) for _, figure, digits in columns]
            yield f"| {program} | {len(each)} | {sum(bool(record['error']) for record in each)} | " + " | ".join(cells) + " |"


def _cell(figures: Sequence[float], digits: int) -> str:
    middle, most = median(figures), p90(figures)
    return "" if middle is None else f"{middle:.{digits}f} ({most:.{digits}f})"


def _bars(records: Sequence[Record]) -> Iterator[str]:
    found = [*bars(records)]
    if found:
        yield "\n| bar | measured | at most | |\n|---|---|---|---|"
    for bar in found:
        yield f"| {bar.what} | {bar.figure:.2f} {bar.unit} | {bar.limit:g} {bar.unit} | {'met' if bar.met else '**not met**'} |"


def _caveats(records: Sequence[Record]) -> Iterator[str]:
    disturbed = sum(record["cores_in_use"] > QUIET_CORES for record in records)
    if disturbed:
        yield f"\nThe machine did other things before {disturbed} of {len(records)} runs: more than {QUIET_CORES} cores were in use."
    for record in records:
        if record["error"]:
            yield f"\n{record['program']} failed: {record['error'].strip()}"


def _plots(records: Sequence[Record]) -> Iterator[tuple[str, str]]:
    series = _series(records)
    for name, title, figure in PLOTS:
        rows = [
            (f"{program} · {label.partition(' ')[2]}", values(each, figure))
            for label, those in series.items()
            for program, each in _programs(those).items()
        ]
        if rows := [(label, figures) for label, figures in rows if figures]:
            yield name, dots(title, rows)
    for label, those in series.items():
        own = [record for record in chosen(those, program=OURS, clusters=1) if not record["error"]]
        if own:
            shape = label.partition(" ")[2]
            yield f"phases-{shape}", spans(f"kindasync {shape}: what happens when, seconds (medians)", _phases(own))


def _phases(records: Sequence[Record]) -> list[tuple[str, float, float]]:
    """What, and the medians of when it began and ended, in the order in which they began: what every run had and took time, and what was seen from outside."""
    found: dict[str, list[tuple[float, float]]] = {}
    for record in records:
        for phase in (phase for phase in record["phases"] if phase["took_s"]):
            node = phase["node"].removeprefix("bench-1").removeprefix("-")
            label = phase["what"].removeprefix("KubeadmPhase ") + (f" · {node}" if node else "")
            found.setdefault(label, []).append((phase["at_s"] - phase["took_s"], phase["at_s"]))
        for name, at_s in record["marks"]["bench-1"].items():
            found.setdefault(f"seen from outside: {name}", []).append((at_s, at_s))
    middles = [
        (label, statistics.median(began for began, _ in each), statistics.median(ended for _, ended in each))
        for label, each in found.items()
        if len(each) >= len(records)
    ]
    return sorted((each for each in middles if each[2] - each[1] > NOTABLE_S or each[1] == each[2]), key=lambda span: span[1:])
