"""How good the reward model and the feedback are, as sections of ``evaluation.json``."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from assent.evaluation.accuracy import pairwise_accuracy
from assent.feedback.agreement import krippendorff_alpha
from assent.feedback.comparisons import comparisons_from_rankings
from assent.feedback.ratings import places
from assent.intervals import wilson_interval
from assent.rewards.source import RewardSource, is_comparative, score_all
from assent.types import Comparison, Completion, Judgement, Prompt, Ranking


def reward_model_quality(
    reward: RewardSource, comparisons: Sequence[Comparison], truth: RewardSource | None
) -> dict[str, Any]:
    """Accuracy on held-out comparisons, beside the ceiling that annotator noise sets where the truth is known."""
    scored = [_score(source, comparisons) if source else None for source in (reward, truth)]
    assert scored[0] is not None
    quality = pairwise_accuracy(
        scored[0][0],
        scored[0][1],
        ties=[c.tie for c in comparisons],
        true_chosen=scored[1][0] if scored[1] else None,
        true_rejected=scored[1][1] if scored[1] else None,
        margins=[c.margin for c in comparisons],
        prompt_ids=[c.prompt.id for c in comparisons],
    )
    out = asdict(quality)
    if quality.ceiling is None:
        del out["ceiling"]
    return out


def classifier_quality(reward: RewardSource, judgements: Sequence[Judgement]) -> dict[str, Any]:
    """Accuracy of the reward's sign on held-out 0/1 labels, with a Wilson interval."""
    scores = _score_texts(reward, [j.prompt for j in judgements], [j.response for j in judgements])
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
        "simulated": all(name.startswith("simulated:") for name in answers),
    }
    alpha = krippendorff_alpha(places(rankings), "ordinal", resamples=0)
    return out if alpha is None else {**out, "alpha": alpha.value}


def _agreement_with_truth(comparisons: Sequence[Comparison], truth: RewardSource) -> dict[str, float]:
    decided = [c for c in comparisons if not c.tie]
    chosen, rejected = _score(truth, decided)
    votes: dict[str, list[float]] = defaultdict(list)
    for comparison, a, b in zip(decided, chosen, rejected, strict=True):
        votes[comparison.annotator].append(1.0 if a > b else 0.5 if a == b else 0.0)
    return {name: sum(values) / len(values) for name, values in votes.items()}


def _score(source: RewardSource, comparisons: Sequence[Comparison]) -> tuple[list[float], list[float]]:
    prompts = [c.prompt for c in comparisons]
    texts = [[c.chosen for c in comparisons], [c.rejected for c in comparisons]]
    if is_comparative(source):
        return score_matches(source, prompts, *texts)
    chosen, rejected = (_score_texts(source, prompts, side) for side in texts)
    return chosen, rejected


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


def _score_texts(source: RewardSource, prompts: Sequence[Prompt], texts: Sequence[str]) -> list[float]:
    completions = [Completion(str(i), p.id, text) for i, (p, text) in enumerate(zip(prompts, texts, strict=True))]
    return list(score_all(source, prompts, completions).values)
