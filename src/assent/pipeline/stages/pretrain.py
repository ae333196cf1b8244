"""Stage ``pretrain``: a small new language model, with its own tokenizer, on plain text."""

from __future__ import annotations

from assent.algorithms.sft import ALGORITHM, SFTSettings
from assent.data.readers import read_texts
from assent.models.device import pick_device
from assent.models.new import ShapeSettings, new_causal, train_tokenizer
from assent.pipeline.stage import Context, Input, Metrics, Stage
from assent.pipeline.stages.training import PublishSettings, finish, fit, read_data
from assent.training.roles import Roles
from assent.training.supervised import DatasetSettings


class PretrainSettings(DatasetSettings, ShapeSettings, PublishSettings, SFTSettings):
    """Pretraining of a new model."""

    data: str = Input("data", description="Plain text: column text, or the lines of a .txt file")
    eval_data: str | None = Input("data", None, "Held-out text; unset = eval_split of data")


def run(settings: PretrainSettings, context: Context) -> Metrics:
    texts = read_texts(settings.data)
    tokenizer = train_tokenizer(texts, settings.vocab_size)
    policy = new_causal(tokenizer, settings, context.seed, pick_device())
    data = read_data(settings, context, policy, {"texts": ALGORITHM})
    figures = fit(settings, context, Roles(policy=policy), policy, ALGORITHM, data)
    finish(policy, settings, "pretraining", "a new model", context)
    return {"parameters": sum(p.numel() for p in policy.parameters()), **figures}


STAGE = Stage("pretrain", "Pretrain a small new language model", PretrainSettings, run, trains=True)
