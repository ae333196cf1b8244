"""Stage ``cpo``: contrastive preference optimisation on comparisons."""

from __future__ import annotations

from assent.algorithms.cpo import ALGORITHM, CPOSettings
from assent.pipeline.stages.preference import PreferenceStageSettings, preference_stage


class CPOStageSettings(PreferenceStageSettings, CPOSettings):
    """Contrastive preference optimisation."""


STAGE = preference_stage(ALGORITHM, CPOStageSettings)
