"""Policies against one another: win rates by each judge, and ratings of all of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np

from assent.errors import DataError
from assent.evaluation.bradley_terry import Game, bradley_terry
from assent.evaluation.win_rates import detectable_difference, from_outcomes, length_controlled
from assent.feedback.comparisons import judged_pairs, standings
from assent.intervals import clustered_interval
from assent.pipeline.stages.evidence import score_matches
from assent.pipeline.stages.measured import Measuring, Sampled
from assent.rewards.source import RewardSource, is_comparative
from assent.types import Ranking

Decide = Callable[[str, str], Sequence[float] | None]
"""Two policies -> outcome [n] of each prompt for the first, 1, 0.5 or 0; ``None`` where nobody judges them."""


def matches(policies: Sequence[str], reference: str) -> list[tuple[str, str]]:
    """Each policy against the reference, and then each against each other."""
    others = [name for name in policies if name != reference]
    return [(name, reference) for name in others] + list(itertools.combinations(others, 2))


def deciding(
    measuring: Measuring,
    judge: RewardSource | None,
    sampled: Mapping[str, Sampled],
    scores: Callable[[Sampled], Sequence[float] | None],
    tie_width: float,
) -> Decide:
    """By the scores that a judge gave to each answer by itself, or by asking one who compares answers about each two.

    Scores no further apart than ``tie_width`` tie.
    """

    def outcomes(one: str, two: str) -> Sequence[float] | None:
        ours, theirs = scores(sampled[one]), scores(sampled[two])
        if judge is not None and is_comparative(judge):
            texts = [[c.text for c in sampled[name].completions] for name in (one, two)]
            ours, theirs = score_matches(judge, measuring.prompts, *texts)
        if ours is None or theirs is None:
            return None
        gaps = np.asarray(ours, dtype=np.float64) - np.asarray(theirs, dtype=np.float64)
        return np.where(np.abs(gaps) <= tie_width, 0.5, gaps > 0).tolist()

    return cache(outcomes)  # a judge who is asked costs time and money


@dataclass(frozen=True)
class Arena:
    """Where policies meet: prompts, the reference, and how long each one's answers are."""

    ids: Sequence[str]
    reference: str
    lengths: Mapping[str, Sequence[int]]

    def win_rates(self, decide: Decide, policies: Sequence[str]) -> list[dict[str, Any]]:
        """A row for each two policies that are judged."""
        rows: list[dict[str, Any]] = []
        for one, two in matches(policies, self.reference):
            if (outcomes := decide(one, two)) is not None:
                rows.append(_row(one, two, self.ids, outcomes, self.lengths[one], self.lengths[two]))
        return rows

    def ratings(self, decide: Decide, policies: Sequence[str]) -> dict[str, Any] | None:
        """Bradley-Terry strengths on the scale of Elo; ``None`` where nobody judges, or they have no bound."""
        games = [
            Game(one, two, outcome, prompt)
            for one, two in matches(policies, self.reference)
            for prompt, outcome in zip(self.ids, decide(one, two) or (), strict=False)
        ]
        try:
            found = bradley_terry(games, self.reference)
        except ValueError:
            return None
        return {"anchor": self.reference, "ratings": [asdict(rating) for rating in found]}


def verdicts(rankings: Sequence[Ranking], reference: str, known: Sequence[str]) -> list[dict[str, Any]]:
    """By those who ranked the answers of an evaluation without knowing whose they are.

    Several verdicts on a prompt are clustered with it.  Raises :class:`DataError` for a ranking of other
    answers.
    """
    found: dict[tuple[str, str], list[tuple[str, float, int, int]]] = {}
    order = {pair: pair for pair in matches(known, reference)} | {(b, a): (a, b) for a, b in matches(known, reference)}
    for ranking in rankings:
        names = [_policy_of(identity, ranking, known) for identity in ranking.completion_ids]
        places = standings(ranking)
        for i, j in judged_pairs(ranking):
            pair = order[names[i], names[j]]
            first, second = (i, j) if names[i] == pair[0] else (j, i)
            outcome = 0.5 if places[i] == places[j] else float(places[first] < places[second])
            lengths = len(ranking.texts[first]), len(ranking.texts[second])
            found.setdefault(pair, []).append((ranking.prompt.id, outcome, *lengths))
    rows: list[dict[str, Any]] = []
    for pair in matches(known, reference):
        if pair in found:
            rows.append(_row(*pair, *zip(*found[pair], strict=True)))
    return rows


def kind_of_judges(rankings: Sequence[Ranking]) -> str:
    """``people``, ``simulated`` annotators, a ``model``; ``mixed`` where they are not all of one kind."""
    programs = {"simulated": "simulated", "judge": "model"}
    kinds = {programs.get(ranking.annotator.partition(":")[0], "people") for ranking in rankings}
    return kinds.pop() if len(kinds) == 1 else "mixed"


def reward_accuracy(
    arena: Arena, sampled: Mapping[str, Sampled], steps: Mapping[str, Mapping[str, Sampled]]
) -> list[dict[str, Any]]:
    """How often the reward prefers what the judge prefers, between each policy's answers and the reference's.

    Along a training this says whether the reward model still knows the samples that the policy writes by now; empty
    without reward or judge.
    """
    start = sampled[arena.reference]
    every = {f"{name}@{step}": item for name, found in steps.items() for step, item in found.items()}
    every |= {name: item for name, item in sampled.items() if name != arena.reference}
    rows: list[dict[str, Any]] = []
    for name, item in every.items():
        scores = (item.rewards, start.rewards, item.utilities, start.utilities)
        if any(each is None for each in scores):
            continue
        proxy, base, gold, base_gold = (np.asarray(each, dtype=np.float64) for each in scores)
        decided = np.flatnonzero(gold != base_gold)
        if len(decided) == 0:
            continue
        sides = np.sign(proxy - base)[decided] * np.sign(gold - base_gold)[decided]
        accuracy, low, high = clustered_interval((1 + sides) / 2, [arena.ids[int(i)] for i in decided])
        rows.append({"policy": name, "accuracy": accuracy, "low": low, "high": high, "n": len(decided)})
    return rows


def detectable(prompts: int) -> dict[str, float]:
    """What an evaluation of so many prompts can show at all."""
    return {"prompts": prompts, "power": 0.8, "difference": detectable_difference(prompts)}


def lengths_of(sampled: Mapping[str, Sampled]) -> dict[str, list[int]]:
    """Characters of each answer."""
    return {name: [len(c.text) for c in item.completions] for name, item in sampled.items()}


def _row(
    one: str, two: str, ids: Sequence[str], outcomes: Sequence[float], mine: Sequence[int], theirs: Sequence[int]
) -> dict[str, Any]:
    row: dict[str, Any] = {"policy": one, "against": two, **asdict(from_outcomes(ids, outcomes))}
    if (found := length_controlled(ids, outcomes, mine, theirs)) is not None:
        row |= dict(zip(("length_controlled", "length_controlled_low", "length_controlled_high"), found, strict=True))
    return row


def _policy_of(identity: str, ranking: Ranking, known: Sequence[str]) -> str:
    name = identity.partition(":")[0]
    if name not in known:
        raise DataError(
            f"ranking {ranking.id}: its answer '{identity}' is of none of {', '.join(known)}; verdicts are rankings of "
            "an evaluation's answers.jsonl"
        )
    return name
