"""Progress on a terminal: what people see of an operation while it runs, and what is left of that on their screen."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, suppress

import pytest

from kindasync import events
from kindasync.cli._main import main
from kindasync.cli._progress import Listener, Progress, _Live, is_fancy
from kindasync.testing import FakeEngine
from tests.terminals import WIDE, Screen, on_terminal

NODE = "demo-control-plane"


class Terminal(io.StringIO):
    """A stderr that is one."""

    def isatty(self) -> bool:
        return True


def screen(output: str) -> list[str]:
    """The lines on a terminal after `output`."""
    screen = Screen(WIDE)
    screen.feed(output.encode())
    return screen.lines


@pytest.fixture(params=[80, 160])
def terminal(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """One of so many columns, which wants a table."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", str(request.param))
    monkeypatch.setenv("LINES", "24")
    for variable in ("CI", "NO_COLOR"):
        monkeypatch.delenv(variable, raising=False)
    return Terminal()


@contextmanager
def listening(terminal: Terminal) -> Iterator[Listener]:
    """The listener for one operation, as on that terminal."""
    with redirect_stderr(terminal), Progress().of("Creating …") as see:
        assert see is not None
        yield see


def shown(terminal: Terminal, *seen: events.Event) -> list[str]:
    """The lines that are on it after these events."""
    with listening(terminal) as see:
        for event in seen:
            see(event)
    return screen(terminal.getvalue())


@pytest.mark.parametrize(
    ("env", "fancy"),
    [
        ({"TERM": "xterm"}, True),
        ({}, True),
        ({"TERM": "dumb"}, False),
        ({"TERM": "st-256color"}, False),
        ({"NO_COLOR": ""}, False),
        ({"CI": "true"}, False),
    ],
)
def test_where_there_is_a_table(env: dict[str, str], fancy: bool) -> None:
    """On terminals that can move their cursor, unless plain output is asked for; NO_COLOR counts even if it is empty, as for kind."""
    assert is_fancy(Terminal(), env) is fancy
    assert not is_fancy(io.StringIO(), env)


def test_what_runs_shows_how_long_it_takes(terminal: Terminal) -> None:
    """A node since the operation began, a step of a build since its own begin; what has ended keeps its time."""
    now = iter([100.0])
    with redirect_stderr(terminal), _Live("Creating …", clock=lambda: next(now, 109.0)) as live:
        for event in (
            events.NodePaused(cluster="demo", node=NODE, duration_s=1, monotonic_s=2.0),
            events.BuildStepStarted(step="compile", monotonic_s=5.0),
            events.BuildOutput(subject="compile", line="go build", current=1, monotonic_s=6.0),
            events.BuildStepStarted(step="fetch", monotonic_s=5.0),
            events.BuildStepEnded(step="fetch", duration_s=1.5, monotonic_s=6.5),
            events.NodeReady(cluster="demo", node="demo-worker", duration_s=1, monotonic_s=7.0),
        ):
            live.see(event)

    title, *rows, _ = screen(terminal.getvalue())
    assert title.split() == ["Creating", "…", "9", "s"]
    assert [row.split()[1:] for row in rows] == [
        [NODE, "9.0", "s", "paused", "before", "its", "boot"],
        ["compile", "4.0", "s", "go", "build"],
        ["fetch", "1.5", "s", "done"],
        ["demo-worker", "7.0", "s", "Ready"],
    ]


def test_nothing_goes_on_when_the_cluster_is_ready(terminal: Terminal) -> None:
    """The balancer's place is taken, too, though nothing says so of it alone."""
    _, *rows, _ = shown(
        terminal,
        events.NodeStarted(cluster="demo", node="demo-external-load-balancer", duration_s=1),
        events.NodeReady(cluster="demo", node=NODE, duration_s=1),
        events.ClusterReady(cluster="demo", duration_s=2),
    )

    assert [row.split()[0] for row in rows] == ["✓"] * 3


