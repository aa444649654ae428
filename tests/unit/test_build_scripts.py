"""The scripts of a checkout: what they decide to do with a machine, and with a cluster that is there."""

from __future__ import annotations

import importlib
import io
import json
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from kindasync import Cluster
from kindasync.errors import EngineMissing, EngineUnreachable, KindasyncError
from kindasync.testing import FakeEngine, FakeImage
from kindasync.transport import from_environment
from tests.unit.test_endpoint import add_context

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


# -- the Engine


@pytest.fixture
def left_behind(tmp_path: Path) -> Path:
    """The socket of an Engine that has ended."""
    path = tmp_path / "left-behind.sock"
    with socket.socket(socket.AF_UNIX) as ended:
        ended.bind(str(path))
    return path


def name_engine(how: str, path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the environment, or the docker client's configuration, name the socket at `path`; or let that be the default one."""
    monkeypatch.delenv("DOCKER_HOST")
    if how == "default":
        assert from_environment.__kwdefaults__
        monkeypatch.setitem(from_environment.__kwdefaults__, "default_socket", path)
    elif how == "DOCKER_HOST":
        monkeypatch.setenv(how, f"unix://{path}")
    else:
        add_context(home / ".docker", "other", {"Host": f"unix://{path}"})
        if how == "DOCKER_CONTEXT":
            monkeypatch.setenv(how, "other")
        else:
            (home / ".docker/config.json").write_text(json.dumps({"currentContext": "other"}))


@pytest.mark.parametrize("user", [0, 1000])
@pytest.mark.parametrize("state", ["missing", "left behind"])
@pytest.mark.parametrize("how", ["DOCKER_HOST", "DOCKER_CONTEXT", "current context"])
async def test_an_engine_that_somebody_has_named_is_not_replaced(
    how: str, state: str, user: int, host: Any, home: Path, left_behind: Path, ran: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever runs this, and whatever is the matter with it: what to do is for those to say who have named it."""
    monkeypatch.setattr(host.os, "geteuid", lambda: user)
    name_engine(how, left_behind if state == "left behind" else left_behind.with_name("missing.sock"), home, monkeypatch)

    with pytest.raises(EngineUnreachable, match="cannot connect to the Docker Engine at unix://"):
        await host.set_up()

    assert ran == []


@pytest.mark.parametrize(
    ("state", "user", "expected"),
    [("missing", 0, False), ("missing", 1000, False), ("left behind", 0, False), ("left behind", 1000, EngineUnreachable)],
)
async def test_where_nobody_has_named_one_there_may_be_none(
    state: str, user: int, expected: Any, host: Any, home: Path, left_behind: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An Engine that has ended is started again by root alone: others may not see whether it has."""
    monkeypatch.setattr(host.os, "geteuid", lambda: user)
    name_engine("default", left_behind if state == "left behind" else left_behind.with_name("missing.sock"), home, monkeypatch)

    if expected is EngineUnreachable:
        with pytest.raises(EngineUnreachable, match="cannot connect"):
            await host.engine_answers()
    else:
        assert await host.engine_answers() is expected


def kernel(root: Path, *, capabilities: int = 0x1FFFFFFFFFF, inotify: int = 10**6) -> Path:
    """What /proc says of a machine."""
    limits, this = root / "sys/fs/inotify", root / "self"
    for directory in (limits, this):
        directory.mkdir(parents=True)
    for name in ("max_user_instances", "max_user_watches"):
        (limits / name).write_text(f"{inotify}\n")
    (this / "status").write_text(f"CapEff:\t0000000000000000\nCapBnd:\t{capabilities:016x}\n")
    return root


LACKING = 0x1FFFEFFFFFF  # CAP_SYS_RESOURCE


@pytest.fixture
def machine(host: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`host`, on a machine with Debian's key, and its docker.io at version 20."""
    (tmp_path / "key.gpg").touch()
    monkeypatch.setattr(host, "KEYRING", tmp_path / "key.gpg")
    monkeypatch.setattr(host, "ENGINE_DIR", tmp_path / "engine")
    monkeypatch.setattr(host, "mirror", lambda: "http://m.example/debian")

    def run(argv: Sequence[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert argv == ["apt-cache", "policy", "docker.io"]
        return subprocess.CompletedProcess(argv, 0, stdout="docker.io:\n  Installed: (none)\n  Candidate: 20.10.24+dfsg1-1\n")

    monkeypatch.setattr(host.subprocess, "run", run)
    return host


def changes(host: Any, proc: Path) -> list[str]:
    return [change.what for change in host.engine_changes(proc)]


def test_an_engine_is_installed_and_started(machine: Any, tmp_path: Path) -> None:
    """Nothing else, on a machine that is as it should be."""
    install, start = changes(machine, kernel(tmp_path / "proc"))

    assert install == "install, with apt-get: docker.io iptables"
    assert start.startswith("start dockerd ")


def test_limits_that_clusters_exceed_are_raised(machine: Any, tmp_path: Path) -> None:
    """Until the next boot; both are said."""
    assert changes(machine, kernel(tmp_path / "proc", inotify=128))[1:-1] == [
        "sysctl fs.inotify.max_user_instances=1024, until the next boot",
        "sysctl fs.inotify.max_user_watches=524288, until the next boot",
    ]


def test_a_machine_without_a_capability_gets_a_newer_engine(machine: Any, tmp_path: Path) -> None:
    """Unpacked beside the distribution's, once."""
    proc = kernel(tmp_path / "proc", capabilities=LACKING)

    assert changes(machine, proc)[1:-1] == [
        f"unpack Debian trixie's docker.io and containerd to {tmp_path}/engine: this machine lacks CAP_SYS_RESOURCE, which older ones need"
    ]

    (tmp_path / "engine/usr/sbin").mkdir(parents=True)
    (tmp_path / "engine/usr/sbin/dockerd").touch()
    assert changes(machine, proc)[1:-1] == []


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("Docker version 20.10.24+dfsg1, build 297e128\n", True),
        ("Docker version 26.1.5+dfsg1, build a72d7cd\n", False),
        ("docker.io:\n  Installed: (none)\n  Candidate: 22.1-1\n  Version table:\n", True),
        ("docker.io:\n  Installed: (none)\n  Candidate: 23.0-1\n  Version table:\n", False),
        ("docker.io:\n  Installed: (none)\n  Candidate: (none)\n  Version table:\n", True),
        ("", True),
    ],
)
def test_which_engines_are_too_old_for_such_a_machine(told: str, expected: bool, host: Any) -> None:
    """By what dockerd, or apt, says."""
    assert host.is_too_old(told) is expected


@pytest.mark.parametrize(("user", "apt_get"), [(1000, "/usr/bin/apt-get"), (0, None)])
def test_who_cannot_install_an_engine_is_told(
    user: int, apt_get: str | None, machine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is planned then."""
    monkeypatch.setattr(machine.os, "geteuid", lambda: user)
    monkeypatch.setattr(machine.shutil, "which", lambda program: apt_get if program == "apt-get" else None)

    with pytest.raises(EngineMissing, match="needs root and apt-get"):
        changes(machine, kernel(tmp_path / "proc"))


# -- the question


class Terminal(io.StringIO):
    """A user who types this."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("typed", "arguments", "agreed"),
    [
        ("n\n", [], False),
        ("No\n", [], False),
        ("what?\n", [], False),
        ("", [], False),  # Ctrl-D
        ("\n", [], True),
        ("Y\n", [], True),
        (" yes\n", [], True),
        ("n\n", ["--yes"], True),
        (None, [], True),
    ],
)
async def test_nothing_is_changed_that_the_user_does_not_want(
    typed: str | None,
    arguments: list[str],
    agreed: bool,
    host: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """All of it is said before. Where nobody is there to be asked, it is done."""
    made: list[str] = []

    async def make() -> None:
        made.append("it")

    monkeypatch.setattr(sys, "stdin", io.StringIO() if typed is None else Terminal(typed))
    monkeypatch.setattr(sys, "argv", ["quickstart", *arguments])
    both = [host.Change(what="do it", make=make), host.Change(what="do it again", make=make)]

    if agreed:
        await host.apply(both)
    else:
        with pytest.raises(SystemExit, match="nothing was changed"):
            await host.apply(both)

    assert made == (["it", "it"] if agreed else [])
    assert "this changes the machine:\n  - do it\n  - do it again\n" in capsys.readouterr().err


def test_a_build_that_fails_is_told_with_its_command(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has said itself why."""
    monkeypatch.setattr(host, "build_tool_changes", list)

    def run(argv: Sequence[object], **_: object) -> None:
        raise subprocess.CalledProcessError(1, argv)  # type: ignore[arg-type]

    monkeypatch.setattr(host.subprocess, "run", run)

    with pytest.raises(SystemExit, match=r"ERROR: .*kindasync build node-image failed"):
        host.main()


# -- the quickstart


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
