"""Stage ``select``: which questions are worth asking, of all that the sampled completions could make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from assent.config import Settings
from assent.data.jsonl import write_completions, write_jsonl
from assent.data.readers import read_completions, read_rankings
from assent.data.scored import Scored, by_prompt
from assent.errors import DataError, RecipeError
from assent.feedback import selection
from assent.models.device import pick_device
from assent.models.load import new_reward_model
from assent.pipeline.stage import Context, Input, Metrics, Stage
from assent.rewards.ensemble import Ensemble
from assent.rewards.model import ModelReward, load_models
from assent.types import Completion, Prompt

Method = Literal["random", "disagreement", "information_gain", "near_ties", "coverage"]
Array = NDArray[np.float64]
Places = NDArray[np.intp]


class SelectSettings(Settings):
    """Selection of questions."""

    data: str = Input("data", description="Completions, K per prompt, as the sample stage writes them")
    reward: str | None = Input(
        "model", None, "Reward model or ensemble that was trained on the answers so far; not needed for random"
    )
    model: str | None = Input("model", None, "Model whose states tell prompts apart, for coverage without reward")
    asked: list[str] = Input("data", [], "Rankings so far: what they ask is not asked again")
    method: Method = "information_gain"
    """random; disagreement = where an ensemble's members differ most on who wins; information_gain = what an answer is
    expected to tell of the reward model, in nats; near_ties = the closest of each prompt's two best answers by the
    reward; coverage = one of each cluster of the answers' states."""
    posterior: Literal["laplace", "ensemble"] = "laplace"
    """Of information_gain: the reward model's last layer as a normal distribution given all that was asked, each
    question chosen in view of those before it; or the members of an ensemble."""
    answers: int = Field(gt=0)
    """The budget: answers that the questions chosen may take together."""
    answers_per_question: int = Field(default=1, gt=0)
    """Answers that each question gets, as annotators_per_question of collect."""
    ask: Literal["pairs", "prompts"] = "pairs"
    """A question is two of a prompt's completions, the pair worth most; or all of them."""
    stop_below: float = Field(default=0.0, ge=0.0)
    """Nats that a question must be expected to tell, of information_gain: more answers stop paying below it."""

    @model_validator(mode="after")
    def _reward_where_needed(self) -> Self:
        if self.method not in ("random", "coverage") and self.reward is None:
            raise ValueError(f"method {self.method} needs reward; in the first round choose random or coverage")
        if self.method == "coverage" and self.reward is None and self.model is None:
            raise ValueError("method coverage needs reward or model, whose states it tells answers apart by")
        if self.answers < self.answers_per_question:
            raise ValueError(
                f"answers {self.answers} is less than answers_per_question {self.answers_per_question}: no question"
            )
        if self.stop_below and self.method != "information_gain":
            raise ValueError("stop_below is in nats of method information_gain")
        return self


@dataclass(frozen=True)
class Candidates:
    """What could be asked."""

    rows: list[Scored]
    """N completions with their prompts."""
    first: Places
    second: Places
    """P places in the rows: the pairs."""
    group: list[int]
    """P numbers of prompts."""
    members: list[list[int]]
    """Prompt -> the places of all its completions."""


def run(settings: SelectSettings, context: Context) -> Metrics:
    """Writes ``completions.jsonl``, the questions in the order of their worth, and ``selection.jsonl``, that worth."""
    candidates = _candidates(settings)
    count = settings.answers // settings.answers_per_question
    context.progress.start("selecting", None)
    chosen, worth = _chosen(candidates, count, settings, context.seed)
    context.progress.stop()
    chosen, worth, stopped = _worthwhile(chosen, worth, settings)
    if stopped is not None:
        context.say(
            f"select: more answers stop paying: after {len(chosen)} questions the next is expected to tell "
            f"{stopped:.4g} nats, below stop_below {settings.stop_below:g}"
        )
    questions = [_asked_together(candidates, pair, settings) for pair in chosen]
    write_completions(context.out / "completions.jsonl", (candidates.rows[i] for places in questions for i in places))
    write_jsonl(context.out / "selection.jsonl", map(_record, questions, worth, [candidates] * len(questions)))
    every = {"candidates": len(candidates.group), "prompts": len(set(candidates.group)), "questions": len(questions)}
    figures: dict[str, float | int] = {**every, "answers": len(questions) * settings.answers_per_question}
    if worth and settings.method not in ("random", "coverage"):
        figures |= {"worth_first": worth[0], "worth_last": worth[-1], "worth_mean": sum(worth) / len(worth)}
    return {**figures, "stopped": int(stopped is not None)}


