"""What a build says when the Engine or this machine fails in a step: which step, why, and what to do."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kindasync.build import Options, build
from kindasync.build._build import _copy, plan_of
from kindasync.build._node_image import Builder, Images
from kindasync.build._steps import Cache
from kindasync.build._workshop import OnLine
from kindasync.errors import ApiError, BuildFailed, KindasyncError
from kindasync.events import Bus
from kindasync.testing import PROFILES, FakeEngine, FakeImage

pytestmark = pytest.mark.anyio
BASE_IMAGE, GO_IMAGE = "docker.io/library/debian:trixie", "docker.io/library/golang:1.26-trixie"
IN_CONTAINERS = Options(base_image=BASE_IMAGE, go_image=GO_IMAGE)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where builds keep what they made: nothing is there."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/kindasync/build"


@pytest.mark.parametrize(
    ("operation", "what"),
    [
        ("ImageCreate", "image create failed"),
        ("ContainerStart", "container start failed"),
        ("PutContainerArchive", "put container archive"),
    ],
)
async def test_what_the_engine_refuses_names_the_step(operation: str, what: str, fake: FakeEngine, cache: Path) -> None:
    """With the Engine's words and their hint. Nothing of the step is left, in the Engine or the cache."""
    fake.registry[BASE_IMAGE] = FakeImage(reference=BASE_IMAGE)
    fake.fail(operation, message="no space left on device")
    keys = plan_of(IN_CONTAINERS, default_architecture="amd64").keys
    before = {cache / f"{name}-{keys[name]}" for name in ("containerd", "storage", "registry", "kube")}  # made before
    for entry in before:
        entry.mkdir(parents=True)

    with pytest.raises(BuildFailed) as raised:
        await build(IN_CONTAINERS, engine=fake.url)

    assert raised.value.step == "build Debian base system"
    assert what in raised.value.why
    assert '"no space left on device"' in raised.value.why
    assert "room" in raised.value.hint or "space" in raised.value.hint
    assert isinstance(raised.value.__cause__, ApiError)
    assert fake.containers == {}
    assert set(cache.iterdir()) == before


async def test_an_image_that_cannot_be_pulled_is_named_with_what_to_do(fake: FakeEngine) -> None:
    """No Engine has advice for that."""
    fake.fail("ImageCreate", message="dial tcp: connection refused")
    fake.hang("ImageCreate", nth=2)  # for the other step

    with pytest.raises(BuildFailed, match="image create failed for image") as raised:
        await build(IN_CONTAINERS, engine=fake.url)

    assert "reaches the registries" in raised.value.hint
    assert raised.value.hint.endswith("; the same again goes on with this step")


async def failing(error: OSError, cache: Path) -> str:
    """The words for an error of this machine in a step."""
    nothing: Any = None  # no Engine is asked
    builder = Builder(nothing, plan_of(Options(), default_architecture="amd64"), Cache(cache), Bus(), Images())

    async def make(out: Path, on_line: OnLine) -> None:
        out.write_text("half of it")
        raise error

    with pytest.raises(BuildFailed) as raised:
        await builder._step("kube", make)

    assert raised.value.__cause__ is error
    assert list(cache.iterdir()) == []
    return str(raised.value)


async def test_a_full_disk_is_said_to_be_full(cache: Path) -> None:
    """Where, and how much a build needs."""
    assert await failing(OSError(errno.ENOSPC, "No space left on device"), cache) == (
        "cannot build Kubernetes\n"
        "  why: [Errno 28] No space left on device\n"
        f"  try: free some 3 GB where the cache is, {cache}, or have it elsewhere (XDG_CACHE_HOME); the same again goes on with this step"
    )


async def test_what_cannot_be_read_is_named(cache: Path) -> None:
    """As this machine names it."""
    said = await failing(PermissionError(errno.EACCES, "Permission denied", "/src/node-image/build-program"), cache)

    assert "why: [Errno 13] Permission denied: '/src/node-image/build-program'\n" in said
    assert f"write in the cache, {cache};" in said


async def test_a_cache_that_cannot_be_made_is_an_error_of_the_first_step(tmp_path: Path, fake: FakeEngine) -> None:
    """Here a file is in its place."""
    (tmp_path / "cache").write_text("")

    with pytest.raises(BuildFailed, match="Not a directory") as raised:
        await build(IN_CONTAINERS, engine=fake.url)

    assert str(tmp_path / "cache") in raised.value.hint


async def test_an_image_of_another_architecture_than_the_engines(cache: Path) -> None:
    """Is refused before anything is made, with what would do; so is one that nothing is known of."""
    with FakeEngine(replace(PROFILES["docker-26"], info={"Architecture": "aarch64"})) as fake:
        with pytest.raises(KindasyncError, match="cannot build an image for amd64 with this Engine") as raised:
            await build(Options(architecture="amd64"), engine=fake.url)
        with pytest.raises(KindasyncError, match='no node image can be built for architecture "riscv64"'):
            await build(Options(architecture="riscv64"), engine=fake.url)

        assert raised.value.why == "the Engine is arm64, and a step of the build runs the image's containerd"
        assert raised.value.hint == "use an Engine on amd64 (DOCKER_HOST)"
        assert {request.operation for request in fake.requests} == {"SystemPing", "SystemInfo"}
        assert not cache.exists()


@pytest.mark.parametrize(("output", "why"), [("missing/node.tar", "No such file or directory"), ("/dev/full", "No space left on device")])
async def test_an_archive_that_cannot_be_written(output: str, why: str, tmp_path: Path) -> None:
    """The build is not lost with it, and the error says so."""
    archive = tmp_path / "archive"
    archive.write_bytes(b"an image")

    with pytest.raises(KindasyncError, match="cannot write") as raised:
        await _copy(archive, tmp_path / output)

    assert raised.value.why == why
    assert "the image is built" in raised.value.hint
