"""Stage ``reward``: a reward model from comparisons, or from labelled completions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field, field_validator

from assent.algorithms.base import Algorithm
from assent.algorithms.reward_classifier import ALGORITHM as CLASSIFIER
from assent.algorithms.reward_classifier import RewardClassifierSettings
from assent.algorithms.reward_model import ALGORITHM as PAIRWISE
from assent.algorithms.reward_model import RewardModelSettings
from assent.algorithms.reward_ranking import ALGORITHM as RANKING
from assent.algorithms.reward_ranking import RewardRankingSettings
from assent.data.tokenizers import set_bos
from assent.models.device import pick_device
from assent.models.load import new_reward_model
from assent.models.scalar import RewardModel
from assent.pipeline.stage import Context, Input, Metrics, Stage
from assent.pipeline.stages.training import PublishSettings, finish, fit, read_data
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
    criteria: list[str] | None = Field(default=None, min_length=1)
    """Criteria to tell apart, each with a head of its own; unset = one head for all comparisons or labels."""
    centre_rows: int = Field(default=2000, ge=0)
    """Training rows whose mean score is stored as the reward's offset (comparisons only); 0 = no offset."""

    @field_validator("criteria")
    @classmethod
    def _differ(cls, value: list[str] | None) -> list[str] | None:
        if value is not None and len(set(value)) < len(value):
            raise ValueError("names a criterion twice")
        return value


class RewardStageSettings(RewardSettings, RewardModelSettings, RewardRankingSettings, RewardClassifierSettings):
    """Reward model."""

    method: Literal["pairwise", "ranking"] = "pairwise"
    """Loss on comparisons: of each pair (Bradley-Terry), or of each whole ranking (Plackett-Luce)."""


METHODS: Mapping[str, Algorithm] = {"pairwise": PAIRWISE, "ranking": RANKING}


def run(settings: RewardStageSettings, context: Context) -> Metrics:
    algorithms = {"comparisons": METHODS[settings.method], "judgements": CLASSIFIER}
    squared = settings.label_loss == "squared"
    metrics = {"comparisons": "accuracy", "judgements": "loss" if squared else "accuracy"}
    return train_reward(settings, context, algorithms, "reward model", metrics, any_label=squared)


def train_reward(
    settings: RewardSettings,
    context: Context,
    algorithms: Mapping[str, Algorithm],
    method: str,
    metrics: Mapping[str, str] | None = None,
    any_label: bool = False,
) -> Metrics:
    """Train a reward model by the algorithm for the kind of data there is, and save it; ``settings`` are also its.

    ``metrics`` says by kind which evaluation figure decides, accuracy where it does not; ``any_label`` that labels are
    any numbers.
    """
    criteria = settings.criteria or ()
    model = new_reward_model(settings.model, context.seed, pick_device(), criteria)
    if settings.add_bos is not None:
        set_bos(model.tokenizer, settings.add_bos)
    heads = {name: head for head, name in enumerate(criteria)} or None
    options = {"comparisons": {"heads": heads}, "judgements": {"heads": heads, "any_label": any_label}}
    data = read_data(settings, context, model, algorithms, options)
    metric = (metrics or {}).get(data.kind, "accuracy")
    figures = fit(settings, context, Roles(reward=model), model, algorithms[data.kind], data, metric)
    if data.kind == "comparisons" and settings.centre_rows:
        model.set_offsets(_mean_scores(model, data.trained, settings))
    finish(model, settings, f"{method} from {data.kind}", settings.model, context)
    return figures


def _mean_scores(model: RewardModel, examples: Sequence[Example], settings: RewardSettings) -> list[float]:
    """Of each head, over the same rows, so that the heads' rewards can be set beside one another."""
    rows = [row.token_ids for example in examples for row in example.rows][: settings.centre_rows]
    return score_rows(model, rows, settings.token_budget).double().mean(0).tolist()


STAGE = Stage(kind="reward", summary="Train a reward model", Settings=RewardStageSettings, run=run, version=2)
