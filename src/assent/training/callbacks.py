"""What happens between steps: logs, progress, evaluation, early stopping, keeping the best weights."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from assent.errors import RunError
from assent.runs.folder import sync_folder
from assent.training import distributed
from assent.training.checkpoint import link_or_copy
from assent.training.roles import Roles
from assent.training.sharding import full_weights, load_full_weights
from assent.training.timing import Phase, as_row

_BEST = "best.pt"


TIMING = "timing.jsonl"
"""Clock readings of a stage's steps, in its folder."""
_RECENT = 10
"""Steps that the throughput on display is over."""


@dataclass(frozen=True)
class StepEvent:
    """What the loop tells after each step."""

    step: int
    """Steps done, from 1."""
    total: int
    figures: Mapping[str, float]
    seconds: float
    tokens: int
    """Real tokens in the step's batches."""
    roles: Roles
    phases: Mapping[str, Phase] = field(default_factory=dict)


class Callback:
    """Called after each step.  What it carries from step to step is checkpointed with the weights."""

    everywhere = False
    """Of several processes that train together, whether each calls it; else the first alone does."""

    def start(self, step: int) -> None:
        """Called once before the first step, with the steps already done (0, or where a checkpoint left off)."""

    def after_step(self, event: StepEvent) -> bool:
        """Return true to stop the run."""
        raise NotImplementedError

    def end(self) -> None:
        """Called once when the run ends, also where it is stopped or fails."""

    def state(self) -> dict[str, Any]:
        """What it carries, as plain data or tensors."""
        return {}

    def files(self) -> Mapping[str, Path]:
        """Files that belong to the state, by their names in the checkpoint.  They are linked there, so that one is
        changed only by writing another and renaming it."""
        return {}

    def logs(self) -> Sequence[Path]:
        """Files that a checkpoint relies on without holding them: they are on the disk before it is."""
        return ()

    def restore(self, state: dict[str, Any], folder: Path) -> None:
        """Take up a state, whose files lie in ``folder``."""


class Absent(Callback):
    """Stands where another process has a callback."""

    def after_step(self, event: StepEvent) -> bool:
        return False


class Evaluation(Callback):
    """Evaluates every ``every`` steps, keeps the best weights and stops early.

    ``evaluate`` returns figures without side effects; ``metric`` names the one that decides.  The best weights are
    written to ``checkpoints/best.pt``, are part of every checkpoint, and are loaded back by :meth:`load_best`.
    """

    everywhere = True

    def __init__(
        self,
        evaluate: Callable[[], Mapping[str, float]],
        folder: Path,
        *,
        every: int,
        metric: str,
        greater_is_better: bool,
        patience: int | None,
        keep_best: bool,
    ) -> None:
        """``patience``: evaluations without improvement before stopping; ``None`` = never stop early."""
        self.evaluate, self.every, self.metric = evaluate, every, metric
        self.best_file = folder / "checkpoints" / _BEST
        self.sign = 1.0 if greater_is_better else -1.0
        self.patience, self.keep_best = patience, keep_best
        self.best: float | None = None
        self.best_step = 0
        self.waited = 0
        self.best_figures: dict[str, float] = {}
        self.last: dict[str, float] = {}
        self.last_step = 0

    def after_step(self, event: StepEvent) -> bool:
        if event.step % self.every and event.step != event.total:
            return False
        self.last, self.last_step = dict(self.evaluate()), event.step
        value = self.sign * self.last[self.metric]
        if self.best is None or value > self.best:
            self.best, self.best_step, self.waited = value, event.step, 0
            self.best_figures = self.last
            if self.keep_best:
                weights = {name: full_weights(module) for name, module in event.roles.trained.items()}
                if distributed.is_main():
                    _write_weights(self.best_file, weights)
            return False
        self.waited += 1
        return self.patience is not None and self.waited >= self.patience

    def load_best(self, roles: Roles) -> None:
        """Put the best weights back into the models, if any were kept."""
        if self.keep_best and self.best is not None:
            distributed.barrier()  # the first process may still be writing them
            for name, weights in torch.load(self.best_file, weights_only=True).items():
                load_full_weights(roles.trained[name], weights)
            distributed.barrier()  # it may be deleted from here on

    def state(self) -> dict[str, Any]:
        return {
            "best": self.best,
            "best_step": self.best_step,
            "best_figures": self.best_figures,
            "waited": self.waited,
            "last": self.last,
            "last_step": self.last_step,
        }

    def files(self) -> Mapping[str, Path]:
        return {_BEST: self.best_file} if self.keep_best and self.best is not None else {}

    def restore(self, state: dict[str, Any], folder: Path) -> None:
        self.best, self.best_step, self.waited = state["best"], state["best_step"], state["waited"]
        self.best_figures = state["best_figures"]
        self.last, self.last_step = state["last"], state["last_step"]
        files = self.files() if distributed.is_main() else {}
        for name, file in files.items():  # what is there may be the best of a step that is done again
            aside = file.with_suffix(".tmp")
            aside.unlink(missing_ok=True)
            link_or_copy(folder / name, aside)
            os.replace(aside, file)
            aside.unlink(missing_ok=True)  # a rename between two names of one file leaves both


