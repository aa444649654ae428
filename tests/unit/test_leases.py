"""Leases: which process of a run makes its cluster, and who removes it."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from kindasync import AlreadyExists, Cluster
from kindasync.cluster import _leases, gc
from kindasync.cluster._leases import Holder, Lease, Verdict, end, lease, left, sweep, verdict
from kindasync.cluster._owner import owner
from kindasync.errors import StepFailed
from kindasync.testing import FakeEngine
from tests.unit.leftovers import nothing_left

pytestmark = pytest.mark.anyio

US = Holder(run="run-1", process="host/boot/42/700")
OTHERS = Holder(run="run-2", process="host/boot/43/701")
READY = Lease(cluster="demo", engine="unix:///socket", holder=US, maker="host/boot/50/800", ready=True)


@pytest.fixture(autouse=True)
def engine(fake: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """What users' environments name."""
    monkeypatch.setenv("DOCKER_HOST", fake.url)
    return fake


@pytest.mark.parametrize(
    ("found", "ended", "expected"),
    [
        (None, False, Verdict.MAKE),
        (READY, False, Verdict.JOIN),
        (replace(READY, ready=False), False, Verdict.REPLACE),  # its maker failed, or was killed
        (replace(READY, holder=OTHERS), False, Verdict.REFUSE),
        (replace(READY, holder=OTHERS, ready=False), False, Verdict.REFUSE),
        (replace(READY, holder=OTHERS), True, Verdict.REPLACE),
        (replace(READY, holder=replace(US, process=OTHERS.process)), True, Verdict.REPLACE),  # runs may be given one ID again and again
    ],
)
def test_what_a_lease_says_to_who_wants_the_cluster(found: Lease | None, ended: bool, expected: Verdict) -> None:
    """Of the run US."""
    assert verdict(found, US, ended=ended) is expected


def here(run: str = "run-1") -> Holder:
    return Holder(run=run, process=owner())


def dead() -> Holder:
    """A process of this machine that is no more: one with our number had started at another time."""
    return Holder(run="run-0", process=owner().rpartition("/")[0] + "/0")


async def demo() -> Cluster:
    return await Cluster.create("demo")


async def test_one_of_many_creates(fake: FakeEngine, home: Path) -> None:
    """The others wait, and find it; once the run has ended, it and the lease are gone."""
    found: list[Cluster] = []

    async def ask() -> None:
        found.append(await lease("demo", here(), demo))

    with nothing_left(fake, home):
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(ask)
        ended = await end(here())

    assert [cluster.name for cluster in found] == ["demo"] * 3
    assert len(fake.requests_of("ContainerStart")) == 1
    assert (ended.kept, ended.failures) == ([], [])


async def test_what_a_killed_run_left_is_removed_once(fake: FakeEngine, home: Path) -> None:
    """By whichever process comes first: the cluster of that name which it then makes is none that was left."""
    found: list[Cluster] = []

    async def ask() -> None:
        found.append(await lease("demo", here(), demo))

    with nothing_left(fake, home):
        await lease("demo", dead(), demo)
        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(ask)
        there = {container.id for container in fake.containers.values()}
        await end(here())

    assert [{node.id for node in cluster.nodes} for cluster in found] == [there] * 4


async def test_a_lock_is_had_by_one_at_a_time(home: Path) -> None:
    """Although its file, and the directory, go whenever somebody is through with it."""
    holders = 0

    async def hold() -> None:
        nonlocal holders
        for _ in range(10):
            async with _leases.alone("unix:///socket", "demo"):
                holders += 1
                await anyio.lowlevel.checkpoint()
                assert holders == 1
                holders -= 1

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(hold)

    assert [*home.iterdir()] == []


async def test_nobody_else_can_read_a_lease(fake: FakeEngine, home: Path) -> None:
    """Or change it, or take its lock."""
    modes: set[tuple[str, str]] = set()

    async def look() -> Cluster:
        paths = (home / ".local/state/kindasync/leases").rglob("*")
        modes.update(("" if path.is_dir() else path.name, stat.filemode(path.stat().st_mode)) for path in paths)
        return await demo()

    await lease("demo", here(), look)

    assert modes == {("", "drwx------"), ("demo.json", "-rw-------"), ("demo.lock", "-rw-------")}


