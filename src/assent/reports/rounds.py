"""What each round asked, and how its reward model did on old and new answers, from the stages of kind drift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from assent.reports.reading import number
from assent.reports.records import StageRun

_ACCURACY, _CHANGE = "accuracy/", "change/"


@dataclass(frozen=True, slots=True)
class Round:
    """One round.  Accuracies are of its reward model on held-out answers; ``None`` where the run does not say."""

    name: str
    answers: int | None
    accuracy: float
    """On answers about the newest policy's samples, with its interval of 95%."""
    low: float | None
    high: float | None
    before: float | None
    """Of the reward model of the round before, on the same."""
    worst: tuple[str, float, float, float] | None
    """The earlier round on whose answers accuracy changed for the worse, or least for the better: its name, the change
    and its interval."""
    points_per_100_answers: float | None
    answers_pay: bool
    faults: int


def read_rounds(stages: Sequence[StageRun]) -> tuple[Round, ...]:
    """A row for each finished stage of kind ``drift``, in their order."""
    found: list[Round] = []
    for stage in stages:
        newest = [key for key in stage.metrics if key.startswith(_ACCURACY)]
        if stage.kind != "drift" or not newest:
            continue
        name = stage.name.partition(".")[0]
        now = newest[-1].removeprefix(_ACCURACY)
        figures = {key: value for key, each in stage.metrics.items() if (value := number(each)) is not None}
        answers = next((s.metrics.get("answered") for s in stages if s.name == f"{name}.collect"), None)
        found.append(
            Round(
                name=name,
                answers=None if number(answers) is None else int(number(answers) or 0),
                accuracy=figures[newest[-1]],
                low=figures.get(f"accuracy_low/{now}"),
                high=figures.get(f"accuracy_high/{now}"),
                before=figures.get(f"before/{now}"),
                worst=_worst(figures, now),
                points_per_100_answers=figures.get("points_per_100_answers"),
                answers_pay=bool(figures.get("answers_pay", 1)),
                faults=int(figures.get("faults", 0)),
            )
        )
    return tuple(found)


def _worst(figures: dict[str, float], newest: str) -> tuple[str, float, float, float] | None:
    changes = {key.removeprefix(_CHANGE): value for key, value in figures.items() if key.startswith(_CHANGE)}
    changes.pop(newest, None)
    if not changes:
        return None
    name = min(changes, key=lambda each: changes[each])
    return name, changes[name], figures[f"change_low/{name}"], figures[f"change_high/{name}"]
