"""Stage ``dpo``: direct preference optimisation on comparisons."""

from __future__ import annotations

import copy

from assent.algorithms.dpo import ALGORITHM, DPOSettings
from assent.models.causal import CausalModel
from assent.models.device import pick_device
from assent.models.load import load_causal
from assent.pipeline.stage import Context, Input, Metrics, Stage
from assent.pipeline.stages.training import PublishSettings, finish, fit
from assent.training.roles import Roles
from assent.training.supervised import DatasetSettings


class DPOStageSettings(DatasetSettings, PublishSettings, DPOSettings):
    """Direct preference optimisation."""

    model: str = Input("model", description="Model folder or hub name to start from; also the reference")
    data: str = Input("data", description="Comparisons: prompt, chosen, rejected")
    eval_data: str | None = Input("data", None, "Held-out comparisons; unset = eval_split of data")


def run(settings: DPOStageSettings, context: Context) -> Metrics:
    policy = load_causal(settings.model, pick_device())
    reference = CausalModel(copy.deepcopy(policy.model).requires_grad_(False), policy.tokenizer)
    roles = Roles(policy=policy, reference=reference)
    _, figures = fit(settings, context, roles, policy, {"comparisons": ALGORITHM}, metric="accuracy")
    finish(policy, settings, "dpo", settings.model, context)
    return figures


STAGE = Stage(kind="dpo", summary=ALGORITHM.summary, Settings=DPOStageSettings, run=run)