def _candidates(settings: SelectSettings) -> Candidates:
    rows = read_completions(settings.data)
    asked = {
        (ranking.prompt.id, frozenset((one, two)))
        for source in settings.asked
        for ranking in read_rankings(source)
        for one, two in combinations(ranking.texts, 2)
    }
    place = {id(row): index for index, row in enumerate(rows)}
    members = [[place[id(row)] for row in group] for group in by_prompt(rows)]
    pairs: list[tuple[int, int, int]] = []
    for number, group in enumerate(members):
        prompt = rows[group[0]][0].id
        for one, two in combinations(_different(rows, group), 2):
            if (prompt, frozenset((rows[one][1].text, rows[two][1].text))) not in asked:
                pairs.append((one, two, number))
    if not pairs:
        raise DataError("has no two answers to one prompt that differ and were not asked about yet", settings.data)
    first, second, group = zip(*pairs, strict=True)
    return Candidates(rows, np.array(first, np.intp), np.array(second, np.intp), list(group), members)


def _different(rows: Sequence[Scored], places: Sequence[int]) -> list[int]:
    """The places without those whose text stood before."""
    texts: dict[str, int] = {}
    for place in places:
        texts.setdefault(rows[place][1].text, place)
    return list(texts.values())


def _chosen(candidates: Candidates, count: int, settings: SelectSettings, seed: int) -> tuple[list[int], list[float]]:
    """Pairs, one of each prompt at most, and what each is worth by the method."""
    draw = np.random.default_rng(seed)
    if settings.method == "random":
        return _best(draw.random(len(candidates.group)), candidates, count, settings)
    if settings.method == "coverage":
        return _covering(candidates, count, settings, seed)
    reward = load_models(str(settings.reward), pick_device())
    prompts, completions = [p for p, _ in candidates.rows], [c for _, c in candidates.rows]
    scores = _member_scores(reward, prompts, completions)
    gaps = scores[:, candidates.first] - scores[:, candidates.second]
    if settings.method == "near_ties":
        value = np.where(_two_best(candidates, scores.mean(0)), selection.near_ties(gaps), -np.inf)
        return _best(value, candidates, count, settings)
    if settings.method == "information_gain" and settings.posterior == "laplace":
        return _by_laplace(candidates, reward, gaps.mean(0), count, settings)
    if len(scores) < 2:
        raise RecipeError(
            f"select: {settings.reward} is one reward model, and '{settings.method}' asks where the members of an "
            "ensemble differ; train it with members, or choose posterior: laplace"
        )
    by = selection.disagreement if settings.method == "disagreement" else selection.information_gain
    return _best(by(gaps), candidates, count, settings)


def _best(value: Array, candidates: Candidates, count: int, settings: SelectSettings) -> tuple[list[int], list[float]]:
    if settings.ask == "prompts":  # a prompt is worth what its pairs are worth on average
        group = np.array(candidates.group)
        value = (np.bincount(group, value) / np.maximum(np.bincount(group), 1))[group]
    chosen = selection.best_of_groups(value, candidates.group, count)
    return chosen, [float(value[index]) for index in chosen]


def _two_best(candidates: Candidates, scores: Array) -> Array:
    """Whether each pair [P] is the two completions of its prompt that score highest."""
    best: dict[int, set[int]] = {}
    for number in set(candidates.group):
        places = _different(candidates.rows, candidates.members[number])
        best[number] = set(sorted(places, key=lambda i: -scores[i])[:2])
    pairs = zip(candidates.first, candidates.second, candidates.group, strict=True)
    return np.array([{int(one), int(two)} == best[number] for one, two, number in pairs])


