"""What the stages that train a policy on people's choices or labels share: all but the algorithm and its settings."""

from __future__ import annotations

from typing import Any

from assent.algorithms.base import Algorithm
from assent.models.adapters import AdapterSettings
from assent.models.device import pick_device
from assent.models.shared import Bases
from assent.pipeline.stage import Context, Input, Metrics, Stage
from assent.pipeline.stages.training import PublishSettings, finish, fit, read_data
from assent.training.roles import Roles
from assent.training.supervised import DatasetSettings


class PreferenceStageSettings(DatasetSettings, AdapterSettings, PublishSettings):
    """Optimisation of a policy on people's choices or labels directly."""

    model: str = Input("model", description="Model folder or hub name to start from; also the reference")
    data: str = Input("data", description="Comparisons: prompt, chosen, rejected")
    eval_data: str | None = Input("data", None, "Held-out comparisons; unset = eval_split of data")


def preference_stage(algorithm: Algorithm, stage_settings: type[PreferenceStageSettings]) -> Stage:
    """The stage of such an algorithm; ``stage_settings`` are also the algorithm's settings."""

    def run(settings: Any, context: Context) -> Metrics:
        policy = Bases(settings, pick_device()).policy(settings.model, context.seed)
        reference = None
        if "ref_logprobs" in algorithm.needs:
            reference = policy.frozen_copy()
        roles = Roles(policy=policy, reference=reference)
        kinds = dict.fromkeys(sorted(algorithm.data), algorithm)
        data = read_data(settings, context, policy, kinds)
        figures = fit(settings, context, roles, policy, algorithm, data, metric="accuracy")
        finish(policy, settings, algorithm.name, settings.model, context)
        return figures

    return Stage(kind=algorithm.name, summary=algorithm.summary, Settings=stage_settings, run=run, trains=True)