async def test_what_others_left_is_removed_before_anything_is_made(fake: FakeEngine, home: Path) -> None:
    """Of those that have ended; a run that goes on keeps its clusters."""
    with nothing_left(fake, home):
        for name, holder in (("left", dead()), ("used", here("run-2"))):
            await lease(name, holder, lambda name=name: Cluster.create(name))  # type: ignore[misc]

        await lease("demo", here(), demo)
        names = await Cluster.list()
        for holder in (here(), here("run-2")):
            await end(holder)

    assert names == ["demo", "used"]


async def test_what_a_killed_run_was_to_keep_is_kept(fake: FakeEngine, home: Path) -> None:
    """It is nobody's to remove: not the next run's, nor that of `gc`; its name is taken like any other."""
    await lease("kept", dead(), lambda: Cluster.create("kept"), keep=True)

    assert left(fake.url) == set()
    assert (await sweep(fake.url)).kept == ["kept"]
    assert await Cluster.list() == ["kept"]
    with pytest.raises(AlreadyExists):
        await lease("kept", here(), lambda: Cluster.create("kept"))
    assert await Cluster.list() == ["kept"]


async def test_one_name_is_one_run_s(fake: FakeEngine) -> None:
    """As long as that has not ended."""
    await lease("demo", here("run-2"), demo)

    with pytest.raises(AlreadyExists, match="belongs to another run"):
        await lease("demo", here(), demo)

    await end(here())
    assert await Cluster.list() == ["demo"]


async def test_somebody_else_s_cluster_is_left_alone(fake: FakeEngine, home: Path) -> None:
    """Whether it was there before, or got the name after a run's maker was killed."""
    fake.add_container("demo-control-plane", "kindasync/node:v1.37.2", labels={"io.x-k8s.kind.cluster": "demo"})

    with nothing_left(fake, home):
        with pytest.raises(AlreadyExists):
            await lease("demo", here(), demo)
        _leases._write(
            _leases._path(fake.url, "demo"), Lease(cluster="demo", engine=fake.url, holder=dead(), maker="host/boot/50/800", ready=True)
        )
        await lease("other", here(), lambda: Cluster.create("other"))
        await end(here())


async def test_what_could_not_be_deleted_is_the_next_run_s(fake: FakeEngine, home: Path) -> None:
    """It is said, and not forgotten."""
    with nothing_left(fake, home):
        await lease("demo", dead(), demo)
        fake.fail("ContainerDelete", message="no such luck")
        first = await end(dead())
        second = await end(dead())

    assert [str(error).splitlines()[0] for error in first.failures] == ['cluster "demo" could not be deleted whole']
    assert second.failures == []


async def test_a_create_that_failed_is_begun_anew_by_the_next(fake: FakeEngine, home: Path) -> None:
    """Who gets the error has no cluster."""
    fake.fail("ContainerStart", message="no space left on device")

    with nothing_left(fake, home):
        with pytest.raises(StepFailed):
            await lease("demo", here(), demo)
        again = await lease("demo", here(), demo)
        await end(here())

    assert again.name == "demo"


async def test_what_is_to_be_kept_is_only_forgotten(fake: FakeEngine, home: Path) -> None:
    """By its name; what is not whole is never kept."""
    fake.fail("ContainerDelete", message="no such luck")
    fake.fail("ContainerStart", nth=2, message="no space left on device")
    await lease("demo", here(), demo)
    with pytest.raises(StepFailed):
        await lease("half", here(), lambda: Cluster.create("half"))

    ended = await end(here(), keep={"demo", "half"}.__contains__)

    assert ended.kept == ["demo"]
    assert await Cluster.list() == ["demo"]
    assert not (home / ".local/state/kindasync/leases").exists()


@pytest.mark.parametrize("swept", [False, True])
async def test_one_that_was_claimed_from_a_pool(fake: FakeEngine, home: Path, swept: bool) -> None:
    """Has another name, and ends with the run all the same, whoever has made it; `gc` knows of it, too."""
    holder = dead() if swept else here()
    with nothing_left(fake, home):
        await Cluster.fill_pool(size=1)
        claimed = await lease("demo", holder, Cluster.claim)
        joined = claimed if swept else await lease("demo", holder, demo)
        await (gc() if swept else end(holder))

    assert claimed.name.startswith("pool-default-")
    assert joined == claimed
