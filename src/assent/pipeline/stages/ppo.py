"""Stage ``ppo``: policy optimisation with PPO."""

from __future__ import annotations

from assent.algorithms.ppo import ALGORITHM, PPOSettings
from assent.pipeline.stages.policy import RolloutStageSettings, rollout_stage
from assent.training.critic import CriticSettings


class PPOStageSettings(RolloutStageSettings, CriticSettings, PPOSettings):
    """Policy optimisation with PPO."""


STAGE = rollout_stage(ALGORITHM, PPOStageSettings)
