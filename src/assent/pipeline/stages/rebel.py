"""Stage ``rebel``: policy optimisation by regression to relative rewards."""

from __future__ import annotations

from assent.algorithms.rebel import ALGORITHM, REBELSettings
from assent.pipeline.stages.policy import GroupSettings, RolloutStageSettings, rollout_stage


class REBELStageSettings(GroupSettings, RolloutStageSettings, REBELSettings):
    """Policy optimisation with REBEL.

    Without reward and reward_function, data are completions with scores that model sampled (`assent sample`, `score`,
    `filter`), and batch_size / samples_per_prompt of their prompts make a step.
    """


STAGE = rollout_stage(ALGORITHM, REBELStageSettings, reads_scored=True)
