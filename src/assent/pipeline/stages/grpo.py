"""Stage ``grpo``: policy optimisation with GRPO."""

from __future__ import annotations

from assent.algorithms.grpo import ALGORITHM, GRPOSettings
from assent.pipeline.stages.policy import GroupSettings, RolloutStageSettings, rollout_stage


class GRPOStageSettings(GroupSettings, RolloutStageSettings, GRPOSettings):
    """Policy optimisation with GRPO."""


STAGE = rollout_stage(ALGORITHM, GRPOStageSettings)
