"""Stage ``reinforce``: policy optimisation with REINFORCE."""

from __future__ import annotations

from assent.algorithms.reinforce import ALGORITHM, ReinforceSettings
from assent.pipeline.stages.policy import RolloutStageSettings, rollout_stage


class ReinforceStageSettings(RolloutStageSettings, ReinforceSettings):
    """Policy optimisation with REINFORCE."""


STAGE = rollout_stage(ALGORITHM, ReinforceStageSettings)
