"""Stage ``spin``: one iteration of self-play fine-tuning."""

from __future__ import annotations

from assent.algorithms.spin import ALGORITHM, SPINSettings
from assent.pipeline.stages.preference import PreferenceStageSettings, preference_stage


class SPINStageSettings(PreferenceStageSettings, SPINSettings):
    """One iteration of self-play fine-tuning; data as the contrast stage writes it."""


STAGE = preference_stage(ALGORITHM, SPINStageSettings)
