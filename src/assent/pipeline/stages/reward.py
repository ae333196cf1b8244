"""Stage ``reward``: a reward model from comparisons, or from labelled completions."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, field_validator

from assent.algorithms.base import Algorithm
from assent.algorithms.reward_classifier import ALGORITHM as CLASSIFIER
from assent.algorithms.reward_classifier import RewardClassifierSettings
from assent.algorithms.reward_model import ALGORITHM as PAIRWISE
from assent.algorithms.reward_model import RewardModelSettings
from assent.algorithms.reward_ranking import ALGORITHM as RANKING
from assent.algorithms.reward_ranking import RewardRankingSettings
from assent.data.tokenizers import set_bos
from assent.errors import RecipeError
from assent.models.adapters import DropoutSettings
from assent.models.device import pick_device
from assent.models.load import ENSEMBLE
from assent.models.scalar import RewardModel
from assent.models.shared import Bases
from assent.pipeline.portions import Portions
from assent.pipeline.stage import Context, Input, Metrics, Stage
from assent.pipeline.stages.training import Data, PublishSettings, finish, fit, read_data
from assent.rewards.lengths import doublings
from assent.rewards.model import score_rows
from assent.runs.folder import CHECKPOINTS, atomic_write_json
from assent.training.bootstrap import Bootstrap, Counts, draw_bootstrap, for_heads, repeated
from assent.training.distributed import is_main
from assent.training.roles import Roles
from assent.training.sources import Example
from assent.training.supervised import DatasetSettings
from assent.types import short_id


class RewardSettings(DatasetSettings, DropoutSettings, PublishSettings):
    """What every stage that writes a reward model is told."""

    model: str = Input("model", description="Model folder or hub name whose trunk the reward model starts from")
    data: str = Input("data", description="Comparisons (prompt, chosen, rejected) or labels (text, label)")
    eval_data: str | None = Input("data", None, "Held-out data of the same form; unset = eval_split of data")
    add_bos: bool | None = None
    """Begin every text with the BOS token (saved with the tokenizer); unset = as the tokenizer does."""
    criteria: list[str] | None = Field(default=None, min_length=1)
    """Criteria to tell apart, each with a head of its own; unset = one head for all comparisons or labels."""
    members: int = Field(default=1, ge=1)
    """Members of an ensemble: above 1, the spread of their scores is the reward's uncertainty."""
    ensemble: Literal["models", "heads"] = "models"
    """What a member is: a reward model of its own seed, in a folder of its own; or a head over one
    trunk, all together at the cost of one model."""
    bootstrap: bool | None = None
    """Let each member learn from its own draw of the prompts, with replacement and as many as there are, so that
    members err apart (recorded in bootstrap.json); unset = where members are heads, which would come out alike."""
    length_residual: bool = False
    """Free the reward of length: take off each score what the least squares line of score on log2 of the length,
    between the answers to one prompt, gives it (comparisons only, over the rows of centre_rows)."""
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


BOOTSTRAP = "bootstrap.json"
"""What the members of a model have drawn to learn from, beside it."""

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
    """Train a reward model or an ensemble by the algorithm for the kind of data there is, and save it.

    ``settings`` are also the algorithm's.

    ``metrics`` says by kind which evaluation figure decides, accuracy where it does not; ``any_label`` that labels are
    any numbers.
    """
    way = _Way(algorithms, method, metrics or {}, any_label)
    if settings.members == 1 and settings.bootstrap:
        raise RecipeError(
            "reward: bootstrap says what each member of an ensemble learns from; set members to 2 or more"
        )
    if settings.members == 1 or settings.ensemble == "heads":
        return _train_one(settings, context, way, range(1, settings.members + 1))
    portions, every = Portions(context.out, is_main()), list[Mapping[str, float]]()
    for number in range(1, settings.members + 1):
        folder = context.out / f"member-{number}"

        def member(number: int = number, folder: Path = folder) -> Metrics:
            folder.mkdir(exist_ok=True)
            own = replace(context, out=folder, seed=int(short_id(context.seed, number), 16))
            figures = _train_one(settings, own, way, (number,))
            if is_main():
                shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
            return figures

        every.append(portions.get(folder.name, member))
    if is_main():
        atomic_write_json(context.out / ENSEMBLE, {"members": [f"member-{n}" for n in range(1, settings.members + 1)]})
    return {name: sum(figures[name] for figures in every) / len(every) for name in every[0]}


