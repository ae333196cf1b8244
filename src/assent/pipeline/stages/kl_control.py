"""Stage ``kl-control``: policy optimisation with KL-control."""

from __future__ import annotations

from assent.algorithms.kl_control import ALGORITHM, KLControlSettings
from assent.pipeline.stages.policy import RolloutStageSettings, rollout_stage


class KLControlStageSettings(RolloutStageSettings, KLControlSettings):
    """Policy optimisation with KL-control."""


STAGE = rollout_stage(ALGORITHM, KLControlStageSettings)
