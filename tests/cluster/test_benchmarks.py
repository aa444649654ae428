"""The benchmark's commands, as docs/benchmarks.md has them, but with one run of each program, which counts. Run by `nox -s stress`."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pages import ROOT, sessions


@pytest.mark.stress
@pytest.mark.timeout(2400)
def test_every_series_and_its_report(tmp_path: Path) -> None:
    """`all` is what the page's other commands measure one by one."""
    *_, every, report = [shlex.split(line)[4:] for line in sessions(ROOT / "docs/benchmarks.md") if "jsonl" in line]
    assert (every[0], report[0]) == ("all", "report")

    for words in ([*every, "--runs", "1", "--warm-up", "0"], report):
        ran = subprocess.run(
            [sys.executable, "-m", "benchmarks", *words],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr

    for title in (
        "create 1+0",
        "create 1+2",
        "create 3+0",
        "create 1+0, 2 at once",
        "create 1+0, 4 at once",
        "create 1+0, 8 at once",
        "load 1+2",
    ):
        assert f"| {title}" in ran.stdout
    assert list((tmp_path / "plots").glob("*.svg"))
