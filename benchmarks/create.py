"""Create, beside the kind program: on the same node image, interleaved in one run, seen by one outside watcher.

    nox -s bench [-- --runs 7 --json record.json]

kind is timed with and without --wait, and the faster of its medians counted. Needs root's Docker socket, Go for kind, and
the node image (`kindasync build node-image`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from _watcher import Run, Watcher

sys.path.insert(0, str(Path(__file__).parent.parent))
from kindasync import __version__
from tests.cluster.kind_program import VERSION, kind_config, kind_program

SOCKET = "/var/run/docker.sock"


def main() -> None:
    """Run and print; the exit code is 0 whatever the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="of each program (default 5)")
    parser.add_argument("--warm-up", type=int, default=1, help="runs of each that are not counted (default 1)")
    parser.add_argument("--dns", action="store_true", help="also wait until the DNS pods are Ready")
    parser.add_argument("--json", type=Path, help="write all runs to this file")
    options = parser.parse_args()
    asyncio.run(compare(options))


async def compare(options: argparse.Namespace) -> None:
    """All runs, in turn, and their summary."""
    image = json.loads(
        subprocess.run([sys.executable, "-m", "kindasync", "version", "-o", "json"], check=True, capture_output=True).stdout
    )["node_image"]
    config = Path(f"/tmp/kindasync-bench-{os.getpid()}.yaml")
    config.write_text(await kind_config())
    kind = [str(kind_program()), "create", "cluster", "--name", "bench", "--image", image, "--config", str(config), "--quiet"]
    ours = [sys.executable, "-m", "kindasync", "create", "cluster", "--name", "bench", "--image", image]
    programs = {"kindasync": ours, "kind": kind, "kind --wait": [*kind, "--wait", "5m"]}
    env = {"KUBECONFIG": f"{config}.kubeconfig"}
    runs: dict[str, list[Run]] = {name: [] for name in programs}
    try:
        for index in range(options.warm_up + options.runs):
            for name, command in programs.items():
                run = await Watcher(SOCKET, "bench", 1).run(command, dns=options.dns, env=env)
                subprocess.run(
                    [sys.executable, "-m", "kindasync", "-q", "delete", "cluster", "--name", "bench"], check=True, env={**os.environ, **env}
                )
                if index >= options.warm_up:
                    runs[name].append(run)
                    print(f"{name:<12} usable {run.usable:6.2f} s   {json.dumps(run.marks)}", flush=True)
    finally:
        for path in (config, Path(env["KUBECONFIG"])):
            path.unlink(missing_ok=True)
    record = summary(runs, image)
    print(table(record))
    if options.json:
        options.json.write_text(json.dumps(record, indent=1))


def summary(runs: dict[str, list[Run]], image: str) -> dict[str, Any]:
    """Medians, spread and the ratio, with what they were measured on."""
    result: dict[str, Any] = {
        "versions": {"kindasync": __version__, "kind": VERSION, "image": image, "python": platform.python_version()},
        "machine": {"cores": os.cpu_count(), "kernel": platform.release()},
        "programs": {},
        "runs": {name: [run.to_json() for run in each] for name, each in runs.items()},
    }
    for name, each in runs.items():
        usable = [run.usable for run in each]
        result["programs"][name] = {
            "median_s": round(statistics.median(usable), 2),
            "min_s": round(min(usable), 2),
            "max_s": round(max(usable), 2),
            "node_core_s": round(statistics.median(run.node_cpu_s for run in each), 1),
            "client_core_s": round(statistics.median(run.client_cpu_s for run in each), 2),
            "marks": {mark: round(statistics.median(run.marks[mark] for run in each), 2) for mark in each[0].marks},
        }
    kind = min(("kind", "kind --wait"), key=lambda name: float(result["programs"][name]["median_s"]))
    result["counted"] = kind
    result["ratio"] = round(result["programs"]["kindasync"]["median_s"] / result["programs"][kind]["median_s"], 3)
    return result


def table(record: dict[str, Any]) -> str:
    """The summary, for people."""
    lines = [f"\n{'':<12} {'median':>8} {'min':>7} {'max':>7} {'node core-s':>12} {'client core-s':>14}"]
    for name, each in record["programs"].items():
        lines.append(
            f"{name:<12} {each['median_s']:>6.2f} s {each['min_s']:>7.2f} {each['max_s']:>7.2f} {each['node_core_s']:>12.1f} {each['client_core_s']:>14.2f}"
        )
    lines.append(f"\nall nodes Ready and default ServiceAccount there: {record['ratio']:.2f} x {record['counted']}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
