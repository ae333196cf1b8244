"""What the evaluation found of a reward model besides its accuracy: how sure it is, by length, and where it errs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from assent.reports.reading import mapping, number


@dataclass(frozen=True, slots=True)
class GroupRow:
    """Accuracy on the ``n`` comparisons of one group, with its interval of 95%."""

    name: str
    accuracy: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class RewardQuality:
    """Figures of a reward model on held-out comparisons.  ``None`` where the evaluation does not say."""

    calibration_error: float | None = None
    calibration_error_fitted: float | None = None
    """The same with the scores divided by a temperature fitted on other prompts."""
    temperature: float | None = None
    longer_preferred: float | None = None
    """Share in which the model prefers the longer answer."""
    longer_chosen: float | None = None
    """Share in which the annotators did."""
    uncertainty: float | None = None
    """Of an ensemble: the mean standard deviation of a score gap."""
    groups: Mapping[str, tuple[GroupRow, ...]] | None = None
    """By criterion, annotator, difference in length or uncertainty."""


def read_quality(row: Mapping[str, Any]) -> RewardQuality | None:
    """From the ``reward_model`` section of ``evaluation.json``; ``None`` where it has none of these."""
    temperature, length = mapping(row.get("temperature")), mapping(row.get("length"))
    groups = {
        str(kind): tuple(
            GroupRow(str(r["name"]), float(r["accuracy"]), float(r["low"]), float(r["high"]), int(r["n"])) for r in rows
        )
        for kind, rows in mapping(row.get("by")).items()
    }
    if not (temperature or length or groups):
        return None
    return RewardQuality(
        calibration_error=number(temperature.get("error", row.get("calibration_error"))),
        calibration_error_fitted=number(temperature.get("error_fitted")),
        temperature=number(temperature.get("temperature")),
        longer_preferred=number(length.get("longer_preferred")),
        longer_chosen=number(length.get("longer_chosen")),
        uncertainty=number(row.get("uncertainty")),
        groups=groups or None,
    )
