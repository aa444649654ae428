"""What the README says, run."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import anyio.to_thread
import pytest

from tests.cluster.conftest import run_cli

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The README's fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture(autouse=True)
def own_default(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another default name than "kind": somebody may have a cluster of that."""
    monkeypatch.setenv("KIND_CLUSTER_NAME", name)


async def test_the_first_commands(own_home: Path) -> None:
    """create and delete, without any option."""
    commands = [line.removeprefix("$ ").split("#")[0].split() for line in blocks("console")[0].splitlines()]
    assert [command[0] for command in commands] == ["pip", "kindasync", "kindasync"]

    results = [await anyio.to_thread.run_sync(partial(run_cli, *command[1:])) for command in commands[1:]]

    assert [result.returncode for result in results] == [0, 0], [result.stderr for result in results]


async def test_the_first_program(tmp_path: Path) -> None:
    """The example prints the names of pods."""
    script = tmp_path / "example.py"
    script.write_text(blocks("python")[0])

    result = await anyio.run_process([sys.executable, str(script)], stderr=subprocess.STDOUT, check=False)

    assert result.returncode == 0, result.stdout.decode()
    assert "etcd-" in result.stdout.decode()


async def test_the_first_test(tmp_path: Path) -> None:
    """The example passes."""
    (tmp_path / "test_example.py").write_text(blocks("python")[1])

    result = await anyio.run_process([sys.executable, "-m", "pytest", "-q", str(tmp_path)], cwd=tmp_path, check=False)

    assert b"1 passed" in result.stdout, result.stdout.decode()


async def test_the_example_of_the_docs(tmp_path: Path) -> None:
    """One cluster for tests of all kinds."""
    shutil.copy(ROOT / "docs/example/test_kind_cluster.py", tmp_path)
    options = ["-q", "-o", "asyncio_mode=strict", "-o", "asyncio_default_fixture_loop_scope=function"]

    result = await anyio.run_process([sys.executable, "-m", "pytest", *options, str(tmp_path)], cwd=tmp_path, check=False)

    assert b"3 passed" in result.stdout, result.stdout.decode()


async def test_the_quickstart() -> None:
    """From the checkout: it ends with a page from a pod, also when it is run again at once."""
    try:
        results = [
            await anyio.run_process([str(ROOT / "scripts/quickstart"), "--yes"], check=False, stderr=subprocess.STDOUT) for _ in range(2)
        ]
    finally:
        deleted = run_cli("delete", "cluster")

    assert [result.returncode for result in results] == [0, 0], results[0].stdout.decode()
    assert b"Hello from a pod!" in results[1].stdout
    assert deleted.returncode == 0
