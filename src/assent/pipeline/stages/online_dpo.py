"""Stage ``online-dpo``: preference optimisation on the policy's own samples."""

from __future__ import annotations

from assent.algorithms.online_dpo import ALGORITHM, OnlineDPOSettings
from assent.pipeline.stages.policy import GroupSettings, RolloutStageSettings, rollout_stage


class OnlineDPOStageSettings(GroupSettings, RolloutStageSettings, OnlineDPOSettings):
    """Online DPO."""


STAGE = rollout_stage(ALGORITHM, OnlineDPOStageSettings)
