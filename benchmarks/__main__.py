"""The command: what to measure, how often, and where the records go.

    nox -s bench -- all --json runs.jsonl                           (more than an hour)
    nox -s bench -- create --shape 1+2 --runs 7 --json runs.jsonl
    nox -s bench -- create --clusters 4 --json runs.jsonl
    nox -s bench -- load --json runs.jsonl
    nox -s bench -- claim --json runs.jsonl
    nox -s bench -- report runs.jsonl --plots docs/plots

A file of records grows by each command that names it, so that a series can be measured in pieces. Each command ends with the report of
its own runs; `report` is that of files.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks._claim import claim
from benchmarks._create import create
from benchmarks._load import load
from benchmarks._records import Record, read
from benchmarks._report import report

SERIES = (
    "create --dns",
    "create --dns --shape 1+2",
    "create --shape 3+0",
    *(f"create --clusters {number}" for number in (2, 4, 8)),
    "load",
    "claim",
)


def main() -> None:
    """The exit code is 0 whatever the figures."""
    options = parser().parse_args()
    if not options.measure:
        print(report(read(options.files), options.plots))
        return
    with TemporaryDirectory() as directory:
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = directory  # as where it was installed: what is compiled in the warm-up is not compiled again
        records: list[Record] = asyncio.run(options.measure(options))
    print(report([record for record in records if not record["warm_up"]], None))


def parser() -> argparse.ArgumentParser:
    """What may be asked for."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    runs = argparse.ArgumentParser(add_help=False)
    runs.add_argument("--runs", type=int, default=7, help="of each program (default 7)")
    runs.add_argument("--warm-up", type=int, default=1, help="runs of each that are not counted (default 1)")
    runs.add_argument("--json", type=Path, metavar="FILE", help="add each run to this file, as a line of JSON")

    creates = commands.add_parser("create", parents=[runs], help="create and delete")
    creates.add_argument("--shape", default="1+0", metavar="N+M", help="control planes and workers (default 1+0)")
    creates.add_argument("--clusters", type=int, default=1, metavar="N", help="so many of one node at once (default 1)")
    creates.add_argument("--dns", action="store_true", help="also wait until the DNS pods are Ready")
    creates.add_argument("--program", action="append", metavar="NAME", help="only this one; may be given several times")
    creates.set_defaults(measure=create)

    loads = commands.add_parser("load", parents=[runs], help="load an image into all nodes")
    loads.add_argument("--workers", type=int, default=2, help="beside the control plane (default 2)")
    loads.add_argument("--mb", type=int, default=300, help="the image's size in millions of bytes (default 300)")
    loads.add_argument("--image", default="", help="the node image, instead of the default")
    loads.set_defaults(measure=load)

    claims = commands.add_parser("claim", parents=[runs], help="claim clusters that were parked in a pool")
    claims.set_defaults(measure=claim)

    alls = commands.add_parser("all", parents=[runs], help="every series that the bars are about")
    alls.set_defaults(measure=everything)

    reports = commands.add_parser("report", help="medians, bars and plots of records")
    reports.add_argument("files", type=Path, nargs="+", metavar="FILE")
    reports.add_argument("--plots", type=Path, metavar="DIRECTORY", help="write the plots here, as SVG")
    reports.set_defaults(measure=None, json=None)
    return parser


async def everything(options: argparse.Namespace) -> list[Record]:
    """One series after the other."""
    records: list[Record] = []
    for line in SERIES:
        print(f"\n{line}", flush=True)
        series = parser().parse_args(line.split())
        series.runs, series.warm_up, series.json = options.runs, options.warm_up, options.json
        records += await series.measure(series)
    return records


if __name__ == "__main__":
    main()
