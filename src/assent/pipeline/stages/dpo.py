"""Stage ``dpo``: direct preference optimisation on comparisons."""

from __future__ import annotations

import copy

from assent.algorithms.dpo import ALGORITHM, DPOSettings
from assent.models.causal import CausalModel
from assent.models.device import pick_device
from assent.models.load import load_causal
from assent.pipeline.stage import Context, Input, Metrics, Stage
from assent.pipeline.stages.training import PublishSettings, finish, read_examples, row_limit
from assent.training.roles import Roles
from assent.training.supervised import DatasetSettings, Task, split_examples, train


class DPOStageSettings(DatasetSettings, PublishSettings, DPOSettings):
    """Direct preference optimisation."""

    model: str = Input("model", description="Model folder or hub name to start from; also the reference")
    data: str = Input("data", description="Comparisons: prompt, chosen, rejected")
    eval_data: str | None = Input("data", None, "Held-out comparisons; unset = eval_split of data")


def run(settings: DPOStageSettings, context: Context) -> Metrics:
    policy = load_causal(settings.model, pick_device())
    reference = CausalModel(copy.deepcopy(policy.model).requires_grad_(False), policy.tokenizer)
    limit = row_limit(policy.context_length, settings.max_length)
    kinds = ("comparisons",)
    _, examples = read_examples(policy.tokenizer, settings.data, kinds, limit, settings.overlong, context)
    if settings.eval_data:
        trained = examples
        _, held_out = read_examples(policy.tokenizer, settings.eval_data, kinds, limit, settings.overlong, context)
    else:
        trained, held_out = split_examples(examples, settings.eval_split, context.seed)
    task = Task(
        roles=Roles(policy=policy, reference=reference),
        algorithm=ALGORITHM,
        examples=trained,
        held_out=held_out,
        settings=settings,
        pad=policy.tokenizer.pad_token_id,
        folder=context.out,
        seed=context.seed,
        progress=context.progress,
        say=context.say,
        metric="accuracy",
        greater_is_better=True,
    )
    figures = train(task)
    finish(policy, settings, "dpo", settings.model, context)
    return figures


STAGE = Stage(kind="dpo", summary=ALGORITHM.summary, Settings=DPOStageSettings, run=run)
