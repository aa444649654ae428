"""doctor after a failed create: what is wrong with the Engine's host stands beside what failed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kindasync import Cluster, ConfigInvalid
from kindasync.cluster import _doctor
from kindasync.cluster._doctor import may_be_the_machine
from kindasync.errors import (
    AlreadyExists,
    ApiError,
    BootFailed,
    Conflict,
    EngineTimeout,
    ExecFailed,
    ImageUnusable,
    KindasyncError,
    NotReady,
    Problem,
    StepFailed,
)
from kindasync.testing import PROFILES, FakeEngine
from tests.unit.leftovers import nothing_left

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("nobody_dies")]

NODE = "demo-control-plane"
MEMORY = "doctor: memory: 0.5 GiB, 2.0 GiB recommended (give the Engine (or its virtual machine) more: a node uses about 1 GiB)"
TAKEN = ApiError("ContainerStart", NODE, 500, "port is already allocated", hint="free the port")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEngine]:
    """An Engine whose host, which is not this machine, has little memory."""
    monkeypatch.setenv("KINDASYNC_HOST_OVERRIDE", "127.0.0.1")
    with FakeEngine(replace(PROFILES["docker-26"], info={"Name": "elsewhere", "MemTotal": 512 << 20})) as fake:
        yield fake


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (BootFailed("node demo-control-plane died"), True),
        (ExecFailed(NODE, ["kubeadm", "init"], 1, ""), True),
        (NotReady("the API server", "it does not answer", after_s=120), True),
        (EngineTimeout("the Docker Engine did not answer ContainerCreate"), True),
        (ApiError("ContainerStart", NODE, 500, "OCI runtime create failed"), True),
        (TAKEN, False),  # it says it all
        (Conflict("ContainerCreate", NODE, 409, "the name is in use"), False),
        (AlreadyExists('cluster "demo" exists already'), False),
        (ConfigInvalid([Problem(path="name", message="is no name")]), False),
        (ImageUnusable("it is no node image"), False),
    ],
)
def test_what_a_host_may_explain(error: KindasyncError, expected: bool) -> None:
    """Also among the failures of a step; nothing of what the user, or another cluster, has done."""
    assert may_be_the_machine(error) is expected
    assert may_be_the_machine(StepFailed("start nodes", "demo", [TAKEN, error])) is expected


async def test_its_problems_are_evidence(small: FakeEngine, home: Path) -> None:
    """After that of the failure itself; what is as it should be is left out."""
    small.node.boots = False

    def die() -> None:
        small.say(NODE, "Failed to mount cgroup\r\n")
        small.die(NODE)

    small.on("ContainerKill", die)

    with nothing_left(small, home), pytest.raises(StepFailed) as raised:
        await Cluster.create("demo", engine=small.url)

    assert raised.value.evidence.splitlines()[-2:] == ["Failed to mount cgroup", MEMORY]
    assert raised.value.evidence.count("doctor: ") == 1


async def test_a_healthy_host_is_not_mentioned(elsewhere: FakeEngine) -> None:
    """There is nothing to say."""
    elsewhere.fail("ContainerStart", message="OCI runtime create failed")

    with pytest.raises(StepFailed) as raised:
        await Cluster.create("demo", engine=elsewhere.url)

    assert raised.value.evidence == ""


async def test_it_hides_nothing(small: FakeEngine, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An Engine that does not answer it, or refuses, makes no other error, and no long wait."""
    monkeypatch.setattr(_doctor, "DIAGNOSIS_S", 0.05)
    small.fail("ContainerStart", message="OCI runtime create failed")
    small.hang("SystemInfo", 2)

    with nothing_left(small, home), pytest.raises(StepFailed, match="OCI runtime create failed") as raised:
        await Cluster.create("demo", engine=small.url)

    assert raised.value.evidence == ""

    small.fail("ContainerStart", message="OCI runtime create failed")
    small.fail("SystemInfo", 2)
    with nothing_left(small, home), pytest.raises(StepFailed, match="OCI runtime create failed"):
        await Cluster.create("demo", engine=small.url)


async def test_it_is_not_asked_for_nothing(small: FakeEngine) -> None:
    """A name that is taken is no matter of the machine."""
    await Cluster.create("demo", engine=small.url)
    before = len(small.requests_of("SystemInfo"))

    with pytest.raises(AlreadyExists) as raised:
        await Cluster.create("demo", engine=small.url)

    assert raised.value.evidence == ""
    assert len(small.requests_of("SystemInfo")) == before