def test_other_clusters_go_on(terminal: Terminal) -> None:
    """Of several in one operation, one is ready first; and what has not ended when an operation fails did not succeed."""
    with suppress(ZeroDivisionError), listening(terminal) as see:
        see(events.NodeStarted(cluster="a", node="a-external-load-balancer", duration_s=1))
        see(events.NodeStarted(cluster="b", node="b-control-plane", duration_s=1))
        see(events.ClusterReady(cluster="a", duration_s=2))
        raise ZeroDivisionError

    _, *rows, _ = screen(terminal.getvalue())
    assert [row.split()[:2] for row in rows if row.startswith("✓")] == [["✓", "a-external-load-balancer"], ["✓", "a"]]
    assert "b-control-plane" in rows[1]


@pytest.mark.parametrize(
    "event",
    [
        events.NodeBooted(cluster="demo", node=NODE, duration_s=1),  # of a create that waits for nothing
        events.NodeStopped(cluster="demo", node=NODE, duration_s=1),
        events.BalancerReloaded(cluster="demo", control_planes=(NODE,), duration_s=1),
    ],
)
def test_nothing_goes_on_when_the_operation_has_ended(terminal: Terminal, event: events.Event) -> None:
    """Whichever event was the last of a row."""
    _, row, _ = shown(terminal, event)

    assert row.startswith("✓")


def test_why_a_node_failed_stays(terminal: Terminal) -> None:
    """What is done about it is in the error."""
    *_, row, cluster, _ = shown(
        terminal,
        events.StepFailed(cluster="demo", node=NODE, step="start the node", error="no space"),
        events.NodeRemoved(cluster="demo", node=NODE, duration_s=1),
        events.RolledBack(cluster="demo", duration_s=1),
    )

    assert (row[0], row.split("s ", 1)[1]) == ("✗", "failed to start the node")
    assert (cluster[0], cluster.split("s ", 1)[1]) == ("✓", "took back what was made")


def test_a_node_that_has_taken_images_has_still_to_boot(terminal: Terminal) -> None:
    """In a create; where only images are loaded, it is through with it."""
    loaded = events.NodeLoaded(cluster="demo", node=NODE, images=("app:1",), duration_s=1)
    created = events.ContainerCreated(cluster="demo", node=NODE, image="node:1", duration_s=1)

    assert shown(terminal, created, loaded, events.NodeBooted(cluster="demo", node=NODE, duration_s=1))[1].endswith("booting")
    assert shown(terminal, loaded, events.NodeBooted(cluster="demo", node=NODE, duration_s=1))[-2].endswith("loaded app:1")


def test_text_from_outside_is_no_markup(terminal: Terminal) -> None:
    """A path in brackets is a path, not a tag that lacks its other end."""
    warning, *_, step, state, hook, _ = shown(
        terminal,
        events.Warned(message="mount [/etc/x] [bold]and :smile:"),
        events.BuildOutput(subject="step [/a]", line="[/b] [red]line", current=1),
        events.ReadinessObserved(cluster="demo", subject="node demo", state="[/c]"),
        events.HookEnded(cluster="demo", node="n", hook="<lambda>[/]", duration_s=1),
    )

    assert warning == "mount [/etc/x] [bold]and :smile:"
    assert "step [/a]" in step
    assert "[/b] [red]line" in step
    assert "node demo: [/c]" in state
    assert "hook <lambda>[/] has run" in hook


def test_text_from_outside_cannot_move_the_cursor(terminal: Terminal) -> None:
    """One line for each, without what a program's own progress does to a terminal."""
    lines = shown(terminal, events.BuildOutput(subject="step", line="\x1b[2J10 %\r20 %\n\x1b[31mred\x1b[0m\x1bc\x9b2Jend", current=1))

    assert not re.search(r"\x1b\[2J|\x1bc|\x9b", terminal.getvalue())
    assert lines[1].endswith("10 % 20 % redc2Jend")


