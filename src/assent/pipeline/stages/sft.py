"""Stage ``sft``: supervised fine-tuning on demonstrations or text."""

from __future__ import annotations

from typing import Literal

from assent.algorithms.sft import ALGORITHM, SFTSettings
from assent.data.tokenizers import set_bos
from assent.models.adapters import DropoutSettings
from assent.models.device import pick_device
from assent.models.shared import Bases
from assent.pipeline.stage import Context, Input, Metrics, Stage
from assent.pipeline.stages.training import PublishSettings, finish, fit, read_data
from assent.training.roles import Roles
from assent.training.supervised import DatasetSettings


class SFTStageSettings(DatasetSettings, DropoutSettings, PublishSettings, SFTSettings):
    """Supervised fine-tuning."""

    model: str = Input("model", description="Model folder or hub name to start from")
    data: str = Input("data", description="Demonstrations (prompt and completion, or messages) or plain text")
    eval_data: str | None = Input("data", None, "Held-out data of the same form; unset = eval_split of data")
    add_bos: bool | None = None
    """Begin every text with the BOS token, from here on (saved with the tokenizer); unset = as the tokenizer does."""
    turns: Literal["last", "all"] = "last"
    """The turns of a conversation that carry loss: the assistant's last one, or all of its turns."""


def run(settings: SFTStageSettings, context: Context) -> Metrics:
    policy = Bases(settings, pick_device()).policy(settings.model, context.seed)
    if settings.add_bos is not None:
        set_bos(policy.tokenizer, settings.add_bos)
    algorithms = {"demonstrations": ALGORITHM, "texts": ALGORITHM}
    options = {"demonstrations": {"turns": settings.turns}}
    data = read_data(settings, context, policy, algorithms, options)
    figures = fit(settings, context, Roles(policy=policy), policy, ALGORITHM, data)
    finish(policy, settings, "sft", settings.model, context)
    return figures


STAGE = Stage(kind="sft", summary=ALGORITHM.summary, Settings=SFTStageSettings, run=run, trains=True)