def _by_laplace(
    candidates: Candidates, reward: ModelReward | Ensemble, gaps: Array, count: int, settings: SelectSettings
) -> tuple[list[int], list[float]]:
    features = _features(reward, candidates.rows)
    posterior = selection.Posterior(features.shape[1], features.shape[1] + 1.0)  # the prior that heads are drawn from
    for difference, gap in _answered(reward, settings):
        posterior.answered(difference, gap)
    differences = features[candidates.first] - features[candidates.second]
    if settings.ask == "prompts":
        value = selection.gaussian_gain(gaps, posterior.variance(differences))
        return _best(value, candidates, count, settings)
    return selection.most_informative(posterior, differences, gaps, candidates.group, count)


def _answered(reward: ModelReward | Ensemble, settings: SelectSettings) -> list[tuple[Array, float]]:
    """Difference of features and gap of every pair that was asked about."""
    rows: list[Scored] = []
    pairs: list[tuple[int, int]] = []
    for source in settings.asked:
        for ranking in read_rankings(source):
            start = len(rows)
            made = [Completion(f"{ranking.id}/{i}", ranking.prompt.id, text) for i, text in enumerate(ranking.texts)]
            rows += [(ranking.prompt, completion) for completion in made]
            pairs += [(start + one, start + two) for one, two in combinations(range(len(made)), 2)]
    if not pairs:
        return []
    features = _features(reward, rows)
    scores = _member_scores(reward, [p for p, _ in rows], [c for _, c in rows]).mean(0)
    return [(features[one] - features[two], float(scores[one] - scores[two])) for one, two in pairs]


def _covering(candidates: Candidates, count: int, settings: SelectSettings, seed: int) -> tuple[list[int], list[float]]:
    """A pair of each prompt by chance, and of those what covers their answers' mean states."""
    if settings.reward is not None:
        source = load_models(settings.reward, pick_device())
    else:
        source = ModelReward(new_reward_model(str(settings.model), seed, pick_device()))
    order = np.random.default_rng(seed).random(len(candidates.group))
    drawn = selection.best_of_groups(order, candidates.group, len(candidates.members))
    features = _features(source, candidates.rows)
    states = (features[candidates.first[drawn]] + features[candidates.second[drawn]]) / 2.0
    chosen = [drawn[int(index)] for index in selection.coverage(states, count, seed)]
    return chosen, [0.0] * len(chosen)


def _member_scores(
    reward: ModelReward | Ensemble, prompts: Sequence[Prompt], completions: Sequence[Completion]
) -> Array:
    """Scores [M, N] by each member; one row for a reward model alone."""
    found = reward.score(prompts, completions)
    members = [part for name, part in found.parts.items() if name.startswith("member-")]
    return np.array(members or [found.values], dtype=np.float64)


def _features(reward: ModelReward | Ensemble, rows: Sequence[Scored]) -> Array:
    """What the heads read of each completion [N, D]; of an ensemble, the first member's."""
    model = reward.members[0] if isinstance(reward, Ensemble) else reward
    if not isinstance(model, ModelReward):
        raise RecipeError("select: reward is no reward model, and has no states to tell answers apart by")
    return model.features([p for p, _ in rows], [c for _, c in rows]).double().numpy()


def _worthwhile(
    chosen: list[int], worth: list[float], settings: SelectSettings
) -> tuple[list[int], list[float], float | None]:
    """Those that are worth asking, one at least, and the worth of the first that is not."""
    if not settings.stop_below:
        return chosen, worth, None
    kept = next((i for i, value in enumerate(worth) if value < settings.stop_below), len(worth))
    stopped = worth[kept] if kept < len(worth) else None
    kept = max(1, kept)
    return chosen[:kept], worth[:kept], stopped


def _asked_together(candidates: Candidates, pair: int, settings: SelectSettings) -> list[int]:
    if settings.ask == "prompts":
        return candidates.members[candidates.group[pair]]
    return [int(candidates.first[pair]), int(candidates.second[pair])]


def _record(places: Sequence[int], worth: float, candidates: Candidates) -> dict[str, Any]:
    prompt = candidates.rows[places[0]][0]
    ids = [candidates.rows[i][1].id for i in places]
    return {"prompt_id": prompt.id, "completion_ids": ids, "worth": worth}


STAGE = Stage(kind="select", summary="Choose the questions that are worth asking", Settings=SelectSettings, run=run)
