"""Every target, by name."""

from __future__ import annotations

from benchmarks.fuzz import data, feedback, folders, models, recipes
from benchmarks.fuzz.target import Target


def targets() -> dict[str, Target]:
    """What :mod:`benchmarks.fuzz` can be aimed at."""
    every = [*data.TARGETS, *feedback.TARGETS, *recipes.TARGETS, *folders.TARGETS, *models.TARGETS]
    return {target.name: target for target in every}
