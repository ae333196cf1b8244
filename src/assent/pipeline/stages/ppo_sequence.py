"""Stage ``ppo-sequence``: policy optimisation with PPO on whole completions, without a critic."""

from __future__ import annotations

from assent.algorithms.ppo_sequence import ALGORITHM, PPOSequenceSettings
from assent.pipeline.stages.policy import RolloutStageSettings, rollout_stage


class PPOSequenceStageSettings(RolloutStageSettings, PPOSequenceSettings):
    """Policy optimisation with PPO on whole completions, without a critic."""


STAGE = rollout_stage(ALGORITHM, PPOSequenceStageSettings)
