"""Stage ``expert-iteration``: fine-tuning on the best samples found so far."""

from __future__ import annotations

from assent.algorithms.expert_iteration import ALGORITHM, ExpertIterationSettings
from assent.pipeline.stages.policy import GroupSettings, RolloutStageSettings, rollout_stage


class ExpertIterationStageSettings(GroupSettings, RolloutStageSettings, ExpertIterationSettings):
    """Expert iteration."""


STAGE = rollout_stage(ALGORITHM, ExpertIterationStageSettings)
