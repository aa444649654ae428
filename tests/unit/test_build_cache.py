"""The cache of builds: what stays in it, what is forgotten, and what a failure leaves."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from kindasync.build import Options
from kindasync.build._build import plan_of
from kindasync.build._node_image import Builder, Images
from kindasync.build._sources import key_of
from kindasync.build._steps import KEEP_UNUSED_S, Cache
from kindasync.events import Bus

LONG_AGO = time.time() - KEEP_UNUSED_S - 60


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """An empty one."""
    return Cache(tmp_path / "cache")


def test_a_key_is_of_what_is_built_not_of_what_python_made_of_it_nor_of_tests(tmp_path: Path) -> None:
    """The same before and after the first import, and in every installation."""
    (tmp_path / "build.py").write_text("step = 1\n")
    before = key_of(files=[tmp_path])
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__/build.cpython-311.pyc").write_bytes(b"compiled")
    (tmp_path / "build_test.go").write_text("package build\n")

    assert key_of(files=[tmp_path]) == before

    (tmp_path / "build.py").write_text("step = 2\n")
    assert key_of(files=[tmp_path]) != before


def test_what_was_stored_is_an_entry_and_nothing_else_stays(cache: Cache) -> None:
    """Temporaries that a step leaves beside its result are no part of it."""
    with cache.scratch("kube") as scratch:
        scratch.write_text("made")
        scratch.with_name(scratch.name + ".tar").write_text("temporary")
        cache.store(scratch, "kube", "1")

    assert {path.name: path.read_text() for path in cache.root.iterdir()} == {"kube-1": "made"}


@pytest.mark.parametrize("error", [OSError("no space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_nothing(cache: Cache, error: BaseException) -> None:
    """Neither the half-made result nor the temporaries beside it, as the payload, archive and export of a container are."""

    def fail_in_a_step() -> None:
        with cache.scratch("store") as scratch:
            scratch.mkdir()
            for suffix in (".payload", ".tar", ".export", ".partial"):
                scratch.with_name(scratch.name + suffix).write_text("temporary")
            raise error

    with pytest.raises(type(error)):
        fail_in_a_step()

    assert list(cache.root.iterdir()) == []


def test_what_no_build_has_used_for_two_weeks_is_forgotten(cache: Cache) -> None:
    """What a build has asked for counts as used."""
    for key in ("asked-for", "forgotten"):
        with cache.scratch("base") as scratch:
            scratch.write_text("made")
            os.utime(cache.store(scratch, "base", key), (LONG_AGO, LONG_AGO))

    assert cache.has("base", "asked-for")
    cache.forget_unused()

    assert [path.name for path in cache.root.iterdir()] == ["base-asked-for"]


def test_what_another_build_has_removed_is_no_failure(cache: Cache) -> None:
    """Between the look at the directory and the one at its entry; here a link to nothing is such an entry."""
    cache.root.mkdir(parents=True)
    (cache.root / ".kube.ended").symlink_to("nothing")

    cache.forget_unused()

    assert [path.name for path in cache.root.iterdir()] == [".kube.ended"]


@pytest.mark.anyio
async def test_a_base_from_the_cache_serves_when_its_second_layer_is_forgotten(cache: Cache) -> None:
    """The layer is made again, the same, from the programs that every build has asked for."""
    plan = plan_of(Options(), default_architecture="amd64")
    nothing: Any = None  # no Engine is needed to write layers
    builder = Builder(nothing, plan, cache, Bus(), Images())
    containerd = cache.entry("containerd", plan.keys["containerd"])
    containerd.mkdir(parents=True)
    for program in ("containerd", "containerd-shim-runc-v2", "ctr"):
        (containerd / program).write_text(program)
    cache.entry("debian", plan.keys["debian"]).write_text("a root file system")
    before = await builder._base_record()
    layer = cache.entry("containerd-layer", plan.keys["base"])
    os.utime(layer, (LONG_AGO, LONG_AGO))

    cache.forget_unused()
    assert not layer.exists()
    after = await builder._base_record()

    assert after == before
