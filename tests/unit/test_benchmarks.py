"""What the benchmarks compute from their records: medians of runs that count, and whether the bars are met."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks._bars import bars
from benchmarks._programs import Shape
from benchmarks._records import Record, p90, read
from benchmarks._report import report


def run(program: str, usable_s: float, **fields: object) -> Record:
    return {
        "benchmark": "create",
        "shape": "1+0",
        "clusters": 1,
        "program": program,
        "warm_up": False,
        "error": "",
        "cores_in_use": 0.0,
        "machine": {"cores": 2},
        "usable_s": usable_s,
        "marks": {"bench-1": {"ready": usable_s, "account": usable_s, "scheduled": usable_s}},
        "phases": [],
        **fields,
    }


def test_a_ratio_is_of_medians_to_the_faster_of_kinds_two() -> None:
    series = {"kindasync": (4, 5, 9), "kind": (18, 20, 30), "kind --wait": (12, 10, 50)}
    records = [run(program, seconds) for program, times in series.items() for seconds in times]

    found = {bar.what: bar for bar in bars(records)}

    assert found["1+0 usable"].figure == 5
    assert found["1+0 usable, to kind's"].figure == pytest.approx(5 / 12)
    assert not found["1+0 usable, to kind's"].met


def test_a_run_that_failed_counts_as_such_and_in_no_median() -> None:
    records = [run("kindasync", 40, clusters=8), run("kindasync", 1, clusters=8, error="out of memory")]

    found = {bar.what: bar for bar in bars(records)}

    assert not found["eight at once (kindasync), runs of 2 that failed"].met
    assert "| kindasync | 2 | 1 | 40.00 (40.00) |" in report(records, None)


def test_loads_of_one_size_are_compared() -> None:
    one = {"benchmark": "load", "shape": "1+2", "warm_up": False, "error": "", "size_bytes": 300_000_000}
    records = [one | {"program": program, "taken_s": taken} for program, taken in (("kindasync", 8.0), ("kind", 20.0))]

    (bar,) = bars([*records, records[0] | {"size_bytes": 1, "taken_s": 0.1}])

    assert (bar.figure, bar.limit) == (0.4, 0.5)


def test_seconds_are_compared_with_what_all_cores_would_take() -> None:
    """Twelve core-seconds are six seconds of two cores; nine is half as much again."""
    (bar,) = [
        bar
        for bar in bars([run("kindasync", 9, clusters=4, nodes={"cpu_s": 11}, client={"cpu_s": 1, "memory_peak_bytes": 1})])
        if "core-seconds" in bar.what
    ]

    assert bar.figure == 1.5
    assert not bar.met


def test_runs_of_a_series_come_from_several_files_without_their_warm_ups(tmp_path: Path) -> None:
    for name, warm_up in (("first", True), ("second", False)):
        (tmp_path / name).write_text(json.dumps(run(name, 5, warm_up=warm_up)) + "\n")

    assert [record["program"] for record in read([tmp_path / "first", tmp_path / "second"])] == ["second"]


def test_plots_are_documents_with_all_runs_in_them(tmp_path: Path) -> None:
    phases = [{"what": "FilesPut", "node": "bench-1-control-plane", "at_s": 2.0, "took_s": 0.5}]

    report([run("kindasync", seconds, phases=phases) for seconds in (5, 6, 7)], tmp_path)

    assert (tmp_path / "usable.svg").read_text().count("<circle") == 3
    assert "FilesPut · control-plane" in (tmp_path / "phases-1+0.svg").read_text()
    for plot in tmp_path.iterdir():
        ET.parse(plot)  # raises for what is no XML


def test_nine_of_ten_are_below_the_p90() -> None:
    assert p90([*range(1, 12)]) == 10
    assert p90([3.0]) == 3.0
    assert p90([]) is None


def test_a_shape_reads_as_it_is_written() -> None:
    assert Shape.parse("3+2") == Shape(control_planes=3, workers=2)
    assert str(Shape.parse("3+2")) == "3+2"
