"""Timeline: an operation's stages as a page for a browser, drawn to scale: for each node one bar per stage. One file, which needs no other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path

import click

from kindasync.cli._timings import Span, aligned, spans
from kindasync.errors import KindasyncError
from kindasync.events import Event, Interrupted, StepFailed, Warned

_TICKS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600)
_MOST_TICKS = 12
_HUES = 12
_STYLE = """
:root { color-scheme: light dark; font: 14px/1.5 system-ui, sans-serif; }
body { margin: 2em; }
h1 { font-size: 1.3em; margin: 0; }
h2 { font-size: 1em; margin: 1em 0 .2em; }
p, ul { margin: .3em 0 1em; }
.failed { color: #c62828; font-weight: bold; white-space: pre-wrap; }
.warned { white-space: pre-wrap; }
.key span, .bar { background: hsl(var(--hue) 55% 72%); color: #111; border-radius: 3px; padding: 0 .4em; }
.key span { display: inline-block; margin: 0 .3em .3em 0; }
.chart { position: relative; padding-bottom: 1.6em; }
.track { position: relative; height: 1.5em; margin-bottom: 2px; }
.bar { position: absolute; height: 100%; min-width: 2px; box-sizing: border-box; border-right: 1px solid Canvas; overflow: hidden; white-space: nowrap; font-size: .85em; line-height: 1.75; }
.bar:hover { outline: 2px solid; }
.bar.short { padding: 0; }
.tick { position: absolute; top: 0; bottom: 0; border-left: 1px solid #8884; font-size: .8em; }
.tick span { position: absolute; bottom: 0; padding-left: .3em; opacity: .7; white-space: nowrap; }
.tick.failure { border-left: 2px solid #c62828; }
"""


@contextmanager
def timeline_of(path: Path | None, title: str, seen: Sequence[Event]) -> Iterator[None]:
    """Write the timeline of what was `seen` when the context ends, however it does. Raises: KindasyncError at once, if the file cannot be written."""
    if not path:
        yield
        return
    try:
        file = path.open("w", encoding="utf-8")
    except OSError as error:
        raise KindasyncError(
            f"cannot write the timeline {path}", why=error.strerror or str(error), hint="name a file in a directory that is there"
        ) from error
    try:
        yield
    finally:
        try:
            with file:
                file.write(timeline(title, seen))
        except OSError as error:  # no reason for what was done to have failed
            click.echo(f"the timeline {path} was not written: {error.strerror or error}", err=True)


def timeline(title: str, events: Iterable[Event]) -> str:
    """The page. Whatever comes from outside, such as names and errors, is text in it."""
    events = aligned(events)
    bars = spans(events)
    end_s = max((event.monotonic_s for event in events), default=0.0) or 1.0
    hues = {stage: f"{index % _HUES * 360 // _HUES}" for index, stage in enumerate(dict.fromkeys(bar.stage for bar in bars))}
    key = "".join(f'<span style="--hue:{hue}">{escape(stage)}</span>' for stage, hue in hues.items())
    lanes = "".join(_lane(subject, [bar for bar in bars if bar.subject == subject], hues, end_s) for subject in _subjects(bars))
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
<h1>{escape(title)}</h1>
<p>{end_s:.1f} s</p>
{_said(events)}<p class="key">{key}</p>
<div class="chart">
{_ticks(end_s)}{"".join(_failure(event, end_s) for event in events if isinstance(event, StepFailed))}{lanes}</div>
</html>
"""


def _subjects(bars: Iterable[Span]) -> list[str]:
    """Nodes and clusters, in the order in which something began for them."""
    return list(dict.fromkeys(bar.subject for bar in bars))


def _said(events: Iterable[Event]) -> str:
    """What went wrong, and what is to be known."""
    lines = []
    for event in events:
        match event:
            case StepFailed():
                where = f" ({event.node})" if event.node else ""
                lines.append(f'<li class="failed">{event.monotonic_s:.1f} s: {escape(event.step + where)}: {escape(event.error)}</li>\n')
            case Interrupted():
                lines.append(f'<li class="failed">{event.monotonic_s:.1f} s: interrupted</li>\n')
            case Warned():
                lines.append(f'<li class="warned">{event.monotonic_s:.1f} s: {escape(event.message)}</li>\n')
    return f"<ul>\n{''.join(lines)}</ul>\n" if lines else ""


def _lane(subject: str, bars: Sequence[Span], hues: dict[str, str], end_s: float) -> str:
    tracks = "".join(f'<div class="track">{"".join(_bar(bar, hues[bar.stage], end_s) for bar in track)}</div>\n' for track in stacked(bars))
    return f"<h2>{escape(subject)}</h2>\n{tracks}"


def stacked(bars: Iterable[Span]) -> list[list[Span]]:
    """Bars in as few tracks as there are at the same time; each in the first that is free when it begins."""
    tracks: list[list[Span]] = []
    for bar in sorted(bars, key=lambda bar: (bar.began_s, -bar.took_s)):
        free = next((track for track in tracks if track[-1].began_s + track[-1].took_s <= bar.began_s + 1e-6), None)
        if free is None:
            tracks.append([bar])
        else:
            free.append(bar)
    return tracks


def _bar(bar: Span, hue: str, end_s: float) -> str:
    width = 100 * bar.took_s / end_s
    text = f"{bar.stage}: {bar.until}, {bar.took_s:.2f} s from {bar.began_s:.2f} s"
    place = f"left:{100 * bar.began_s / end_s:.3f}%;width:{width:.3f}%;--hue:{hue}"
    label = escape(bar.until) if width > 1 else ""
    return f'<div class="bar{"" if label else " short"}" style="{place}" title="{escape(text)}">{label}</div>'


def _ticks(end_s: float) -> str:
    step_s = next((each for each in _TICKS_S if end_s / each <= _MOST_TICKS), end_s / _MOST_TICKS)
    times = [index * step_s for index in range(int(end_s / step_s) + 1)]
    return "".join(f'<div class="tick" style="left:{100 * time / end_s:.3f}%"><span>{time:g} s</span></div>\n' for time in times)


def _failure(event: StepFailed, end_s: float) -> str:
    return f'<div class="tick failure" style="left:{100 * event.monotonic_s / end_s:.3f}%" title="{escape(event.step)}"></div>\n'
