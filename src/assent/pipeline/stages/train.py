"""Stage ``train``: an algorithm of one's own, from a Python file that defines ``ALGORITHM``."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from assent.algorithms.base import Algorithm
from assent.config import Settings, make_settings
from assent.errors import RecipeError
from assent.pipeline.stage import Context, Input, Metrics, Stage
from assent.pipeline.stages.policy import RolloutStageSettings, rollout_stage
from assent.pipeline.stages.preference import PreferenceStageSettings, preference_stage
from assent.training.critic import CriticSettings
from assent.user_code import load_object


class TrainSettings(Settings):
    """An algorithm of one's own."""

    algorithm: str = Input("data", description="Python file that defines ALGORITHM, as assent's own algorithms do")
    model: str = Input("model", description="Model folder or hub name to start from; also the reference")
    data: str = Input(
        "data", description="Prompts, comparisons, labels or demonstrations: what the algorithm learns from"
    )
    eval_data: str | None = Input("data", None, "Held-out data of the same form")
    reward: str | None = Input(
        "model", None, "Reward model folder or hub name, where the algorithm learns from rollouts"
    )
    settings: dict[str, Any] = Field(default_factory=dict)
    """The algorithm's own settings, and those of training that its kind has: learning_rate, batch_size and so on."""


def run(settings: TrainSettings, context: Context) -> Metrics:
    algorithm = load_object(f"{settings.algorithm}:ALGORITHM", "algorithm")
    if not isinstance(algorithm, Algorithm):
        raise RecipeError(
            f"{settings.algorithm}: ALGORITHM is a {type(algorithm).__name__}, expected an Algorithm record"
        )
    stage = _stage(algorithm, settings.algorithm)
    inputs = {name: getattr(settings, name) for name in ("model", "data", "eval_data", "reward")}
    given = {name: value for name, value in inputs.items() if value is not None}
    return stage.run(make_settings(stage.Settings, {**settings.settings, **given}, settings.algorithm), context)


def _stage(algorithm: Algorithm, source: str) -> Stage:
    """The stage of its kind of training, with its settings."""
    if "rollouts" in algorithm.data:
        critic = (CriticSettings,) if "values" in algorithm.outputs else ()
        made: Any = type("OwnSettings", (RolloutStageSettings, *critic, algorithm.Settings), {})
        return rollout_stage(algorithm, made)
    if "scores" in algorithm.outputs:
        raise RecipeError(f"{source}: trains a reward model, which this stage does not; it trains policies")
    made = type("OwnSettings", (PreferenceStageSettings, algorithm.Settings), {})
    return preference_stage(algorithm, made)


STAGE = Stage("train", "Train a policy by an algorithm of your own", TrainSettings, run, trains=True)
