"""Stage ``inverse-rl``: a reward model from demonstrations against a policy's samples."""

from __future__ import annotations

from assent.algorithms.inverse_rl import ALGORITHM, InverseRLSettings
from assent.pipeline.stage import Context, Metrics, Stage
from assent.pipeline.stages.reward import RewardSettings, train_reward


class InverseRLStageSettings(RewardSettings, InverseRLSettings):
    """A reward from demonstrations against samples; data as the contrast stage writes it."""


def run(settings: InverseRLStageSettings, context: Context) -> Metrics:
    return train_reward(settings, context, {"comparisons": ALGORITHM}, "inverse reinforcement learning")


STAGE = Stage(ALGORITHM.name, ALGORITHM.summary, InverseRLStageSettings, run, trains=True)
