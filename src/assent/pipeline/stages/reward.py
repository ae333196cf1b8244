"""Stage ``reward``: a reward model from comparisons, or from labelled completions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import Field

from assent.algorithms.base import Algorithm
from assent.algorithms.reward_classifier import ALGORITHM as CLASSIFIER
from assent.algorithms.reward_model import ALGORITHM as PAIRWISE
from assent.algorithms.reward_model import RewardModelSettings
from assent.data.tokenizers import set_bos
from assent.models.device import pick_device
from assent.models.load import new_reward_model
from assent.models.scalar import RewardModel
from assent.pipeline.stage import Context, Input, Metrics, Stage
from assent.pipeline.stages.training import PublishSettings, finish, fit, read_examples, row_limit
from assent.rewards.model import score_rows
from assent.training.roles import Roles
from assent.training.sources import Example
from assent.training.supervised import DatasetSettings


class RewardSettings(DatasetSettings, PublishSettings):
    """What every stage that writes a reward model is told."""

    model: str = Input("model", description="Model folder or hub name whose trunk the reward model starts from")
    data: str = Input("data", description="Comparisons (prompt, chosen, rejected) or labels (text, label)")
    eval_data: str | None = Input("data", None, "Held-out data of the same form; unset = eval_split of data")
    add_bos: bool | None = None
    """Begin every text with the BOS token (saved with the tokenizer); unset = as the tokenizer does."""
    centre_rows: int = Field(default=2000, ge=0)
    """Training rows whose mean score is stored as the reward's offset (comparisons only); 0 = no offset."""


class RewardStageSettings(RewardSettings, RewardModelSettings):
    """Reward model."""


def run(settings: RewardStageSettings, context: Context) -> Metrics:
    return train_reward(settings, context, {"comparisons": PAIRWISE, "judgements": CLASSIFIER}, "reward model")


def train_reward(
    settings: RewardSettings, context: Context, algorithms: Mapping[str, Algorithm], method: str
) -> Metrics:
    """Train a reward model by the algorithm for the kind of data there is, and save it; ``settings`` are also its."""
    model = new_reward_model(settings.model, context.seed, pick_device())
    if settings.add_bos is not None:
        set_bos(model.tokenizer, settings.add_bos)
    kind, figures = fit(settings, context, Roles(reward=model), model, algorithms, metric="accuracy")
    if kind == "comparisons" and settings.centre_rows:
        limit = row_limit(model.context_length, settings.max_length)
        rest = (limit, settings.overlong, context, settings.empty)
        _, examples = read_examples(model.tokenizer, settings.data, (kind,), *rest)
        model.set_offsets(_mean_scores(model, examples, settings))
    finish(model, settings, f"{method} from {kind}", settings.model, context)
    return figures


def _mean_scores(model: RewardModel, examples: Sequence[Example], settings: RewardSettings) -> list[float]:
    """Of each head, over the same rows, so that the heads' rewards can be set beside one another."""
    rows = [row.token_ids for example in examples for row in example.rows][: settings.centre_rows]
    return score_rows(model, rows, settings.token_budget).double().mean(0).tolist()


STAGE = Stage(kind="reward", summary="Train a reward model", Settings=RewardStageSettings, run=run)
