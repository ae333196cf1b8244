"""What a stage is: a pure function of settings and input artifacts into one folder.

A stage's settings say which of their fields name inputs: ``model: str = Input("model")``.  In a recipe an input is a
path, a hub name, or ``$stage`` / ``$stage/file`` for what another stage of the recipe made.  The runner resolves it to
a path before :attr:`Stage.run` sees it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from assent.config import Input, Settings

__all__ = ["Context", "Input", "Metrics", "NoProgress", "Progress", "Stage", "Waiting"]

Metrics = Mapping[str, float | int | str]


class Progress(Protocol):
    """A progress display with time left; every stage that takes over two seconds drives one."""

    def start(self, label: str, total: int | None, done: int = 0) -> None:
        """``done`` of the ``total`` were done before, in time that is not counted."""
        ...

    def advance(self, amount: int = 1, **figures: float) -> None: ...
    def stop(self) -> None: ...


class NoProgress:
    """A :class:`Progress` that shows nothing."""

    def start(self, label: str, total: int | None, done: int = 0) -> None: ...
    def advance(self, amount: int = 1, **figures: float) -> None: ...
    def stop(self) -> None: ...


@dataclass(frozen=True)
class Context:
    """What the runner hands to a stage besides its settings."""

    out: Path
    """The folder to write into.  It is unfinished until the runner adds the manifest, and survives a kill: a stage
    that finds its own checkpoint there goes on from it."""
    seed: int
    progress: Progress
    say: Callable[[str], None]
    """Print one line for the user."""
    run_dir: Path
    """The run's folder: ``runs/NAME``."""


class Waiting(Exception):
    """A human stage cannot finish yet.  The message says how many answers are missing and where to give them."""


@dataclass(frozen=True)
class Stage:
    """One kind of stage.  ``version`` is raised when the same settings and inputs would give another result."""

    kind: str
    summary: str
    Settings: type[Settings]
    run: Callable[[Any, Context], Metrics]
    """Writes its artifacts into ``context.out`` and returns the figures that go into the manifest."""
    version: int = 1
    verb: bool = True
    """Whether the command line offers this stage alone: ``assent KIND --data ... --out ...``."""
    trains: bool = False
    """Whether several processes can run it together, each its share; any other stage the first runs alone."""
