"""Stage ``simpo``: simple preference optimisation on comparisons."""

from __future__ import annotations

from assent.algorithms.simpo import ALGORITHM, SimPOSettings
from assent.pipeline.stages.preference import PreferenceStageSettings, preference_stage


class SimPOStageSettings(PreferenceStageSettings, SimPOSettings):
    """Simple preference optimisation."""


STAGE = preference_stage(ALGORITHM, SimPOStageSettings)
