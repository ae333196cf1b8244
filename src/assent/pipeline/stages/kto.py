"""Stage ``kto``: Kahneman-Tversky optimisation on judgements or comparisons."""

from __future__ import annotations

from assent.algorithms.kto import ALGORITHM, KTOSettings
from assent.pipeline.stage import Input
from assent.pipeline.stages.preference import PreferenceStageSettings, preference_stage


class KTOStageSettings(PreferenceStageSettings, KTOSettings):
    """Kahneman-Tversky optimisation."""

    data: str = Input("data", description="Labels (prompt, completion, label 1 or 0) or comparisons")
    eval_data: str | None = Input("data", None, "Held-out data of the same form; unset = eval_split of data")


STAGE = preference_stage(ALGORITHM, KTOStageSettings)
