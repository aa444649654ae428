"""doctor: what it finds on a host, and that after a failed create it stands beside what failed."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kindasync import Cluster, ConfigInvalid
from kindasync.cluster import _doctor
from kindasync.cluster._doctor import Finding, HostFacts, Verdict, findings, host_facts, may_be_the_machine
from kindasync.docker.system import facts_from
from kindasync.errors import (
    AlreadyExists,
    ApiError,
    BootFailed,
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
ENGINE = facts_from(PROFILES["docker-26"].info_document() | {"Name": socket.gethostname()}, api_version=(1, 45))
GIB = 1 << 30


@pytest.mark.parametrize(
    ("host", "name", "value", "fix"),
    [
        (HostFacts(free_disk_bytes=5 * GIB), "disk", "5.0 GiB", ""),
        (
            HostFacts(free_disk_bytes=GIB // 2),
            "disk",
            "0.5 GiB, 5.0 GiB recommended",
            "free space below /var/lib/docker: docker system df shows what uses it",
        ),
        (HostFacts(inotify_instances=512), "inotify instances", "512", ""),
        (
            HostFacts(inotify_instances=128),
            "inotify instances",
            "128, 512 recommended",
            "sysctl fs.inotify.max_user_instances=1024: each node needs about 40",
        ),
        (HostFacts(inotify_watches=524288), "inotify watches", "524288", ""),
        (
            HostFacts(inotify_watches=8192),
            "inotify watches",
            "8192, 524288 recommended",
            "sysctl fs.inotify.max_user_watches=524288",
        ),
        (HostFacts(bounding_capabilities=0x1FFFFFFFFFF), "capabilities", "CAP_SYS_RESOURCE is there", ""),
        (
            HostFacts(bounding_capabilities=0x1FFFEFFFFFF),
            "capabilities",
            "CAP_SYS_RESOURCE is missing",
            "works with Docker 23 or newer; pods are not protected from the kernel's out-of-memory killer",
        ),
    ],
)
def test_what_is_found_on_a_host(host: HostFacts, name: str, value: str, fix: str) -> None:
    """Each with what was measured; with a fix, and as a warning, where that will not do."""
    expected = Finding(name=name, value=value, verdict=Verdict.WARNING if fix else Verdict.OK, fix=fix)

    assert [finding for finding in findings(ENGINE, host) if finding.name == name] == [expected]


def test_what_cannot_be_measured_is_not_found() -> None:
    """Of a host that is not this machine, the Engine's own facts are all there is."""
    names = [finding.name for finding in findings(ENGINE, HostFacts())]

    assert names == ["API version", "storage driver", "cgroups", "memory", "NetworkPolicy"]


def test_facts_of_the_host(tmp_path: Path) -> None:
    """From /proc and the Engine's file system; none if the Engine is on another machine."""
    facts = replace(ENGINE, data_root=str(tmp_path))
    proc = procfs(tmp_path / "proc", max_user_instances="128\n", max_user_watches="8192\n")

    host = host_facts(facts, proc=proc)

    assert (host.inotify_instances, host.inotify_watches, host.bounding_capabilities) == (128, 8192, 0x1FFFEFFFFFF)
    assert host.free_disk_bytes
    assert host_facts(replace(facts, host_name="elsewhere"), proc=proc) == HostFacts()
    assert host_facts(facts, proc=tmp_path / "none") == HostFacts()


def test_facts_that_are_not_to_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel without a limit, a data root in a directory that is closed to this user: the others are there nevertheless."""

    def statvfs(path: object) -> None:
        raise PermissionError(13, "Permission denied", path)  # which root, who may run this, never gets

    monkeypatch.setattr(os, "statvfs", statvfs)

    host = host_facts(replace(ENGINE, data_root=str(tmp_path)), proc=procfs(tmp_path / "proc", max_user_watches="8192\n"))

    assert host == HostFacts(inotify_watches=8192, bounding_capabilities=0x1FFFEFFFFFF)


def procfs(root: Path, **limits: str) -> Path:
    """What a kernel says of itself, on a machine that lacks CAP_SYS_RESOURCE."""
    inotify, this = root / "sys/fs/inotify", root / "self"
    for directory in (inotify, this):
        directory.mkdir(parents=True)
    for name, value in limits.items():
        (inotify / name).write_text(value)
    (this / "status").write_text("Name:\tpython\nCapEff:\t0000000000000000\nCapBnd:\t000001fffeffffff\nCapAmb:\t0000000000000000\n")
    return root


# -- after a failed create


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
        (StepFailed("start nodes", "demo", [TAKEN]), True),
        (AlreadyExists('cluster "demo" exists already'), False),
        (ConfigInvalid([Problem(path="name", message="is no name")]), False),
        (ImageUnusable("it is no node image"), False),
    ],
)
def test_what_a_host_may_explain(error: KindasyncError, expected: bool) -> None:
    """Whatever failed on it; nothing of what was asked for."""
    assert may_be_the_machine(error) is expected
    assert may_be_the_machine(StepFailed("start nodes", "demo", [error])) is expected


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
