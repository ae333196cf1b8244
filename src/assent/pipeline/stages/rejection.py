"""Stage ``rejection``: fine-tuning on the best of the policy's own samples."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from assent.algorithms.rejection import ALGORITHM, RejectionSettings
from assent.pipeline.stages.policy import GroupSettings, RolloutStageSettings, rollout_stage


class RejectionStageSettings(GroupSettings, RolloutStageSettings, RejectionSettings):
    """Rejection sampling fine-tuning."""

    @model_validator(mode="after")
    def _some_are_left_out(self) -> Self:
        if self.keep >= self.samples_per_prompt:
            raise ValueError(
                f"keep {self.keep} of {self.samples_per_prompt} samples_per_prompt leaves none out, so that the reward "
                "would not matter; lower keep or raise samples_per_prompt"
            )
        return self


STAGE = rollout_stage(ALGORITHM, RejectionStageSettings)
