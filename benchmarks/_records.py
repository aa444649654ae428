"""Records: one line of JSON for each run, kept in a file that grows; and what is computed from them."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

Record = dict[str, Any]


def write(record: Record, path: Path | None) -> None:
    """Tell of a run, and add it to the file, if there is one."""
    figures = {name: record[name] for name in ("api_s", "usable_s", "account_s", "dns_s", "delete_s", "taken_s") if name in record}
    print(
        f"{record['program']:<26} {'(warm-up) ' if record['warm_up'] else ''}"
        + (record["error"] or "  ".join(f"{name} {value:6.2f}" for name, value in figures.items()))
        + f"  load {record['load'][0]}",
        flush=True,
    )
    if path:
        with path.open("a") as file:
            file.write(json.dumps(record) + "\n")


def read(paths: Iterable[Path]) -> list[Record]:
    """The runs that count, of all files."""
    records = [json.loads(line) for path in paths for line in path.read_text().splitlines()]
    return [record for record in records if not record["warm_up"]]


def chosen(records: Iterable[Record], **fields: Any) -> list[Record]:
    """Those that have these values."""
    return [record for record in records if all(record.get(name) == value for name, value in fields.items())]


def values(records: Iterable[Record], value: Callable[[Record], float | None]) -> list[float]:
    """One figure of each run that did not fail and has it, in order of size."""
    return sorted(figure for record in records if not record["error"] and (figure := value(record)) is not None)


def median(figures: Sequence[float]) -> float | None:
    """None without figures."""
    return statistics.median(figures) if figures else None


def p90(figures: Sequence[float]) -> float | None:
    """The value that nine of ten are below; between two of them, as far as it is."""
    if len(figures) < 2:
        return figures[0] if figures else None
    return statistics.quantiles(figures, n=10, method="inclusive")[-1]