@dataclass(frozen=True)
class _Way:
    """What :func:`train_reward` is told, but for the settings and where."""

    algorithms: Mapping[str, Algorithm]
    method: str
    metrics: Mapping[str, str]
    any_label: bool


def _train_one(settings: RewardSettings, context: Context, way: _Way, members: Sequence[int]) -> Metrics:
    """One model, which is these ``members`` of the ensemble."""
    criteria = settings.criteria or ()
    bases = Bases(settings, pick_device())
    model = bases.new_reward_model(settings.model, context.seed, tuple(criteria), len(members))
    if settings.add_bos is not None:
        set_bos(model.tokenizer, settings.add_bos)
    heads = {name: head for head, name in enumerate(criteria)} or None
    options = {"comparisons": {"heads": heads}, "judgements": {"heads": heads, "any_label": way.any_label}}
    data = read_data(settings, context, model, way.algorithms, options)
    algorithm, metric = way.algorithms[data.kind], way.metrics.get(data.kind, "accuracy")
    drawn = _drawn(data, settings, context, members)
    learned = _for_members(data, drawn, algorithm, settings)
    figures = fit(settings, context, Roles(reward=model), model, algorithm, learned, metric)
    # All members are centred over the same rows, whatever each has drawn of them.
    if data.kind == "comparisons" and settings.centre_rows:
        model.set_offsets(mean_scores(model, data.trained, settings.centre_rows, settings.token_budget))
    if settings.length_residual:
        _residualise(model, data, settings)
    finish(model, settings, f"{way.method} from {data.kind}", settings.model, context)
    if drawn is not None and is_main():
        atomic_write_json(context.out / BOOTSTRAP, drawn.record())
    return figures


def _drawn(data: Data, settings: RewardSettings, context: Context, members: Sequence[int]) -> Bootstrap | None:
    """What these members have drawn of the data, where they are to draw."""
    heads = len(members) > 1
    wanted = heads if settings.bootstrap is None else settings.bootstrap
    return draw_bootstrap(data.trained, context.seed, members) if wanted else None


def _for_members(data: Data, drawn: Bootstrap | None, algorithm: Algorithm, settings: RewardSettings) -> Data:
    """The data as the members of one model learn from them; what is held out, each once."""
    if settings.members == 1 or settings.ensemble == "models":
        return data if drawn is None else replace(data, trained=repeated(data.trained, drawn.times()[0]))
    if algorithm is not PAIRWISE or settings.criteria:
        raise RecipeError(
            "reward: ensemble heads learns from comparisons by method pairwise, without criteria; use ensemble: models"
        )

    def each_once(examples: Sequence[Example]) -> Counts:
        return np.ones((settings.members, len(examples)), dtype=np.int64)

    times = each_once(data.trained) if drawn is None else drawn.times()
    held_out = for_heads(data.held_out, each_once(data.held_out))
    return replace(data, trained=for_heads(data.trained, times), held_out=held_out)


def mean_scores(model: RewardModel, examples: Sequence[Example], most: int, token_budget: int) -> list[float]:
    """Of each head, over the same ``most`` rows, so that the heads' rewards can be set beside one another."""
    rows = [row.token_ids for example in examples for row in example.rows][:most]
    return score_rows(model, rows, token_budget).double().mean(0).tolist()


def _residualise(model: RewardModel, data: Data, settings: RewardSettings) -> None:
    """Store what length is worth to each head, of scores that were centred before."""
    examples = [example for example in data.trained if len(example.rows) > 1][: settings.centre_rows]
    if data.kind != "comparisons" or not examples:
        raise RecipeError("reward: length_residual learns what length is worth from comparisons, and needs centre_rows")
    rows = [row for example in examples for row in example.rows]
    texts = [
        model.tokenizer.decode(
            [token for token, own in zip(row.token_ids, row.completion_mask, strict=True) if own],
            skip_special_tokens=True,
        )
        for row in rows
    ]
    longer = doublings([len(text) for text in texts])
    scores = score_rows(model, [row.token_ids for row in rows], settings.token_budget).double().numpy()
    group = np.repeat(np.arange(len(examples)), [len(example.rows) for example in examples])
    within = longer - (np.bincount(group, longer) / np.bincount(group))[group]
    slopes = within @ scores / max(float(within @ within), 1e-12)
    model.set_length_slopes(slopes.tolist(), float(longer.mean()))


STAGE = Stage(
    kind="reward", summary="Train a reward model", Settings=RewardStageSettings, run=run, version=3, trains=True
)
