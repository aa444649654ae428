"""gc with real clusters: what crashed runs have left goes, whatever lies beside it stays.

The tests remove only what bears their own cluster's name: others may be at work on this Engine, and may want to look at what crashed.
"""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from kindasync import Engine, events
from kindasync.cluster import Leftover, _gc
from kindasync.cluster._images import default_reference
from kindasync.docker.system import system_info
from kindasync.events import Bus
from tests.cluster.conftest import look, run_cli
from tests.cluster.kind_program import kind_config, kind_program

pytestmark = [pytest.mark.anyio]
EVENTS = 15  # of a create of one node, about, before the last
LATE_S = 60.0  # for what an Engine still makes when who asked for it has ended


async def collected(prefix: str) -> list[Leftover]:
    """gc, of clusters whose name begins so."""
    async with Engine.of(None).connect() as connection:
        garbage = await _gc.find(connection, older_than_s=0)
        containers = tuple(each for each in garbage.containers if each.name.startswith(prefix))
        leftovers = tuple(each for each in garbage.leftovers if each.cluster.startswith(prefix))
        assert await _gc.remove(connection, _gc.Garbage(leftovers=leftovers, containers=containers), Bus()) == []
        return [*leftovers]


def kill_create(name: str, *, after: int, event: str = "") -> None:
    """A create, killed when it has told of so many events, or the one of that name."""
    argv = [sys.executable, "-m", "kindasync", "create", "cluster", "--name", name, "--wait", "10m", "--events", "json"]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    for number, line in enumerate(process.stdout, 1):
        if number >= after or (event and f'"{event}"' in line):
            break
    process.kill()
    process.communicate()


@pytest.fixture
def deleted(name: str) -> Iterator[None]:
    """All clusters of the test are gone afterwards, also if it failed."""
    yield
    run_cli("delete", "clusters", f"{name}-ours", f"{name}-theirs", f"{name}-crashed")


@pytest.mark.stress
@pytest.mark.timeout(900)
async def test_exactly_what_crashed_is_removed(name: str, own_home: Path, deleted: None) -> None:
    """Beside a cluster of the kind program and a finished one of another process, which both live on."""
    async with Engine.of(None).connect() as connection:
        image = await default_reference(connection, await system_info(connection))
    config = await kind_config()
    argv = [str(kind_program()), "create", "cluster", "--name", f"{name}-theirs", "--image", image, "--config", "-"]
    await anyio.run_process(argv, input=config.encode())
    created = await anyio.to_thread.run_sync(lambda: run_cli("create", "cluster", "--name", f"{name}-ours", "--wait", "10m"))
    assert created.returncode == 0, created.stderr
    before = await look(own_home)
    await anyio.to_thread.run_sync(lambda: kill_create(f"{name}-crashed", after=99, event=events.RuntimeReady.__name__))

    left = await collected(name)

    assert [(each.kind, each.cluster) for each in left] == [("container", f"{name}-crashed"), ("directory", f"{name}-crashed")]
    assert await look(own_home) == before
    listed = run_cli("get", "clusters").stdout.split()
    assert {f"{name}-ours", f"{name}-theirs"} <= {*listed}
    assert f"{name}-crashed" not in listed


@pytest.mark.timeout(600)
async def test_creates_that_were_killed_at_any_moment(name: str, own_home: Path) -> None:
    """5 of them, each of another cluster: nothing is left."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    moments = random.Random(seed)
    before = await look(own_home)
    for number in range(5):
        after = moments.randrange(EVENTS)
        await anyio.to_thread.run_sync(lambda cluster, after: kill_create(cluster, after=after), f"{name}-{number}", after)

    with anyio.move_on_after(LATE_S):
        while await look(own_home) != before:
            await collected(name)

    assert await look(own_home) == before
    assert await collected(name) == []