class MetricsLog(Callback):
    """``metrics.jsonl``: one row of figures a step, the same bits on every machine of a kind.

    Clock readings go to ``timing.jsonl``, outside that promise.  On resume, rows past the checkpoint are cut off.
    """

    def __init__(self, folder: Path, evaluation: Evaluation | None = None) -> None:
        """``evaluation``: its figures join the row of the step they belong to; it must come before the log."""
        self.metrics, self.timing = folder / "metrics.jsonl", folder / TIMING
        self.evaluation = evaluation

    def start(self, step: int) -> None:
        kept = len(_lines_to(self.metrics, step))
        if kept != step:
            raise RunError(
                f"{self.metrics}: holds {kept} of the first {step} steps, so it was edited or damaged; put it back, or "
                f"delete {self.metrics.parent} to begin again"
            )
        for path in (self.metrics, self.timing):
            if path.exists():
                os.truncate(path, sum(len(line) for line in _lines_to(path, step)))

    def after_step(self, event: StepEvent) -> bool:
        append_row(self.metrics, row_of(event, self.evaluation))
        clock = {"step": event.step, "seconds": round(event.seconds, 4), "tokens": event.tokens}
        append_row(self.timing, clock | ({"phases": as_row(event.phases, event.roles)} if event.phases else {}))
        return False

    def logs(self) -> Sequence[Path]:
        return (self.metrics,)


def row_of(event: StepEvent, evaluation: Evaluation | None) -> dict[str, float]:
    """The figures of a step, with those of the evaluation where it was at this step."""
    found = evaluation.last if evaluation and evaluation.last_step == event.step else {}
    return {"step": event.step, **event.figures, **found}


def clock_of(event: StepEvent) -> dict[str, float]:
    """Seconds of a step, and tokens per second."""
    rate = {"tokens_per_second": event.tokens / event.seconds} if event.seconds > 0 else {}
    return {"seconds": event.seconds, **rate}


def _lines_to(path: Path, step: int) -> list[bytes]:
    """The whole lines of the steps up to ``step``."""
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    kept: list[bytes] = []
    for line in lines:
        try:
            if not line.endswith(b"\n") or json.loads(line)["step"] > step:
                break
        except (ValueError, KeyError, TypeError):
            break
        kept.append(line)
    return kept


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The whole rows of a metrics file; a last line that a kill cut short is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1] if line]


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


class ShowProgress(Callback):
    """Drives a progress display with the figures named, and the tokens per second of the last steps."""

    def __init__(self, progress: Any, label: str, shown: Mapping[str, str]) -> None:
        """``shown``: figure -> what it is called on the display."""
        self.progress, self.label, self.shown = progress, label, shown
        self._done = 0
        self._begun = False
        self._recent: deque[tuple[int, float]] = deque(maxlen=_RECENT)

    def start(self, step: int) -> None:
        self._done = step

    def after_step(self, event: StepEvent) -> bool:
        if not self._begun:
            self.progress.start(self.label, event.total, self._done)
            self._begun = True
        self._recent.append((event.tokens, event.seconds))
        figures = {word: event.figures[name] for name, word in self.shown.items() if name in event.figures}
        seconds = sum(seconds for _, seconds in self._recent)
        if seconds > 0:
            figures["tokens/s"] = sum(tokens for tokens, _ in self._recent) / seconds
        self.progress.advance(1, **figures)
        return False

    def end(self) -> None:
        self.progress.stop()


def _write_weights(path: Path, weights: Mapping[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    aside = path.with_suffix(".tmp")
    aside.unlink(missing_ok=True)  # a kill may have left it as another name of a checkpoint's file
    with open(aside, "wb") as file:
        torch.save(weights, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)
    sync_folder(path.parent)
