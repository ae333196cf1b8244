"""Stage ``orpo``: odds-ratio preference optimisation on comparisons."""

from __future__ import annotations

from assent.algorithms.orpo import ALGORITHM, ORPOSettings
from assent.pipeline.stages.preference import PreferenceStageSettings, preference_stage


class ORPOStageSettings(PreferenceStageSettings, ORPOSettings):
    """Odds-ratio preference optimisation."""


STAGE = preference_stage(ALGORITHM, ORPOStageSettings)
