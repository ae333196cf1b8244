"""Stage ``dpo``: direct preference optimisation on comparisons."""

from __future__ import annotations

from assent.algorithms.dpo import ALGORITHM, DPOSettings
from assent.pipeline.stages.preference import PreferenceStageSettings, preference_stage


class DPOStageSettings(PreferenceStageSettings, DPOSettings):
    """Direct preference optimisation."""


STAGE = preference_stage(ALGORITHM, DPOStageSettings)
