"""Progress: the events of one operation, shown as suits where they go: a live table on a terminal, lines elsewhere, JSON on request."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TextIO

import click

from kindasync import events
from kindasync.cli._describe import bytes_text, describe
from kindasync.cli._output import show_columns
from kindasync.cli._timeline import timeline_of
from kindasync.cli._timings import rows

if TYPE_CHECKING:
    from rich.console import Group
    from rich.text import Text

    from kindasync.cli._main import Settings

Listener = Callable[[events.Event], None]
_events = click.option(
    "--events",
    "events_format",
    type=click.Choice(["json"]),
    help="Print every event as a line of JSON on stdout, instead of progress and result.",
)
_timings = click.option("--timings", is_flag=True, help="At the end, also of a failure, print how long each stage took.")
_timeline = click.option(
    "--timeline",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="At the end, also of a failure, write a page for a browser that shows when each node's stages were.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How a command shows an operation, also one that fails. `timings`: a table at the end; `timeline`: a file with a page."""

    as_json: bool = False
    quiet: bool = False
    timings: bool = False
    timeline: Path | None = None

    @contextmanager
    def of(self, title: str) -> Iterator[Listener | None]:
        """A listener for the operation's events. JSON lines go to stdout; everything for people goes to stderr."""
        seen: list[events.Event] = []
        shown = _shown(title, as_json=self.as_json, quiet=self.quiet)
        try:
            with timeline_of(self.timeline, title.removesuffix(" …"), seen), shown as show:
                if not (self.timings or self.timeline):
                    yield show
                else:

                    def see(event: events.Event) -> None:
                        seen.append(event)
                        if show:
                            show(event)

                    yield see
        finally:
            if self.timings:
                show_columns(*rows(seen), err=True)


def with_progress(command: Callable[..., None]) -> Callable[..., None]:
    """The options of a command that shows an operation: it gets a Progress, `progress`."""

    @_events
    @_timings
    @_timeline
    @click.pass_obj
    @wraps(command)
    def with_options(settings: Settings, /, *, events_format: str | None, timings: bool, timeline: Path | None, **values: Any) -> None:
        progress = Progress(as_json=events_format == "json", quiet=settings.quiet, timings=timings, timeline=timeline)
        command(progress=progress, **values)

    return with_options


@contextmanager
def _shown(title: str, *, as_json: bool, quiet: bool) -> Iterator[Listener | None]:
    if as_json:
        yield _json_lines
    elif quiet:
        yield None
    elif is_fancy(sys.stderr, os.environ):
        with _Live(title) as live:
            yield live.see
    elif os.environ.get("GITHUB_ACTIONS") == "true":  # which folds what is between the two
        click.echo(f"::group::{title}", err=True)
        try:
            yield _plain_lines
        finally:
            click.echo("::endgroup::", err=True)
    else:
        click.echo(title, err=True)
        yield _plain_lines


def is_fancy(stream: TextIO, env: Mapping[str, str]) -> bool:
    """Whether a stream is a terminal that can move its cursor, and whose user has not asked for plain output."""
    return stream.isatty() and "NO_COLOR" not in env and env.get("TERM") not in ("dumb", "st-256color") and "CI" not in env


def _json_lines(event: events.Event) -> None:
    sys.stdout.write(json.dumps(event.to_json()) + "\n")
    sys.stdout.flush()


def _plain_lines(event: events.Event) -> None:
    text = describe(event)
    if text:
        subject = f"{event.node}: " if event.node else ""
        click.echo(f" {event.monotonic_s:6.1f} s  {subject}{text}", err=True)


@dataclass(frozen=True, slots=True)
class _Row:
    """A line of the table.

    Shape: `cluster` empty for a build step; `mark` is shown when it has ended; seconds since the operation began; `ended_s` None while it goes on.
    """

    cluster: str
    mark: str
    text: str
    began_s: float
    ended_s: float | None


