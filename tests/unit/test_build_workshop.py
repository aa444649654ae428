"""Where build steps run: what a container of a build is given, and what is taken out of it."""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from kindasync import Engine
from kindasync.build._workshop import InContainer, container_env
from kindasync.errors import BuildFailed
from kindasync.testing import FakeContainer, FakeEngine, FakeImage, ProgramResult

pytestmark = pytest.mark.anyio
IMAGE = "docker.io/library/golang:1.26-trixie"


@pytest.mark.parametrize(
    ("env", "stored", "given"),
    [
        ({}, {}, {}),
        ({"GOPROXY": "https://go.example", "GOSUMDB": "", "GOFLAGS": "-v", "PATH": "/bin"}, {}, {"GOPROXY": "https://go.example"}),
        (
            {"GOPRIVATE": "corp", "https_proxy": "http://mine"},
            {"HTTPS_PROXY": "http://stored"},
            {"GOPRIVATE": "corp", "HTTPS_PROXY": "http://mine", "https_proxy": "http://mine"},
        ),
        ({}, {"HTTP_PROXY": "http://stored"}, {"HTTP_PROXY": "http://stored", "http_proxy": "http://stored"}),  # apt reads the second
    ],
)
def test_how_registries_are_reached_from_a_container(env: dict[str, str], stored: dict[str, str], given: dict[str, str]) -> None:
    """Go's settings, and the proxies of this process, else those of the docker client; in both spellings, as nodes have them."""
    found = container_env(env, stored)

    assert {name: value for name, value in found.items() if name.upper() != "NO_PROXY"} == given


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """What a step is made of."""
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources/main.go").write_text("package main")
    return tmp_path / "sources"


async def test_a_step_in_a_container(fake: FakeEngine, sources: Path, tmp_path: Path) -> None:
    """Its image is pulled, with a word on that; the sources are there; what it made is taken out; the container is gone."""
    fake.registry[IMAGE] = FakeImage(reference=IMAGE)
    lines: list[str] = []

    def compiled(container: FakeContainer, argv: Sequence[str], _: bytes) -> ProgramResult:
        container.files["/kindasync/out/kube"] = container.files[f"{argv[1]}/main.go"] + b", compiled"
        return ProgramResult(stdout=b"compiling\n")

    fake.node.programs["compile"] = compiled

    async with (
        Engine.of(fake.url).connect() as connection,
        InContainer.opened(connection, IMAGE, sources, labels={}, on_line=lines.append) as workshop,
    ):
        await workshop.run("compile", ["compile", "{sources}"], env={}, on_line=lines.append)
        await workshop.take(tmp_path / "out")

    assert (tmp_path / "out/kube").read_text() == "package main, compiled"
    assert (lines[0], lines[-1]) == (f"pulling {IMAGE}", "compiling")
    assert fake.containers == {}


async def test_what_it_prints_is_evidence_when_it_fails(fake: FakeEngine, sources: Path) -> None:
    """The last lines."""
    fake.images[IMAGE] = FakeImage(reference=IMAGE)
    fake.node.programs["compile"] = lambda *_: ProgramResult(exit_code=2, stderr=b"main.go:1: no\n")

    with pytest.raises(BuildFailed) as raised:
        async with (
            Engine.of(fake.url).connect() as connection,
            InContainer.opened(connection, IMAGE, sources, labels={}, on_line=lambda _: None) as workshop,
        ):
            await workshop.run("compile", ["compile"], env={}, on_line=lambda _: None)

    assert (raised.value.step, raised.value.evidence) == ("compile", "main.go:1: no")
    assert fake.containers == {}


async def test_a_container_that_stays_is_no_reason_to_forget_why_it_failed(fake: FakeEngine, sources: Path) -> None:
    """It is a note."""
    fake.images[IMAGE] = FakeImage(reference=IMAGE)
    fake.node.programs["compile"] = lambda *_: ProgramResult(exit_code=2, stderr=b"main.go:1: no\n")
    fake.fail("ContainerDelete", message="device or resource busy")

    with pytest.raises(BuildFailed) as raised:
        async with (
            Engine.of(fake.url).connect() as connection,
            InContainer.opened(connection, IMAGE, sources, labels={}, on_line=lambda _: None) as workshop,
        ):
            await workshop.run("compile", ["compile"], env={}, on_line=lambda _: None)

    assert "device or resource busy" in "".join(raised.value.__notes__)


async def test_cancelled_a_step_leaves_no_container(fake: FakeEngine, sources: Path) -> None:
    """Though its program runs on: no Engine can stop one."""
    fake.images[IMAGE] = FakeImage(reference=IMAGE)
    fake.node.programs["compile"] = lambda *_: ProgramResult(hangs=True)

    async with Engine.of(fake.url).connect() as connection, anyio.create_task_group() as tasks:

        async def compiling() -> None:
            async with InContainer.opened(connection, IMAGE, sources, labels={}, on_line=lambda _: None) as workshop:
                await workshop.run("compile", ["compile"], env={}, on_line=lambda _: None)

        tasks.start_soon(compiling)
        await anyio.to_thread.run_sync(fake.wait_request, "ExecStart")
        tasks.cancel_scope.cancel()

    assert fake.containers == {}


async def test_a_root_is_without_what_it_has_only_as_a_container(fake: FakeEngine, sources: Path, tmp_path: Path) -> None:
    """What Docker mounts, and what we put there. Of Docker's init there is nothing: it is not used."""
    of_docker = (".dockerenv", "etc/hosts", "etc/resolv.conf", "etc/hostname", "proc/1/cmdline")
    of_debian = ("usr/bin/dash", "etc/hosts.allow", "usr/sbin/haproxy")
    fake.images[IMAGE] = FakeImage(reference=IMAGE, files={f"/{name}": b"" for name in (*of_docker, *of_debian)})

    async with (
        Engine.of(fake.url).connect() as connection,
        InContainer.opened(connection, IMAGE, sources, labels={}, on_line=lambda _: None) as workshop,
    ):
        await workshop.take_root(tmp_path / "root.tar")

    assert fake.requests_of("ContainerCreate")[0].json["HostConfig"]["Init"] is False
    with tarfile.open(tmp_path / "root.tar") as tar:
        assert {member.name for member in tar if member.isreg()} == set(of_debian)
        assert {"proc", "sys", "dev"} <= set(tar.getnames())
