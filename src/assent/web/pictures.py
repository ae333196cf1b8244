"""Small pictures as SVG whose colours come from the page's style sheet, so that they are light or dark with it.

Values run from 0 to 1 unless said otherwise.  Each picture has a name for screen readers; its figures stand in a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH = 640.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 12.0, 12.0, 26.0
_LABEL, _ROW = 150.0, 24.0


@dataclass(frozen=True)
class Mark:
    """A value with its interval, and what it is of."""

    label: str
    value: float
    low: float
    high: float


def curve(marks: Sequence[Mark], title: str, height: float = 200.0) -> Markup:
    """Values from left to right with a band of their intervals; the scale reaches below 0 where they do."""
    if not marks:
        return Markup("")
    floor = min(0.0, *(mark.low for mark in marks))
    floor = max(-1.0, floor)

    def x(index: int) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * (index + 0.5) / len(marks)

    def y(value: float) -> float:
        inside = min(1.0, max(floor, value))
        return _TOP + (height - _TOP - _BOTTOM) * (1.0 - inside) / (1.0 - floor)

    parts = [_grid(y(tick), tick) for tick in (-1.0, -0.5, 0.0, 0.5, 1.0) if tick >= floor]
    upper = [f"{x(i):.1f},{y(mark.high):.1f}" for i, mark in enumerate(marks)]
    lower = [f"{x(i):.1f},{y(mark.low):.1f}" for i, mark in enumerate(marks)]
    parts.append(f'<polygon class="band" points="{" ".join(upper + lower[::-1])}"/>')
    line = " ".join(f"{x(i):.1f},{y(mark.value):.1f}" for i, mark in enumerate(marks))
    parts.append(f'<polyline class="line" points="{line}"/>')
    for i, mark in enumerate(marks):
        parts.append(f'<circle class="dot" cx="{x(i):.1f}" cy="{y(mark.value):.1f}" r="4">{_hint(mark)}</circle>')
        if len(marks) <= 12:
            parts.append(_text(x(i), height - 6, mark.label, "middle"))
    return _svg(parts, height, title)


def whiskers(marks: Sequence[Mark], middle: float, title: str) -> Markup:
    """A row for each, a dot and its interval on a scale from 0 to 1, and a line at ``middle``."""
    if not marks:
        return Markup("")
    height = _TOP + _ROW * len(marks) + _BOTTOM

    def x(value: float) -> float:
        return _LABEL + (WIDTH - _LABEL - _RIGHT) * min(1.0, max(0.0, value))

    end = height - _BOTTOM
    parts = [f'<line class="middle" x1="{x(middle):.1f}" x2="{x(middle):.1f}" y1="{_TOP}" y2="{end}"/>']
    parts += [_text(x(tick), height - 8, f"{tick:g}", "middle") for tick in (0.0, 0.25, 0.5, 0.75, 1.0)]
    for row, mark in enumerate(marks):
        at = _TOP + _ROW * (row + 0.5)
        parts.append(_text(_LABEL - 10, at + 4, mark.label[:18], "end"))
        parts.append(f'<line class="whisker" x1="{x(mark.low):.1f}" x2="{x(mark.high):.1f}" y1="{at}" y2="{at}"/>')
        parts.append(f'<circle class="dot" cx="{x(mark.value):.1f}" cy="{at}" r="5">{_hint(mark)}</circle>')
    return _svg(parts, height, title)


def bars(counts: Sequence[tuple[str, int]], title: str, height: float = 140.0) -> Markup:
    """Counts from left to right."""
    most = max([count for _, count in counts], default=0)
    if not most:
        return Markup("")
    step = (WIDTH - _LEFT - _RIGHT) / len(counts)
    room = height - _TOP - _BOTTOM
    parts = [_grid(_TOP, most), _grid(_TOP + room, 0)]
    for index, (label, count) in enumerate(counts):
        tall = room * count / most
        left = _LEFT + step * index
        parts.append(
            f'<rect class="bar-of" x="{left + step * 0.15:.1f}" y="{_TOP + room - tall:.1f}" width="{step * 0.7:.1f}" '
            f'height="{tall:.1f}"><title>{escape(label)}: {count}</title></rect>'
        )
        if index % 2 == len(counts) % 2 or len(counts) < 8:
            parts.append(_text(left + step / 2, height - 8, label, "middle"))
    return _svg(parts, height, title)


def _grid(y: float, tick: float) -> str:
    line = f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
    return line + _text(_LEFT - 8, y + 4, f"{tick:g}", "end")


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _hint(mark: Mark) -> str:
    return f"<title>{escape(mark.label)}: {mark.value:.2f} ({mark.low:.2f} to {mark.high:.2f})</title>"


def _svg(parts: Sequence[str], height: float, title: str) -> Markup:
    return Markup(
        f'<svg class="picture" viewBox="0 0 {WIDTH:g} {height:g}" role="img" aria-label="{escape(title)}">'
        + "".join(parts)
        + "</svg>"
    )
