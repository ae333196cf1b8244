"""A source of reward by its folder or name: a reward model, or whatever else ``reward.json`` says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from assent.errors import RecipeError
from assent.models.device import pick_device
from assent.models.load import load_reward_model
from assent.rewards.kinds import is_source, read_source
from assent.rewards.model import ModelReward
from assent.rewards.source import RewardSource


def load_reward(
    source: str,
    policy_tokenizer: Any = None,
    token_budget: int = 8192,
    weights: Mapping[str, float] | None = None,
) -> RewardSource:
    """The source in a folder, or the reward model of a hub name; the last three are for a reward model alone."""
    if not is_source(source):
        model = load_reward_model(source, pick_device()).requires_grad_(False)
        return ModelReward(model, policy_tokenizer, token_budget, weights)
    if weights is not None:
        raise RecipeError(f"{source}: is no reward model, and reward_weights are for one with several criteria")
    return read_source(source)