def test_the_image_has_an_end(terminal: Terminal) -> None:
    """When it was pulled."""
    lines = shown(
        terminal,
        events.ImagePullProgress(cluster="demo", subject="layer", current=1024, total=2048),
        events.ImagePulled(cluster="demo", image="kindest/node:v1", duration_s=3, monotonic_s=3.2),
    )

    assert lines[1].split() == ["✓", "image", "3.2", "s", "pulled", "kindest/node:v1"]


def test_a_failure_leaves_the_terminal_as_it_was(terminal: Terminal) -> None:
    """The cursor can be seen, and the table is there once, in its last state."""
    with suppress(ZeroDivisionError), listening(terminal) as see:
        see(events.NodePaused(cluster="demo", node=NODE, duration_s=1))
        see(events.StepFailed(cluster="demo", node=NODE, step="boot", error="it died"))
        raise ZeroDivisionError

    output = terminal.getvalue()
    assert output.rindex("\x1b[?25h") > output.rindex("\x1b[?25l")
    assert [line.split(" ", 1)[0] for line in screen(output)] == ["Creating", "✗", ""]


def test_ctrl_c_leaves_the_terminal_as_it_was(fake: FakeEngine) -> None:
    """What was said meanwhile stays above the table, which is there once."""
    fake.node.becomes_ready = False
    heeded = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # in the background, shells have it ignored
    command = f"{heeded}; from kindasync.cli._main import run; run()"

    shown = on_terminal(
        sys.executable,
        *("-c", command, "create", "cluster", "--name", "demo"),
        columns=100,
        environment={**os.environ, "DOCKER_HOST": fake.url},
        typed=[("control plane initialised", b"\x03")],
    )

    assert (shown.code, shown.has_cursor, shown.as_before) == (130, True, True)
    assert [line for line in shown.lines if line.startswith("interrupted")] == [
        "interrupted: ending what was begun; this takes a few seconds"
    ]
    assert len([line for line in shown.lines if 'Creating cluster "demo"' in line]) == 1
    assert [line.split()[:2] for line in shown.lines[-3:]] == [["✗", "demo"], ["✓", NODE], []]
    assert fake.containers == {}


# -- what is around it


def test_timings(fake: FakeEngine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """At the end, on stderr, however else events are shown: each stage of each node, in the order in which they began."""
    monkeypatch.setenv("DOCKER_HOST", fake.url)

    code = main(["create", "cluster", "--name", "demo", "--events", "json", "--timings"])

    table = [line.split() for line in capsys.readouterr().err.splitlines() if not line.startswith("Set kubectl")]
    assert (code, table[0]) == (0, ["NODE", "STAGE", "UNTIL", "BEGAN", "TOOK"])
    assert ["demo-control-plane", "boot", "NodeBooted"] in [row[:3] for row in table]
    began = [float(row[-4]) for row in table[1:] if row[-1:] == ["s"]]
    assert began == sorted(began)


def test_timings_of_what_fails(fake: FakeEngine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Before the error: what took so long may be why."""
    monkeypatch.setenv("DOCKER_HOST", fake.url)
    fake.fail("ContainerStart", message="no space left on device")

    code = main(["create", "cluster", "--name", "demo", "--timings"])

    err = capsys.readouterr().err
    assert code == 1
    assert err.index("ContainerCreated") < err.index("ERROR: cannot start node")


def test_github_actions_folds_progress(fake: FakeEngine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What is between the two commands; not what is said afterwards."""
    monkeypatch.setenv("DOCKER_HOST", fake.url)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")

    main(["create", "cluster", "--name", "demo"])

    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == '::group::Creating cluster "demo" …'
    assert "is ready after" in lines[lines.index("::endgroup::") - 1]
    assert lines[lines.index("::endgroup::") + 1].startswith("Set kubectl context")
