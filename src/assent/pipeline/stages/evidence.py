"""How good the reward model and the feedback are, as sections of ``evaluation.json``."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any

from assent.evaluation.accuracy import pairwise_accuracy
from assent.evaluation.calibration import (
    accuracy_by,
    accuracy_by_number,
    as_rows,
    fit_temperature,
    length_bias,
    noise_ceiling,
    repeated_agreement,
)
from assent.feedback.agreement import krippendorff_alpha
from assent.feedback.answers import kind_of
from assent.feedback.comparisons import comparisons_from_rankings
from assent.feedback.ratings import places
from assent.intervals import wilson_interval
from assent.rewards.lengths import doublings
from assent.rewards.source import RewardSource, Scores, is_comparative, score_all
from assent.types import Comparison, Completion, Judgement, Prompt, Ranking


def reward_model_quality(
    reward: RewardSource, comparisons: Sequence[Comparison], truth: RewardSource | None
) -> dict[str, Any]:
    """Accuracy on held-out comparisons, beside the ceiling that annotator noise sets; where it errs, and by what.

    The ceiling is the truth's own accuracy where that is known, else what the agreement of annotators on the same two
    answers implies, else missing.  A part of the reward that is named as a comparison's criterion (the head of a model
    of several criteria) is what that comparison is measured by.
    """
    chosen, rejected = (_by_criterion(side, comparisons) for side in _scores(reward, comparisons))
    true = _score(truth, comparisons) if truth else (None, None)
    quality = pairwise_accuracy(
        chosen.values,
        rejected.values,
        ties=[c.tie for c in comparisons],
        true_chosen=true[0],
        true_rejected=true[1],
        margins=[c.margin for c in comparisons],
        prompt_ids=[c.prompt.id for c in comparisons],
    )
    out = {**asdict(quality), **_faults(comparisons, chosen, rejected)}
    if quality.ceiling is None:
        del out["ceiling"]
        decided = [c for c in comparisons if not c.tie]
        agreed = repeated_agreement([(c.prompt.id, c.chosen, c.rejected, c.annotator) for c in decided])
        if agreed is not None:
            out |= {"ceiling": noise_ceiling(agreed[0]), "ceiling_pairs": agreed[1]}
    return out


def score_gaps(reward: RewardSource, comparisons: Sequence[Comparison]) -> list[float]:
    """By how much the chosen answer scores higher [n], by each comparison's criterion where the reward has it."""
    chosen, rejected = (_by_criterion(side, comparisons).values for side in _scores(reward, comparisons))
    return [ours - theirs for ours, theirs in zip(chosen, rejected, strict=True)]


def _by_criterion(scores: Scores, comparisons: Sequence[Comparison]) -> Scores:
    values = (scores.parts.get(c.criterion, scores.values)[place] for place, c in enumerate(comparisons))
    return replace(scores, values=tuple(values))


def _faults(comparisons: Sequence[Comparison], chosen: Scores, rejected: Scores) -> dict[str, Any]:
    """Of the decided comparisons: how sure the scores are, what length has to do with them, and where they err."""
    decided = [place for place, comparison in enumerate(comparisons) if not comparison.tie]
    there = [comparisons[place] for place in decided]
    gaps = [chosen.values[place] - rejected.values[place] for place in decided]
    prompts = [c.prompt.id for c in there]
    lengths = doublings([len(c.chosen) for c in there]) - doublings([len(c.rejected) for c in there])
    groups = {
        "criterion": accuracy_by(gaps, [c.criterion for c in there], prompts),
        "annotator": accuracy_by(gaps, [c.annotator for c in there], prompts, least=20),
        "length": accuracy_by_number(gaps, lengths, prompts, unit=" doublings"),
    }
    out: dict[str, Any] = {"temperature": asdict(fit_temperature(gaps, prompts))}
    bias = length_bias(gaps, [len(c.chosen) for c in there], [len(c.rejected) for c in there])
    if bias is not None:
        out["length"] = asdict(bias)
    if chosen.uncertainty is not None and rejected.uncertainty is not None:
        unsure = [math.hypot(chosen.uncertainty[place], rejected.uncertainty[place]) for place in decided]
        groups["uncertainty"] = accuracy_by_number(gaps, unsure, prompts)
        out["uncertainty"] = sum(unsure) / len(unsure)
    return out | {"by": as_rows(groups)}


