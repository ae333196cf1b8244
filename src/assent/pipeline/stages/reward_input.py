"""How every stage that scores completions is told by what."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from assent.config import Settings
from assent.errors import RecipeError
from assent.models.shared import Bases
from assent.pipeline.stage import Input
from assent.rewards.ensemble import EnsembleRule, Pooling
from assent.rewards.load import load_reward
from assent.rewards.rule import FunctionReward, load_function
from assent.rewards.source import RewardSource


class RewardInput(Settings):
    """The source of rewards."""

    reward: str | None = Input("model", None, "Reward model folder or hub name, or folder of another source of reward")
    reward_weights: dict[str, float] | None = None
    """What each criterion of a reward model with several counts in the reward; unset = the mean of all."""
    ensemble: EnsembleRule = "mean"
    """What the members of an ensemble come to: their mean, the worst of them, or their mean less their variance."""
    variance_coefficient: float = Field(default=1.0, ge=0.0)
    """What the variance counts in ensemble: variance."""
    reward_function: str | None = Input(
        "code", None, "A function of prompt and completion text instead, as module:function or path.py:function"
    )


def open_reward(
    settings: RewardInput, stage: str, tokenizer: Any = None, token_budget: int = 8192, bases: Bases | None = None
) -> RewardSource:
    """The source, over the ``bases`` that are loaded already where it can be.

    Raises :class:`RecipeError` unless exactly one is given.
    """
    if (settings.reward is None) == (settings.reward_function is None):
        raise RecipeError(f"{stage}: give either reward (a reward model, or another source) or reward_function")
    if settings.reward is None:
        return FunctionReward(load_function(str(settings.reward_function)))
    pooling = Pooling(settings.ensemble, settings.variance_coefficient)
    return load_reward(settings.reward, tokenizer, token_budget, settings.reward_weights, pooling, bases)