class _Live:
    """A table with one line per node (or build step): how long it takes so far, and its newest state.

    Texts are from outside: they are shown as they are, without rich's markup, in one line, their colours and cursor movements left out.
    """

    def __init__(self, title: str, *, clock: events.Clock = time.monotonic) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.spinner import Spinner

        self._console = Console(stderr=True, highlight=False)
        self._title = title
        self._rows: dict[str, _Row] = {}
        self._made: set[str] = set()  # nodes
        self._clock = clock
        self._began = clock()
        self._spinner = Spinner("dots")
        self._live = Live(console=self._console, get_renderable=self._table, refresh_per_second=8, transient=False)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is None:
            self._end_rows(self._clock() - self._began)
        with suppress(OSError):  # the terminal has gone
            self._live.__exit__(None, None, None)

    def see(self, event: events.Event) -> None:
        now = event.monotonic_s
        match event:
            case events.BuildStepStarted():
                self._put(event, event.step, "", since=now)
            case events.BuildOutput():
                self._put(event, event.subject, event.line, since=now)
            case events.BuildStepEnded():
                text = "as before (cached)" if event.cached else "done"
                self._put(event, event.step, text, since=now - event.duration_s, ended=now)
            case events.ImagePullProgress() | events.PreloadProgress() | events.LoadProgress():
                total = f" of {bytes_text(event.total)}" if event.total else ""
                self._put(event, event.node or "image", f"{event.stage} {event.subject}: {bytes_text(event.current)}{total}")
            case events.ImagePulled():
                self._put(event, "image", f"pulled {event.image}", ended=now)
            case events.NodeReady():
                self._put(event, event.node, "Ready", ended=now)
            case events.StepFailed() | events.Interrupted():  # perhaps before a name was read
                self._put(event, event.node or event.cluster or "cluster", describe(event) or "", mark="✗", ended=now)
            case events.Warned():
                self._console.print(_plain(event.message, style="yellow"))
            case events.ClusterReady():
                self._end_rows(now, of=event.cluster)  # such as the balancer's, of which nothing more is told
                self._put(event, event.cluster, describe(event) or "", ended=now)
            case events.ContainerCreated():
                self._made.add(event.node)
                self._put(event, event.node, describe(event) or "")
            case events.NodeLoaded() if event.node in self._made:  # it has still to boot
                self._put(event, event.node, describe(event) or "")
            case events.NodeRemoved() | events.RolledBack() if self._has_failed(event.node or event.cluster):
                pass  # why is what is to be seen
            case (
                events.NodeLoaded()
                | events.LogsExported()
                | events.NodeStopped()
                | events.ClusterStopped()
                | events.ClusterRestored()
                | events.ClusterParked()
                | events.ClusterClaimed()
                | events.NodeRemoved()
                | events.ClusterDeleted()
                | events.RolledBack()
            ):
                self._put(event, event.node or event.cluster, describe(event) or "", ended=now)
            case _:
                text, name = describe(event) or "", event.node or event.cluster
                if text and (name not in self._rows or self._rows[name].ended_s is None):
                    self._put(event, name, text)

    def _has_failed(self, name: str) -> bool:
        return name in self._rows and self._rows[name].mark == "✗"

    def _put(self, event: events.Event, name: str, text: str, *, since: float = 0.0, mark: str = "✓", ended: float | None = None) -> None:
        before = self._rows.get(name)
        self._rows[name] = _Row(event.cluster, mark, text, before.began_s if before else since, ended)

    def _end_rows(self, now: float, *, of: str | None = None) -> None:
        """Mark as done what goes on, of one cluster, or all."""
        for name, row in list(self._rows.items()):
            if row.ended_s is None and of in (None, row.cluster):
                self._rows[name] = replace(row, ended_s=now)

    def _table(self) -> Group:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        # What is said last gives way, not the names and times. Two columns are left to the terminal, for the ^C that it shows itself.
        table = Table.grid(padding=(0, 1))
        table.width = max(self._console.width - 2, 1)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        elapsed = self._clock() - self._began
        for name, row in list(self._rows.items()):  # events come in another thread
            runs = row.ended_s is None
            table.add_row(
                self._spinner if runs else Text(row.mark, style="green" if row.mark == "✓" else "red"),
                Text(name),
                f"{(elapsed if row.ended_s is None else row.ended_s) - row.began_s:.1f} s",
                _plain(row.text, style="dim", wrap=False) if runs else _plain(row.text),
            )
        return Group(Text.assemble((self._title, "bold"), f"  {elapsed:.0f} s"), table)


def _plain(text: str, *, style: str = "", wrap: bool = True) -> Text:
    from rich.text import Text

    shown = Text.from_ansi(" ".join(text.split())).plain  # without the sequences of terminals
    return Text("".join(filter(str.isprintable, shown)), style=style, no_wrap=not wrap, overflow="fold" if wrap else "ellipsis")
