"""Where the critic of an actor-critic algorithm starts."""

from __future__ import annotations

import copy
from typing import Any, Literal

from pydantic import Field

from assent.config import Settings
from assent.errors import RecipeError
from assent.models.adapters import add_adapter, without_trained
from assent.models.policy import Policy
from assent.models.scalar import Critic, RewardModel, ValueHead

CriticStart = Literal["shared", "policy", "reward"]


class CriticSettings(Settings):
    """Algorithms with a critic."""

    critic: CriticStart = "policy"
    """Where the critic starts: its own trunk from the policy or from the reward model, or a head shared with the
    policy's trunk."""
    critic_learning_rate: float | None = Field(default=None, gt=0.0)
    """The critic's peak learning rate; unset = learning_rate."""


def start_critic(policy: Policy, reward_model: RewardModel | None, settings: Any, seed: int) -> Critic | ValueHead:
    """The critic that the ``settings``' ``critic`` asks for, its head at zero.

    Where the policy trains an adapter, so does a critic with a trunk of its own, over the same frozen weights.
    ``reward_model`` is ``None`` where the reward is no model, or one with another tokenizer than the policy's.  Raises
    :class:`RecipeError` where it is to start from one that cannot serve.
    """
    device = next(policy.parameters()).device
    width, trunk = policy.hidden_size, policy.trunk
    if settings.critic == "shared":
        return ValueHead(width).to(device)
    if settings.critic == "reward":
        if reward_model is None or not reward_model.is_causal:
            raise RecipeError(
                "critic: reward needs a causal reward model with the policy's own tokenizer; use critic: policy"
            )
        trunk = reward_model.model.base_model
        width = int(reward_model.model.score.weight.shape[1])
    if policy.adapter_of is None:
        return Critic(copy.deepcopy(trunk).requires_grad_(True), width).to(device)
    trunk = without_trained(trunk)
    add_adapter(trunk, settings, seed)
    return Critic(trunk, width).to(device)
