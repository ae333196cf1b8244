"""Callbacks that pass the figures of each step on to experiment trackers.  ``metrics.jsonl`` is written without them.

Each tracker is one function that begins a run there and returns how to log a row and how to end; its library is
imported only then.  Where a run goes (address, key, offline mode) is the library's own business: its environment
variables and files hold here as elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args

from assent.training.callbacks import Callback, Evaluation, StepEvent, clock_of, row_of
from assent.types import short_id

TrackerName = Literal["tensorboard", "wandb", "mlflow", "trackio"]
TRACKERS: tuple[TrackerName, ...] = get_args(TrackerName)
EVENTS = "tensorboard"
"""TensorBoard's files, in the stage's folder."""

Figures = Mapping[str, float]


@dataclass(frozen=True)
class Begun:
    """A run in one tracker."""

    log: Callable[[Figures, int], Any]
    finish: Callable[[], Any]
    id: str = ""
    """What the tracker needs to go on with this run after a resume; empty where the name is enough."""


@dataclass(frozen=True)
class Beginning:
    """What a tracker is told of the run."""

    project: str
    name: str
    settings: Mapping[str, Any]
    folder: Path
    step: int
    """Steps done before."""
    id: str = ""
    """:attr:`Begun.id` of the part before."""


def missing(names: tuple[TrackerName, ...]) -> str:
    """The first of the trackers whose library is not installed; empty where all are."""
    return next((name for name in names if find_spec(name) is None), "")


def _tensorboard(run: Beginning) -> Begun:
    writer = import_module("torch.utils.tensorboard").SummaryWriter(
        str(run.folder / EVENTS), purge_step=run.step + 1 if run.step else None
    )

    def log(figures: Figures, step: int) -> None:
        for name, value in figures.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    return Begun(log, writer.close)


def _wandb(run: Beginning) -> Begun:
    begun = import_module("wandb").init(
        project=run.project, name=run.name, id=run.id or short_id(run.name, str(run.folder)),
        resume="allow", config=dict(run.settings),
    )  # fmt: skip
    return Begun(lambda figures, step: begun.log(dict(figures), step=step), begun.finish, begun.id)


def _mlflow(run: Beginning) -> Begun:
    mlflow = import_module("mlflow")
    mlflow.set_experiment(run.project)
    if run.id:
        begun = mlflow.start_run(run_id=run.id)
    else:
        begun = mlflow.start_run(run_name=run.name)
        mlflow.log_params({name: str(value) for name, value in run.settings.items()})
    return Begun(lambda figures, step: mlflow.log_metrics(dict(figures), step=step), mlflow.end_run, begun.info.run_id)


def _trackio(run: Beginning) -> Begun:
    begun = import_module("trackio").init(project=run.project, name=run.name, config=dict(run.settings), resume="allow")
    return Begun(lambda figures, step: begun.log(dict(figures), step=step), begun.finish)


_BEGIN: Mapping[TrackerName, Callable[[Beginning], Begun]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "mlflow": _mlflow,
    "trackio": _trackio,
}


class Trackers(Callback):
    """Passes each row of ``metrics.jsonl``, with seconds and tokens per second, on to the trackers of the settings.

    A tracker that fails is told of once and left out: training goes on.
    """

    def __init__(self, folder: Path, settings: Any, say: Callable[[str], None], evaluation: Evaluation | None) -> None:
        """``settings``: those of the stage, a :class:`~assent.training.optim.LoopSettings` among them."""
        self.folder, self.settings, self.say, self.evaluation = folder, settings, say, evaluation
        self.runs: dict[TrackerName, Begun] = {}
        self.ids: dict[str, str] = {}

    def start(self, step: int) -> None:
        settings = self.settings.model_dump(mode="json")
        for name in self.settings.report_to:
            given = Beginning(
                self.settings.tracking_project, self.settings.run_name or run_name(self.folder), settings, self.folder,
                step, self.ids.get(name, ""),
            )  # fmt: skip
            self._try(name, lambda name=name, given=given: self._begin(name, given))

    def after_step(self, event: StepEvent) -> bool:
        row = {k: v for k, v in (row_of(event, self.evaluation) | clock_of(event)).items() if k != "step"}
        for name, begun in list(self.runs.items()):
            self._try(name, lambda begun=begun: begun.log(row, event.step))
        return False

    def end(self) -> None:
        for name, begun in list(self.runs.items()):
            self._try(name, begun.finish)

    def state(self) -> dict[str, Any]:
        return {"ids": self.ids}

    def restore(self, state: dict[str, Any], folder: Path) -> None:
        self.ids = dict(state["ids"])

    def _begin(self, name: TrackerName, given: Beginning) -> None:
        self.runs[name] = _BEGIN[name](given)
        self.ids = {**self.ids, name: self.runs[name].id}

    def _try(self, name: TrackerName, work: Callable[[], Any]) -> None:
        try:
            work()
        except Exception as error:  # a server that is away must not cost hours of training
            self.runs.pop(name, None)
            self.say(f"{name} gets no more figures of this run: {type(error).__name__}: {error}")


def run_name(folder: Path) -> str:
    """What a run is called there: ``quickstart/ppo-1a2b3c4d`` for a stage of a recipe, else the folder's name."""
    stage = folder.name.removesuffix(".partial")
    return f"{folder.parent.parent.name}/{stage}" if folder.parent.name == "stages" else stage
