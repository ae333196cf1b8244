"""Progress for people: a bar with figures and time left on a terminal, a plain line every ten seconds elsewhere."""

from __future__ import annotations

import sys
import time
from typing import IO, Any

INTERVAL = 10.0
"""Seconds between plain lines."""


class PlainDisplay:
    """Plain lines on a stream, at most one every :data:`INTERVAL` seconds for progress."""

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream = stream
        self._label, self._total, self._count, self._figures = "", None, 0, {}
        self._started = self._last = 0.0

    def say(self, text: str) -> None:
        print(text, file=self._stream or sys.stdout, flush=True)

    def start(self, label: str, total: int | None) -> None:
        self._label, self._total, self._count, self._figures = label, total, 0, {}
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
        if self._total and self._count:
            left = seconds / self._count * max(self._total - self._count, 0)
            parts.append(f"{duration(left)} left")
        parts += [f"{name} {value:.4g}" for name, value in self._figures.items()]
        return ", ".join(parts)


class RichDisplay:
    """A bar with counts, figures and time left."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(highlight=False)
        self._bar: Any = None
        self._task: Any = None
        self._figures: dict[str, float] = {}

    def say(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)

    def start(self, label: str, total: int | None) -> None:
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
        self._figures = {}
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=self._console,
            transient=True,
            refresh_per_second=5,
        )
        self._bar.start()
        self._task = self._bar.add_task(label, total=total, figures="")

    def advance(self, amount: int = 1, **figures: float) -> None:
        if self._bar is None:
            return
        self._figures.update(figures)
        text = "  ".join(f"{name} {value:.4g}" for name, value in self._figures.items())
        self._bar.update(self._task, advance=amount, figures=text)

    def stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def make_display() -> PlainDisplay | RichDisplay:
    """The bar on a terminal, plain lines in a pipe or a log."""
    return RichDisplay() if sys.stdout.isatty() else PlainDisplay()


def duration(seconds: float) -> str:
    """Seconds as people read them: ``42 s``, ``3 min 05 s``, ``2 h 10 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
