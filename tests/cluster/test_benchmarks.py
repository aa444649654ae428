"""The benchmark's commands, as docs/benchmarks.md has them, but with one run of each program, which counts. Run by `nox -s stress`."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pages import ROOT, blocks, typed

(BLOCK,) = blocks(ROOT / "docs/benchmarks.md", "console")
ASKED = [shlex.split(line, comments=True)[4:] or ["create", "--dns"] for line in typed(BLOCK)]  # nox -s bench --


@pytest.mark.stress
@pytest.mark.timeout(1200)
def test_each_measures_and_the_report_has_all(tmp_path: Path) -> None:
    """But for `all`, which is these and more of their kind."""
    assert {words[0] for words in ASKED} == {"create", "load", "all", "report"}

    for words in ASKED:
        if words[0] == "all":
            continue
        short = [] if words[0] == "report" else ["--runs", "1", "--warm-up", "0"]
        ran = subprocess.run(
            [sys.executable, "-m", "benchmarks", *words, *short],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr

    for title in ("create 1+2", "create 3+0", "create 1+0, 4 at once", "load 1+2"):
        assert f"| {title}" in ran.stdout
    assert list((tmp_path / "plots").glob("*.svg"))
