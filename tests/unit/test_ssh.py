"""ssh endpoints: an Engine behind the system's ssh. Here that is a program of the same name, which knows one host."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from kindasync import Cluster, Engine, sync
from kindasync.docker.containers import ContainerSpec, container_create, container_start
from kindasync.docker.execs import container_exec
from kindasync.errors import EngineUnreachable
from kindasync.testing import FakeEngine, ProgramResult
from kindasync.transport import parse
from kindasync.transport._ssh import dial_argv, hold_argv
from tests.pages import ROOT, blocks, typed
from tests.unit.leftovers import nothing_left

pytestmark = pytest.mark.anyio

# Writes down what it was called with, then is what it was asked to be: the line that is held, or a dial-stdio at the fake Engine.
SSH = """#!{python}
import os, selectors, signal, socket, sys
with open(os.environ["SSH_CALLS"], "a") as file:
    file.write(" ".join(sys.argv[1:]) + "\\n")
host = sys.argv[sys.argv.index("--") + 1]
if host != "localhost":
    sys.exit(f"ssh: Could not resolve hostname {{host}}")
if "-N" in sys.argv:
    signal.pause()
engine = socket.socket(socket.AF_UNIX)
engine.connect(os.environ["SSH_LEADS_TO"])
waiting = selectors.DefaultSelector()
waiting.register(0, selectors.EVENT_READ)
waiting.register(engine, selectors.EVENT_READ)
while True:
    for key, _ in waiting.select():
        if key.fd == 0:
            data = os.read(0, 65536)
            if data:
                engine.sendall(data)
            else:
                engine.shutdown(socket.SHUT_WR)
                waiting.unregister(0)
        else:
            data = engine.recv(65536)
            if not data:
                sys.exit()
            os.write(1, data)
"""


@pytest.fixture
def calls(fake: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That ssh on PATH, alone; the file in which its calls are."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "ssh").write_text(SSH.format(python=sys.executable))
    (programs / "ssh").chmod(0o700)
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("SSH_LEADS_TO", fake.url.removeprefix("unix://"))
    monkeypatch.setenv("SSH_CALLS", str(tmp_path / "calls"))
    return tmp_path / "calls"


@pytest.mark.parametrize(
    ("url", "holds", "dials"),
    [
        ("ssh://there", "-M -N -- there", "-- there docker system dial-stdio"),
        (
            "ssh://me@there:2222/a b.sock",
            "-l me -p 2222 -M -N -- there",
            "-l me -p 2222 -- there docker --host 'unix:///a b.sock' system dial-stdio",
        ),
    ],
)
def test_what_is_asked_of_ssh(url: str, holds: str, dials: str) -> None:
    """No question at a terminal, one line for all, nothing of the URL as an option."""
    common = "ssh -T -o ConnectTimeout=30 -o BatchMode=yes -S /d/line "

    assert " ".join(hold_argv(parse(url), "/d")) == common + holds
    assert " ".join(dial_argv(parse(url), "/d")) == common + dials


async def test_a_cluster_behind_ssh(fake: FakeEngine, home: Path, calls: Path) -> None:
    """All of it, from create to delete."""
    with nothing_left(fake, home):
        cluster = await Cluster.create("demo", engine="ssh://me@localhost")

        assert cluster.engine.url == "ssh://me@localhost"
        await cluster.delete()

    assert "-l me -- localhost docker system dial-stdio" in calls.read_text()
    assert running(calls.with_name("bin") / "ssh") == []


async def test_logs_that_are_followed_without_asyncio(fake: FakeEngine, home: Path, calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line is waited for by a task of its own."""
    monkeypatch.setenv("KINDASYNC_HOST_OVERRIDE", "127.0.0.1")
    await Cluster.create("demo", engine=fake.url)

    def first() -> str:
        for line in sync.Cluster.get("demo", engine="ssh://localhost").nodes[0].logs(follow=True):
            return line
        return ""

    assert await anyio.to_thread.run_sync(first) == "kindasync: paused"


async def test_input_ends_and_output_goes_on(fake: FakeEngine, calls: Path) -> None:
    """Each direction of a connection by itself, unlike over TLS."""
    fake.node.programs["cat"] = lambda _container, _argv, stdin: ProgramResult(stdout=stdin)
    async with Engine.of("ssh://localhost").connect() as connection:
        container = await container_create(connection, "any", ContainerSpec(image="kindasync/node:v1.37.2"))
        await container_start(connection, container)

        result = await container_exec(connection, container, ["cat"], stdin=b"x" * 300_000)

    assert result.stdout == b"x" * 300_000


async def test_a_create_as_the_page_says(fake: FakeEngine, home: Path, calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is typed in a shell."""
    monkeypatch.setenv("PATH", f"{calls.with_name('bin')}:{Path(sys.executable).parent}:{os.defpath}")
    line, _ = blocks(ROOT / "docs/remote.md", "console")

    await anyio.run_process(*typed(line.replace("build.example", "localhost")))

    assert "-l me -- localhost docker system dial-stdio" in calls.read_text()
    assert list(fake.containers) == ["kind-control-plane"]


async def test_two_engines_as_the_page_says(fake: FakeEngine, home: Path, calls: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One of them by ssh; both are the fake."""
    (text,) = blocks(ROOT / "docs/remote.md", "python")
    names: dict[str, Any] = {}
    exec(text.replace("build.example", "localhost").replace("unix:///var/run/docker.sock", fake.url), names)

    await names["work"]()

    assert capsys.readouterr().out == f"ssh://me@localhost {fake.url}\n"
    assert fake.containers == {}


async def test_what_ssh_refuses_is_said(calls: Path) -> None:
    """In its words, with what to try."""
    with pytest.raises(EngineUnreachable, match="ssh: Could not resolve hostname elsewhere") as caught:
        async with Engine.of("ssh://elsewhere").connect():
            pass

    assert "docker --host ssh://elsewhere version" in caught.value.hint


async def test_without_ssh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """That is said, too."""
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(EngineUnreachable, match="ssh cannot be started"):
        async with Engine.of("ssh://there").connect():
            pass


async def test_a_cancelled_create_cleans_up_over_the_same_line(fake: FakeEngine, home: Path, calls: Path) -> None:
    """Which ends last; none of its programs is left."""
    fake.node.boots = False
    with nothing_left(fake, home), anyio.CancelScope() as creating:

        async def cancel(event: object) -> None:
            if type(event).__name__ == "BootSignalled":
                creating.cancel()

        await Cluster.create("demo", engine="ssh://localhost", on_event=cancel)

    assert creating.cancelled_caught
    assert running(calls.with_name("bin") / "ssh") == []


def running(program: Path) -> list[bytes]:
    """The command lines of this program's processes."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended
            found.append(path.read_bytes())
    return [each for each in found if bytes(program) in each]
