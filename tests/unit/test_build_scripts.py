"""The scripts of a checkout: what they decide to do with a machine, and with a cluster that is there."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from kindasync import Cluster
from kindasync.errors import KindasyncError
from kindasync.testing import FakeEngine, FakeImage

pytestmark = pytest.mark.anyio
SCRIPTS = Path(__file__).parent.parent.parent / "scripts"
BASE_IMAGE, GO_IMAGE = "docker.io/library/debian:trixie", "docker.io/library/golang:1.26-trixie"
IN_CONTAINERS = ["--base-image", BASE_IMAGE, "--go-image", GO_IMAGE]


@pytest.fixture
def host(fake: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> Any:
    """scripts/host.py, for a user who is root on an amd64 machine with apt-get and without any tool to build; nothing is really run."""
    monkeypatch.syspath_prepend(SCRIPTS)
    monkeypatch.setenv("DOCKER_HOST", fake.url)
    host = importlib.import_module("host")
    monkeypatch.setattr(host, "native_architecture", lambda: "amd64")
    monkeypatch.setattr(host.os, "geteuid", lambda: 0)
    monkeypatch.setattr(host.shutil, "which", lambda program: "/usr/bin/apt-get" if program == "apt-get" else None)
    return host


@pytest.fixture
def ran(host: Any, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The programs that the host script has run."""
    ran: list[list[str]] = []

    def run(argv: Sequence[object], **_: object) -> None:
        ran.append([str(part) for part in argv])

    monkeypatch.setattr(host.subprocess, "run", run)
    return ran


def names(ran: list[list[str]]) -> list[str]:
    return [Path(argv[0]).name for argv in ran]


async def test_without_tools_the_image_is_built_in_containers(host: Any, fake: FakeEngine, ran: list[list[str]]) -> None:
    """Of the Debian suite that is pinned, and the Go that the modules ask for; nothing is installed."""
    for image in (BASE_IMAGE, GO_IMAGE):
        fake.registry[image] = FakeImage(reference=image)

    await host.set_up()

    assert names(ran) == ["kindasync"]
    assert ran[0][1:] == ["build", "node-image", *IN_CONTAINERS]
    assert len(fake.requests_of("ImageCreate")) == 2


async def test_an_engine_that_cannot_pull_makes_root_install_the_tools(
    host: Any, fake: FakeEngine, ran: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Why, and what is installed, is said before."""
    fake.fail("ImageCreate", message="dial tcp: no such host")

    await host.set_up()

    assert set(names(ran)) == {"apt-get", "kindasync"}
    assert ran[-1][1:] == ["build", "node-image"]
    said = capsys.readouterr().err
    assert said.index("no such host") < said.index("install, with apt-get: mmdebstrap")


@pytest.mark.parametrize(("user", "apt_get"), [(1000, "/usr/bin/apt-get"), (0, None)])
async def test_an_error_names_both_ways_out_where_neither_can_be_gone(
    user: int, apt_get: str | None, host: Any, fake: FakeEngine, ran: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was changed then."""
    monkeypatch.setattr(host.os, "geteuid", lambda: user)
    monkeypatch.setattr(host.shutil, "which", lambda program: apt_get if program == "apt-get" else None)

    with pytest.raises(KindasyncError, match="neither in containers nor with this machine's tools") as raised:
        await host.set_up()

    assert "pull access denied" in raised.value.why
    assert "install, with apt-get: mmdebstrap" in raised.value.why
    assert raised.value.hint == "let the Engine pull from a registry, or as root install that, or run this"
    assert ran == []


async def test_with_all_tools_the_image_is_built_by_them(
    host: Any, fake: FakeEngine, ran: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is pulled, nothing is installed."""
    monkeypatch.setattr(host, "build_tool_changes", list)

    await host.set_up()

    assert [argv[1:] for argv in ran] == [["build", "node-image"]]
    assert fake.requests_of("ImageCreate") == []


@pytest.mark.parametrize("base_image", [None, BASE_IMAGE])
async def test_an_image_that_is_there_is_not_built_again(base_image: str | None, host: Any, fake: FakeEngine, ran: list[list[str]]) -> None:
    """Whichever way it was built."""
    plan = host.planned(base_image)
    fake.images[plan.reference] = FakeImage(reference=plan.reference, labels={"kindasync.key": plan.node_key})

    await host.set_up()

    assert ran == []


async def test_the_quickstart_refuses_a_cluster_that_does_not_publish_its_port(
    host: Any, fake: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one made by `kindasync create cluster`. Nothing is put into it, and the error says what to do."""
    quickstart = importlib.import_module("quickstart")
    monkeypatch.setattr(quickstart, "NAME", "kind")
    await Cluster.create("kind")
    objects = fake.api_objects("kind-control-plane")

    with pytest.raises(KindasyncError, match='"kind" that is there cannot show the page') as raised:
        await quickstart.say_hello()

    assert raised.value.why == "port 30080/tcp of node kind-control-plane is not published"
    assert "KIND_CLUSTER_NAME=hello scripts/quickstart" in raised.value.hint
    assert "delete cluster --name kind" in raised.value.hint
    assert fake.api_objects("kind-control-plane") == objects
