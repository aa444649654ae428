"""Plots, as SVG: all runs as dots, or what happens when as spans."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from statistics import median

WIDTH, LABELS, ROW, TOP = 960, 320, 24, 56
_STYLE = (
    "text{font:13px sans-serif;fill:#333}.title{font-size:15px}.label{text-anchor:end}.tick{text-anchor:middle;fill:#777}"
    ".grid{stroke:#ddd}.run{fill:#4878a8;fill-opacity:.55}.median{stroke:#c33;stroke-width:2.5}"
)


def dots(title: str, rows: Sequence[tuple[str, Sequence[float]]]) -> str:
    """A row for each series: its label, a dot for each figure, a stroke at their median, and that as a number."""
    scale = _Scale(max(max(figures) for _, figures in rows))
    drawn = []
    for y, (label, figures) in enumerate(rows):
        circles = [f'<circle cx="{scale.x(figure)}" cy="{_y(y)}" r="4" class="run"/>' for figure in figures]
        middle = f'<path d="M{scale.x(median(figures))} {_y(y) - 9}v18" class="median"/>'
        number = f'<text x="{scale.x(max(figures)) + 10}" y="{_y(y) + 4}">{median(figures):.2f}</text>'
        drawn.append("".join([_label(label, y), *circles, middle, number]))
    return _svg(title, scale, drawn)


def spans(title: str, rows: Sequence[tuple[str, float, float]]) -> str:
    """A row for each span: its label, and a box from its begin to its end; a stroke for what took no time."""
    scale = _Scale(max(ended for *_, ended in rows))
    drawn = []
    for y, (label, began, ended) in enumerate(rows):
        width = max(2, scale.x(ended) - scale.x(began))
        drawn.append(f'{_label(label, y)}<rect x="{scale.x(began)}" y="{_y(y) - 7}" width="{width}" height="14" class="run"/>')
    return _svg(title, scale, drawn)


class _Scale:
    """Where a figure is on the x axis; and its ticks, not more than a dozen."""

    def __init__(self, most: float) -> None:
        self._most = most
        step = next(step for step in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 1000) if most / step <= 12)
        self.ticks = [round(index * step, 1) for index in range(int(most / step) + 1)]

    def x(self, figure: float) -> int:
        return LABELS + round(figure / self._most * (WIDTH - LABELS - 70))


def _y(row: int) -> int:
    return TOP + row * ROW + ROW // 2


def _label(label: str, row: int) -> str:
    return f'<text x="{LABELS - 12}" y="{_y(row) + 4}" class="label">{escape(label)}</text>'


def _svg(title: str, scale: _Scale, rows: Sequence[str]) -> str:
    end = TOP + len(rows) * ROW
    ticks = (
        f'<path d="M{scale.x(tick)} {TOP}V{end}" class="grid"/><text x="{scale.x(tick)}" y="{end + 18}" class="tick">{tick:g}</text>'
        for tick in scale.ticks
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {end + 30}" width="{WIDTH}" role="img">',
            f'<style>{_STYLE}</style><rect width="100%" height="100%" fill="#fff"/><text x="16" y="30" class="title">{escape(title)}</text>',
            *ticks,
            *rows,
            "</svg>\n",
        ]
    )
