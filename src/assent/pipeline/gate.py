"""The release gate: limits on the figures of an evaluation, area by area, and what became of each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, get_args

from pydantic import Field, model_validator

from assent.config import Settings

Area = Literal["task", "safety", "bias", "regression", "format"]
AREAS: tuple[Area, ...] = get_args(Area)
CANDIDATE, RELEASED = "model", "against"
"""The two policies of the evaluation."""


class Limits(Settings):
    """Bounds on one figure; a figure that was not measured is out of bounds."""

    at_least: float | None = None
    """Lowest value that passes."""
    at_most: float | None = Field(default=None)
    """Highest value that passes."""

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.at_least is None and self.at_most is None:
            raise ValueError("give at_least, at_most or both")
        return self


@dataclass(frozen=True, slots=True)
class Check:
    """One figure against its limits."""

    area: Area
    figure: str
    value: float | None
    """``None``: not measured, which does not pass."""
    at_least: float | None
    at_most: float | None
    passed: bool

    def line(self) -> str:
        """For people."""
        low, high = self.at_least, self.at_most
        bounds = " and ".join(
            f"{word} {bound:g}" for word, bound in (("at least", low), ("at most", high)) if bound is not None
        )
        value = "not measured" if self.value is None else f"{self.value:.4g}"
        return f"{'pass' if self.passed else 'FAIL'}  {self.area}: {self.figure} {value}, wanted {bounds}"


def checked(figures: Mapping[str, float], checks: Mapping[Area, Mapping[str, Limits]]) -> tuple[Check, ...]:
    """Every check of the suite, whatever becomes of the others."""
    found: list[Check] = []
    for area, wanted in checks.items():
        for name, limits in wanted.items():
            value, low, high = figures.get(name), limits.at_least, limits.at_most
            passed = value is not None and (low is None or value >= low) and (high is None or value <= high)
            found.append(Check(area, name, value, low, high, passed))
    return tuple(found)


def figures_of(evaluation: Mapping[str, Any], answers: Mapping[str, Sequence[str]], form: str) -> dict[str, float]:
    """What the limits can be set on, from ``evaluation.json`` of the candidate against the released model.

    The candidate's own figures; each as ``NAME_change`` (its value minus the released model's) and ``NAME_ratio``
    (divided by it, where that is above 0); the win rate against the released model; ``bias_SCORE``, the largest gap
    between groups by that score, and ``bias_clear``, how many gaps are clear; ``format_share``, the share of the
    ``answers`` (policy -> texts) that match the regular expression ``form`` from beginning to end.
    """
    policies = evaluation["policies"]
    mine, theirs = ({**policies[name], **_bias(evaluation, name)} for name in (CANDIDATE, RELEASED))
    for own, name in ((mine, CANDIDATE), (theirs, RELEASED)):
        if texts := answers.get(name):
            own["format_share"] = sum(re.fullmatch(form, text) is not None for text in texts) / len(texts)
    found: dict[str, float] = {}
    for name in mine.keys() & theirs.keys():
        found[f"{name}_change"] = mine[name] - theirs[name]
        if theirs[name] > 0:
            found[f"{name}_ratio"] = mine[name] / theirs[name]
    found |= mine
    for row in evaluation["win_rates"]:
        if (row["policy"], row["against"]) == (CANDIDATE, RELEASED):
            found |= {f"win_rate{end}": row[key] for end, key in (("", "rate"), ("_low", "low"), ("_high", "high"))}
            found |= {key: row[key] for key in row if key.startswith("length_controlled") and row[key] is not None}
    return found


def _bias(evaluation: Mapping[str, Any], policy: str) -> dict[str, float]:
    """The gaps between groups; empty where none were measured."""
    rows = [row for row in evaluation.get("group_bias", ()) if row["policy"] == policy]
    found: dict[str, float] = {"bias_clear": float(sum(bool(row["clear"]) for row in rows))} if rows else {}
    for row in rows:
        name = f"bias_{row['score']}"
        found[name] = max(found.get(name, 0.0), abs(row["gap"]["value"]))
    return found


def record(checks: Sequence[Check], **about: Any) -> dict[str, Any]:
    """``release.json``."""
    return {**about, "passed": passed(checks), "checks": [asdict(check) for check in checks]}


def passed(checks: Sequence[Check]) -> bool:
    """Whether all of them did."""
    return all(check.passed for check in checks)
