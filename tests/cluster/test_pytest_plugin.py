"""A user's suite on real clusters: one for all workers, and nothing of it left, whatever ends the run."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import anyio.to_thread
import pytest

from kindasync import Cluster
from kindasync.cluster import delete
from tests.cluster.conftest import look

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]
PYTEST = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:asyncio")
DOCS = Path(__file__).parent.parent.parent / "docs"
SUITE, OPERATOR, KOPF, KR8S, PLUGINS = re.findall(r"```python\n(.*?)```", (DOCS / "pytest.md").read_text(), re.DOTALL)


@pytest.fixture(autouse=True)
async def nothing_left(own_home: Path) -> AsyncIterator[None]:
    """Everything is as it was; but for the networks, which other clusters may have or give up meanwhile."""
    before = await look(own_home)
    yield
    after = await look(own_home)
    assert after.containers - before.containers == set()
    assert after.volumes - before.volumes == set()
    assert [file for file in after.files - before.files if "kindasync" in file] == []


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """The guide's, in a directory of its own."""
    return write(tmp_path / "suite", {"test_app.py": SUITE})


def write(directory: Path, files: Mapping[str, str]) -> Path:
    directory.mkdir()
    for name, text in files.items():
        (directory / name).write_text(text)
    return directory


async def run(suite: Path, *arguments: str) -> str:
    """What pytest prints."""
    completed = await anyio.run_process([*PYTEST, *arguments], cwd=suite, check=False, stderr=subprocess.STDOUT)
    return completed.stdout.decode()


async def test_workers_share_one_cluster(suite: Path) -> None:
    """Six async tests: the guide's."""
    (suite / "conftest.py").write_text(
        """
import pytest

@pytest.fixture(autouse=True)
def note(kind_cluster):
    with open("names", "a") as file:
        print(kind_cluster.name, file=file)
"""
    )

    output = await run(suite, "-n", "2")

    names = (suite / "names").read_text().split()
    assert "6 passed" in output, output
    assert (len(names), len(set(names))) == (6, 1)


async def test_a_worker_that_is_killed(suite: Path) -> None:
    """Its test fails; the others have their cluster, and the run deletes it."""
    (suite / "test_last.py").write_text("import os\ndef test_it(kind_cluster): os.kill(os.getpid(), 9)")

    output = await run(suite, "-n", "2")

    assert "1 failed, 6 passed" in output, output


async def test_ctrl_c(suite: Path) -> None:
    """As a terminal sends it: to pytest and its workers."""
    fifo = suite / "at-work"
    os.mkfifo(fifo)
    heeded = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # in the background, shells have it ignored
    (suite / "conftest.py").write_text(heeded)
    (suite / "test_last.py").write_text("import signal\ndef test_it(kind_cluster):\n    open('at-work', 'w').close()\n    signal.pause()")
    process = subprocess.Popen([*PYTEST, "-n", "2"], cwd=suite, start_new_session=True, stdout=subprocess.DEVNULL)
    try:
        await anyio.to_thread.run_sync(fifo.read_text)
        os.killpg(process.pid, signal.SIGINT)
        code = await anyio.to_thread.run_sync(process.wait)
    finally:
        process.kill()

    assert code == pytest.ExitCode.INTERRUPTED


async def test_a_test_that_fails(tmp_path: Path, name: str) -> None:
    """Its cluster is kept, its logs are here, and the report says where."""
    suite = write(tmp_path / "suite", {"test_app.py": "def test_it(kind_cluster, kind_namespace):\n    assert kind_cluster.nodes == []\n"})
    options = ("--kind-name", name, "--kind-keep-on-failure")

    try:
        output = await run(suite, *options)
        kept = await Cluster.list()
    finally:
        await delete(name)

    assert "1 failed" in output, output
    assert f"Kubernetes cluster {name}" in output
    assert f"{name}-control-plane: kubelet.log" in output
    (directory,) = (suite / "kind-logs").glob(f"*test_it/{name}")
    assert (directory / f"{name}-control-plane/journal.log").stat().st_size > 0
    assert name in kept


async def test_with_kopf_and_kr8s(tmp_path: Path) -> None:
    """The guide's examples."""
    backend = "import pytest\n@pytest.fixture\ndef anyio_backend(): return 'asyncio'"
    suite = write(tmp_path / "suite", {"conftest.py": backend, "greeter.py": OPERATOR, "test_kopf.py": KOPF, "test_kr8s.py": KR8S})

    output = await run(suite)

    assert "2 passed" in output, output


async def test_a_suite_for_pytest_kind(tmp_path: Path, app: str) -> None:
    """One line is another one."""
    suite = shutil.copytree(DOCS / "example-pytest-kind", tmp_path / "suite")
    for file in suite.iterdir():
        file.write_text(file.read_text().replace("app:1", app))
    assert (suite / "conftest.py").read_text().endswith(PLUGINS)

    output = await run(suite, "--cluster-name", "pytest-kind-suite")

    assert "1 passed" in output, output
