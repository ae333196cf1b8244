"""Stage ``rloo``: policy optimisation with RLOO."""

from __future__ import annotations

from assent.algorithms.rloo import ALGORITHM, RLOOSettings
from assent.pipeline.stages.policy import GroupSettings, RolloutStageSettings, rollout_stage


class RLOOStageSettings(GroupSettings, RolloutStageSettings, RLOOSettings):
    """Policy optimisation with RLOO."""


STAGE = rollout_stage(ALGORITHM, RLOOStageSettings)