def classifier_quality(reward: RewardSource, judgements: Sequence[Judgement]) -> dict[str, Any]:
    """Accuracy of the reward's sign on held-out 0/1 labels, with a Wilson interval."""
    scores = _score_texts(reward, [j.prompt for j in judgements], [j.response for j in judgements]).values
    right = sum((score > 0) == (j.label > 0.5) for score, j in zip(scores, judgements, strict=True))
    low, high = wilson_interval(right, len(judgements))
    return {"accuracy": right / len(judgements), "low": low, "high": high, "n": len(judgements)}


def feedback_quality(rankings: Sequence[Ranking], truth: RewardSource | None) -> dict[str, Any]:
    """Who answered how much, how far they agree, and how often each agrees with the truth where that is known."""
    comparisons = comparisons_from_rankings(rankings)
    answers = Counter(ranking.annotator for ranking in rankings)
    ranks = [rank for ranking in rankings for rank in ranking.ranks]
    agreed = _agreement_with_truth(comparisons, truth) if truth else {}
    out: dict[str, Any] = {
        "annotators": [
            {"name": name, "answers": count} | ({"agreement_with_truth": agreed[name]} if name in agreed else {})
            for name, count in sorted(answers.items())
        ],
        "rankings": len(rankings),
        "comparisons": len(comparisons),
        "ties_share": sum(c.tie for c in comparisons) / max(1, len(comparisons)),
        "failed_share": sum(rank is None for rank in ranks) / max(1, len(ranks)),
        "simulated": _simulated(answers),
    }
    alpha = krippendorff_alpha(places(rankings), "ordinal", resamples=0)
    return out if alpha is None else {**out, "alpha": alpha.value}


def _simulated(annotators: Iterable[str]) -> bool:
    """Whether what stands for people, judges apart where there are others, is programs."""
    kinds = {kind_of(name) for name in annotators}
    return (kinds - {"judge"} or kinds) <= {"simulated"}


def _agreement_with_truth(comparisons: Sequence[Comparison], truth: RewardSource) -> dict[str, float]:
    decided = [c for c in comparisons if not c.tie]
    chosen, rejected = _score(truth, decided)
    votes: dict[str, list[float]] = defaultdict(list)
    for comparison, a, b in zip(decided, chosen, rejected, strict=True):
        votes[comparison.annotator].append(1.0 if a > b else 0.5 if a == b else 0.0)
    return {name: sum(values) / len(values) for name, values in votes.items()}


def _score(source: RewardSource, comparisons: Sequence[Comparison]) -> tuple[list[float], list[float]]:
    chosen, rejected = _scores(source, comparisons)
    return list(chosen.values), list(rejected.values)


def _scores(source: RewardSource, comparisons: Sequence[Comparison]) -> tuple[Scores, Scores]:
    prompts = [c.prompt for c in comparisons]
    chosen, rejected = [c.chosen for c in comparisons], [c.rejected for c in comparisons]
    if is_comparative(source):
        ours, theirs = score_matches(source, prompts, chosen, rejected)
        return Scores(tuple(ours)), Scores(tuple(theirs))
    return _score_texts(source, prompts, chosen), _score_texts(source, prompts, rejected)


def score_matches(
    source: RewardSource, prompts: Sequence[Prompt], ours: Sequence[str], theirs: Sequence[str]
) -> tuple[list[float], list[float]]:
    """The scores of two texts of each prompt, set beside one another."""
    pairs = [
        Completion(f"{place}/{side}", str(place), text)
        for place, both in enumerate(zip(ours, theirs, strict=True))
        for side, text in enumerate(both)
    ]
    values = score_all(source, [prompt for prompt in prompts for _ in range(2)], pairs).values
    return list(values[0::2]), list(values[1::2])


def _score_texts(source: RewardSource, prompts: Sequence[Prompt], texts: Sequence[str]) -> Scores:
    completions = [Completion(str(i), p.id, text) for i, (p, text) in enumerate(zip(prompts, texts, strict=True))]
    return score_all(source, prompts, completions)
