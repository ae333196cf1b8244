"""Progress for people: a live view on a terminal, a plain line every ten seconds elsewhere."""

from __future__ import annotations

import itertools
import math
import sys
import time
from collections.abc import Sequence
from typing import IO, Any

INTERVAL = 10.0
"""Seconds between plain lines."""
BLOCKS = "▁▂▃▄▅▆▇█"
CURVE = 40
"""Characters of a figure's curve."""


class PlainDisplay:
    """Plain lines on a stream, at most one every :data:`INTERVAL` seconds for progress."""

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream = stream
        self._label, self._total, self._count, self._figures = "", None, 0, {}
        self._before = 0
        self._started = self._last = 0.0

    def say(self, text: str) -> None:
        print(text, file=self._stream or sys.stdout, flush=True)

    def start(self, label: str, total: int | None, done: int = 0) -> None:
        self._label, self._total, self._count, self._figures = label, total, done, {}
        self._before = done
        self._started = self._last = time.monotonic()

    def advance(self, amount: int = 1, **figures: float) -> None:
        self._count += amount
        self._figures.update(figures)
        now = time.monotonic()
        if now - self._last >= INTERVAL:
            self._last = now
            self.say("  " + self._line(now - self._started))

    def stop(self) -> None:
        self._label = ""

    def _line(self, seconds: float) -> str:
        parts = [f"{self._label}: {self._count}" + (f"/{self._total}" if self._total else "")]
        if self._total and self._count > self._before:
            left = seconds / (self._count - self._before) * max(self._total - self._count, 0)
            parts.append(f"{duration(left)} left")
        parts += [f"{name} {number(value)}" for name, value in self._figures.items()]
        return ", ".join(parts)


class RichDisplay:
    """A bar with counts and time left; under it each figure with its curve so far."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(highlight=False)
        self._live: Any = None
        self._bar: Any = None
        self._task: Any = None
        self._curves: dict[str, list[float]] = {}

    def say(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)

    def start(self, label: str, total: int | None, done: int = 0) -> None:
        from rich.live import Live
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self.stop()
        self._curves = {}
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._task = self._bar.add_task(label, total=total, completed=done)
        self._live = Live(self._view(), console=self._console, transient=True, refresh_per_second=5)
        self._live.start()

    def advance(self, amount: int = 1, **figures: float) -> None:
        if self._live is None:
            return
        for name, value in figures.items():
            self._curves.setdefault(name, []).append(value if math.isfinite(value) else 0.0)
        self._bar.update(self._task, advance=amount)
        self._live.update(self._view())

    def stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = self._bar = None

    def _view(self) -> Any:
        from rich.console import Group
        from rich.table import Table

        table = Table.grid(padding=(0, 2))
        table.add_column(min_width=10)
        table.add_column(justify="right", min_width=9)
        table.add_column(style="cyan")
        for name, values in self._curves.items():
            table.add_row(f"  {name}", number(values[-1]), curve(values))
        return Group(self._bar, table)


def curve(values: Sequence[float], width: int = CURVE) -> str:
    """The values as blocks, from the least to the greatest; where they are many, the means of equal stretches."""
    count = min(width, len(values))
    edges = [round(i * len(values) / count) for i in range(count + 1)] if count else []
    means = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    low, high = min(means, default=0.0), max(means, default=0.0)
    if not high > low:
        return BLOCKS[0] * count
    return "".join(BLOCKS[min(7, int(8 * (value - low) / (high - low)))] for value in means)


def make_display() -> PlainDisplay | RichDisplay:
    """The live view on a terminal, plain lines in a pipe or a log."""
    return RichDisplay() if sys.stdout.isatty() else PlainDisplay()


def number(value: float) -> str:
    """Four digits, and all of a large number's before the point: ``0.02``, ``12,346``."""
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e12 else f"{value:.4g}"


def duration(seconds: float) -> str:
    """Seconds as people read them: ``42 s``, ``3 min 05 s``, ``2 h 10 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
