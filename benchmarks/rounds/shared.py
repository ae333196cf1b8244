"""What the parts share: the recipe, its first stages, stages that are run once, intervals over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student

import assent
from assent.pipeline.plan import plan
from assent.pipeline.recipe import Recipe, load_recipe
from assent.pipeline.run import run_recipe
from assent.runs.manifest import has_manifest

RUN = Path("runs/rounds")
RECIPE = Path(__file__).parents[2] / "recipes/rounds.yaml"
SEEDS = tuple(range(10))
START = ("world", "base", "sft")


def recipe(seed: int, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of one seed; what its seeds share lies once in the same run's folder."""
    return load_recipe(
        RECIPE, [f"out={RUN}", f"seed={seed}", f"round.collect.store={RUN}/feedback-{seed}.db", *overrides]
    )


def start() -> None:
    """The world, the pretrained model and the SFT model that every seed starts from; made once."""
    stages = {s.name: {"uses": s.kind, **s.values} for s in recipe(0).stages if s.name in START}
    assent.run({"name": RUN.name, "stages": stages}, overrides=[f"out={RUN}"], say=lambda text: None)


def folders(made: Recipe) -> dict[str, Path]:
    """Stage -> folder, run where it has not been."""
    if any(item.action != "done" for item in plan(made)):
        run_recipe(made, say=lambda text: None)
    return {item.name: item.folder for item in plan(made)}


def stage(kind: str, settings: Mapping[str, Any], out: Path, seed: int) -> Path:
    """A stage that is run once."""
    if not has_manifest(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        assent.run_stage(kind, dict(settings), out, seed=seed, say=lambda text: None)
    return out


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean over seeds, and its interval of 95%."""
    found = np.array(values)
    if len(found) < 2:
        return float(found.mean()), float("-inf"), float("inf")
    half = float(student.ppf(0.975, len(found) - 1) * found.std(ddof=1) / np.sqrt(len(found)))
    return float(found.mean()), float(found.mean()) - half, float(found.mean()) + half


def shown(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.3f}" for value in values)
