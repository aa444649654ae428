"""Runs Kubernetes' conformance tests against a cluster of one control plane and two workers: `nox -s conformance -- --help`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory

import anyio
import yaml

from kindasync import Cluster, Engine
from kindasync.build import _pins, _sources
from kindasync.cluster._images import default_reference
from kindasync.docker.system import system_info
from tests.cluster.kind_program import kind_config, kind_program
from tests.conformance import _results
from tests.conformance._images import stand_ins, write_images
from tests.conformance._mirror import start_mirror
from tests.conformance._programs import Programs, build_programs

HERE = Path(__file__).parent
# A quick look, well under five minutes: pods, volumes, services and kubectl, a few tests of each.
QUICK = r"\[sig-node\] (ConfigMap|Secrets|Downward API)|\[sig-storage\] EmptyDir volumes.*0644|\[sig-network\] Networking|\[sig-cli\].*(label|patch)"
SELECTIONS = {"parallel": "Conformance && !Serial", "serial": "Conformance && Serial"}


def main() -> int:
    """0 if what failed is what is listed as known."""
    return anyio.run(run, parser().parse_args())


def parser() -> argparse.ArgumentParser:
    """What may be asked for."""
    parser = argparse.ArgumentParser(prog="nox -s conformance --", description=__doc__.partition(":")[0])
    parser.add_argument(
        "--focus", nargs="?", const=QUICK, metavar="REGEX", help="only tests whose names match; without REGEX: a few of each kind"
    )
    parser.add_argument("--only", choices=SELECTIONS, help="the tests that may run side by side, or those that may not")
    parser.add_argument(
        "--timeout", default="6h", help="for each of the two; what runs then has failed, what has not begun is left out (default 6h)"
    )
    parser.add_argument("--procs", type=int, default=4, help="how many run side by side (default 4)")
    parser.add_argument("--junit", type=Path, default=Path("conformance.xml"), help="where the JUnit report goes (default conformance.xml)")
    parser.add_argument("--image", help="node image (default: kindasync's own)")
    parser.add_argument("--kind", action="store_true", help="in a cluster that the kind program makes: does a failure come from kindasync?")
    parser.add_argument("--cluster", help="in this cluster, which is there and stays, instead of one made for the run")
    return parser


async def run(options: argparse.Namespace) -> int:
    """Build, create, load, test, tell."""
    async with Engine.of(None).connect() as connection:
        facts = await system_info(connection)
        image = options.image or await default_reference(connection, facts)
    pins = _pins.read(_sources.directory(), minor=None, architecture=facts.architecture)
    programs = await build_programs(pins)
    with TemporaryDirectory() as directory:
        scratch = Path(directory)
        archive = scratch / "images.tar"
        listed = subprocess.run([programs.e2e / "e2e.test", "--list-images"], check=True, capture_output=True, text=True).stdout.split()
        await anyio.to_thread.run_sync(lambda: write_images(archive, stand_ins(listed), programs, architecture=pins.architecture.name))
        async with _cluster(options, image, scratch) as cluster:
            await cluster.load_archive(archive)
            await start_mirror(cluster)
            kubeconfig = scratch / "kubeconfig"
            kubeconfig.touch(0o600)
            kubeconfig.write_text(yaml.safe_dump(cluster.kubeconfig))
            reports = [
                await _ginkgo(programs, kubeconfig, selection, options) for selection in ([options.only] if options.only else SELECTIONS)
            ]
    results, report = _results.read(reports)
    options.junit.write_text(report)
    verdict = _results.verdict(results, _results.known_failures((HERE / "known-failures.toml").read_text()))
    print(f"\n{_results.summary(results, verdict)}\nJUnit report: {options.junit}")
    if not results.passed | set(results.failed):
        print("no test ran: is the --focus a part of any conformance test's name?")
        return 2
    return 1 if verdict.new or verdict.mended else 0


@asynccontextmanager
async def _cluster(options: argparse.Namespace, image: str, scratch: Path) -> AsyncIterator[Cluster]:
    if options.cluster:
        yield await Cluster.get(options.cluster)
        return
    name = f"conformance-{token_hex(3)}"
    print(f'creating cluster "{name}" of {image} …', flush=True)
    config = await kind_config(workers=2)
    if not options.kind:
        async with Cluster.running(config, name=name, image=image) as cluster:
            yield cluster
        return
    (scratch / "kind.yaml").write_text(config)
    kind, kubeconfig = str(kind_program()), f"--kubeconfig={scratch}/kind.kubeconfig"
    try:
        argv = [kind, "create", "cluster", "--name", name, "--image", image, "--config", f"{scratch}/kind.yaml", "--wait=3m", kubeconfig]
        await anyio.run_process(argv, stdout=None, stderr=None)
        yield await Cluster.get(name)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.run_process([kind, "delete", "cluster", "--name", name, kubeconfig], stdout=None, stderr=None)


async def _ginkgo(programs: Programs, kubeconfig: Path, selection: str, options: argparse.Namespace) -> str:
    """Run what is selected; ginkgo's report. Its exit code says no more than that."""
    report = kubeconfig.with_name(f"{selection}.xml")
    argv = [
        programs.e2e / "ginkgo",
        f"--procs={options.procs if selection == 'parallel' else 1}",
        f"--label-filter={SELECTIONS[selection]}",
        *([f"--focus={options.focus}"] if options.focus else []),
        f"--timeout={options.timeout}",
        "--silence-skips",
        "--no-color",
        f"--output-dir={report.parent}",
        f"--junit-report={report.name}",
        programs.e2e / "e2e.test",
        "--",
        "--provider=skeleton",
        f"--kubeconfig={kubeconfig}",
        f"--kubectl-path={programs.e2e / 'kubectl'}",
    ]
    await anyio.run_process(list(map(str, argv)), check=False, stdout=None, stderr=None, env={**os.environ, "KUBECONFIG": str(kubeconfig)})
    return report.read_text()


if __name__ == "__main__":
    sys.exit(main())
