"""Stage ``rebel``: policy optimisation by regression to relative rewards."""

from __future__ import annotations

from assent.algorithms.rebel import ALGORITHM, REBELSettings
from assent.pipeline.stages.policy import GroupSettings, RolloutStageSettings, rollout_stage


class REBELStageSettings(GroupSettings, RolloutStageSettings, REBELSettings):
    """Policy optimisation with REBEL."""


STAGE = rollout_stage(ALGORITHM, REBELStageSettings)
