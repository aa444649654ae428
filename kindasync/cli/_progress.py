"""Progress: the events of one operation, shown as suits where they go: a live table on a terminal, lines elsewhere, JSON on request."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self, TextIO

import click

from kindasync import events
from kindasync.cli._describe import bytes_text, describe

if TYPE_CHECKING:
    from rich.table import Table

Listener = Callable[[events.Event], None]


@contextmanager
def listener(title: str, *, as_json: bool, quiet: bool) -> Iterator[Listener | None]:
    """A listener for one operation's events. JSON lines go to stdout; everything for people goes to stderr."""
    if as_json:
        yield _json_lines
    elif quiet:
        yield None
    elif is_fancy(sys.stderr, os.environ):
        with _Live(title) as live:
            yield live.see
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


class _Live:
    """A table with one line per node (or build step): how long it takes so far, and its newest state."""

    def __init__(self, title: str) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(stderr=True, highlight=False)
        self._title = title
        self._rows: dict[str, tuple[str, str, float | None]] = {}
        self._began = time.monotonic()
        self._live = Live(console=self._console, get_renderable=self._table, refresh_per_second=8, transient=False)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.__exit__(None, None, None)

    def see(self, event: events.Event) -> None:
        match event:
            case events.BuildStepStarted():
                self._rows[event.step] = ("…", "", None)
            case events.BuildOutput():
                self._rows[event.subject] = ("…", event.line, None)
            case events.BuildStepEnded():
                self._rows[event.step] = ("✓", "as before (cached)" if event.cached else "done", event.duration_s)
            case events.ImagePullProgress() | events.PreloadProgress():
                total = f" of {bytes_text(event.total)}" if event.total else ""
                self._rows[event.node or "image"] = ("…", f"{event.stage} {event.subject}: {bytes_text(event.current)}{total}", None)
            case events.NodeReady():
                self._rows[event.node] = ("✓", "Ready", event.monotonic_s)
            case events.StepFailed():
                self._rows[event.node or event.cluster] = ("✗", describe(event) or "", event.monotonic_s)
            case events.Warned():
                self._console.print(f"[yellow]{event.message}[/]")
            case _:
                text, key = describe(event), event.node or event.cluster
                mark, _, ended = self._rows.get(key, ("…", "", None))
                if text and (mark == "…" or isinstance(event, (events.NodeRemoved, events.RolledBack, events.ClusterDeleted))):
                    done = isinstance(event, (events.ClusterReady, events.NodeRemoved, events.ClusterDeleted, events.RolledBack))
                    self._rows[key] = ("✓" if done else "…", text, event.monotonic_s if done else ended)

    def _table(self) -> Table:
        from rich.spinner import Spinner
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 1))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        elapsed = time.monotonic() - self._began
        table.add_row("", Text(self._title, style="bold"), f"{elapsed:.0f} s", "")
        for name, (mark, text, ended) in self._rows.items():
            sign = Spinner("dots") if mark == "…" else Text(mark, style="green" if mark == "✓" else "red")
            table.add_row(
                sign,
                name,
                f"{elapsed if ended is None else ended:.1f} s" if ended is not None else "",
                Text(text, style="dim" if mark == "…" else ""),
            )
        return table
