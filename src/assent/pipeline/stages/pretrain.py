"""Stage ``pretrain``: a small new language model, with its own tokenizer, on plain text."""

from __future__ import annotations

from assent.algorithms.sft import ALGORITHM, SFTSettings
from assent.data.readers import read_texts
from assent.models.device import pick_device
from assent.models.new import ShapeSettings, new_causal, train_tokenizer
from assent.pipeline.stage import Context, Input, Metrics, Stage
from assent.pipeline.stages.training import PublishSettings, finish, row_limit
from assent.training.examples import text_examples
from assent.training.roles import Roles
from assent.training.supervised import DatasetSettings, Task, split_examples, train


class PretrainSettings(DatasetSettings, ShapeSettings, PublishSettings, SFTSettings):
    """Pretraining of a new model."""

    data: str = Input("data", description="Plain text: column text, or the lines of a .txt file")


def run(settings: PretrainSettings, context: Context) -> Metrics:
    texts = read_texts(settings.data)
    tokenizer = train_tokenizer(texts, settings.vocab_size)
    policy = new_causal(tokenizer, settings, context.seed, pick_device())
    limit = row_limit(policy.context_length, settings.max_length)
    examples, _ = text_examples(tokenizer, texts, limit, settings.overlong, settings.data)
    trained, held_out = split_examples(examples, settings.eval_split, context.seed)
    task = Task(
        roles=Roles(policy=policy),
        algorithm=ALGORITHM,
        examples=trained,
        held_out=held_out,
        settings=settings,
        pad=tokenizer.pad_token_id,
        folder=context.out,
        seed=context.seed,
        progress=context.progress,
        say=context.say,
    )
    figures = train(task)
    finish(policy, settings, "pretraining", "a new model", context)
    return {"parameters": sum(p.numel() for p in policy.parameters()), **figures}


STAGE = Stage(kind="pretrain", summary="Pretrain a small new language model", Settings=PretrainSettings, run=run)
