"""A combination of rewards as a folder, which stands wherever a reward model's does."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assent.errors import ModelError
from assent.rewards.combine import Combination, Constrained, Gated, Named, Product, Weighted
from assent.runs.folder import atomic_write_json

FILE = "combination.json"
_KEYS = ("combination", "weights", "helpful", "safety", "safety_threshold", "risky_key", "ensemble",
         "variance_coefficient")  # fmt: skip


def combination_of(values: Mapping[str, Any]) -> Combination:
    """The rule that settings describe; their names are those of the stage ``combined-reward``."""
    match values["combination"]:
        case "product":
            return Product()
        case "gated":
            return Gated(values["helpful"], values["safety"], values["safety_threshold"], values["risky_key"])
        case "constrained":
            return Constrained(values["safety"], values["weights"])
        case _:
            return Weighted(values["weights"])


def is_combined(source: str | Path) -> bool:
    """Whether a path is the folder of a combination."""
    return (Path(source) / FILE).is_file()


def write_combined(folder: Path, values: Mapping[str, Any], named: Mapping[str, Named], within: Path) -> None:
    """Write the settings and each source's scale.

    Sources that lie ``within`` (the run's folder) are named relative to this one, so that the run can be moved.
    """
    rewards = {name: _portable(place, folder, within) for name, place in values["rewards"].items()}
    scales = {name: [each.mean, each.deviation] for name, each in named.items()}
    kept = {key: values[key] for key in _KEYS}
    atomic_write_json(folder / FILE, {**kept, "rewards": rewards, "scales": scales})


def read_combined(source: str | Path) -> tuple[dict[str, Any], dict[str, tuple[float, float]]]:
    """The settings, with the places of the rewards, and the mean and deviation of each reward."""
    path = Path(source) / FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        rewards = {str(name): _located(place, Path(source)) for name, place in values["rewards"].items()}
        scales = {str(name): (float(mean), float(deviation)) for name, (mean, deviation) in values["scales"].items()}
        return {**{key: values[key] for key in _KEYS}, "rewards": rewards}, scales
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path}: is no combination of rewards that can be read ({error!r}); make it again") from None


def _portable(place: str, folder: Path, within: Path) -> str:
    path = Path(place).resolve()
    if not path.exists():
        return place  # a name on the hub
    return os.path.relpath(path, folder.resolve()) if path.is_relative_to(within.resolve()) else str(path)


def _located(place: str, folder: Path) -> str:
    return os.path.normpath(folder.resolve() / place) if place.startswith("..") else place
