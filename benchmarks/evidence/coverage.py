"""How often 95 % intervals contain the truth, on simulated judgements of known strength."""

from __future__ import annotations

import numpy as np

from assent.evaluation.bradley_terry import ELO, Game, bradley_terry
from assent.evaluation.win_rates import from_outcomes, length_controlled

REPETITIONS = 2000
STRENGTHS = {"base": -0.6, "sft": 0.0, "dpo": 0.9, "ppo": 1.3}
"""In logits."""


def win_rate_coverage(
    prompts: int = 100, samples: int = 3, rate: float = 0.7, ties: float = 0.15, seed: int = 0
) -> float:
    """Several pairs a prompt, whose own win rates are Beta distributed around ``rate``, and ties."""
    rng = np.random.Generator(np.random.Philox(seed))
    names, truth = np.repeat(np.arange(prompts), samples).tolist(), rate * (1 - ties) + ties / 2
    covered = 0
    for _ in range(REPETITIONS):
        of_prompt = rng.beta(2 * rate, 2 * (1 - rate), prompts)
        outcomes = (rng.random((prompts, samples)) < of_prompt[:, None]).astype(float)
        outcomes[rng.random(outcomes.shape) < ties] = 0.5
        found = from_outcomes(names, outcomes.ravel().tolist())
        covered += found.low <= truth <= found.high
    return covered / REPETITIONS


def length_controlled_coverage(prompts: int = 200, strength: float = 0.6, seed: int = 0) -> float:
    """A judge who likes length: the truth is the win rate at equal length."""
    rng = np.random.Generator(np.random.Philox(seed))
    truth, covered, found = 1 / (1 + np.exp(-strength)), 0, 0
    for _ in range(REPETITIONS):
        a, b = rng.integers(20, 80, prompts), rng.integers(10, 60, prompts)
        logits = strength + 1.2 * np.tanh((a - b) / (a - b).std())
        outcomes = (rng.random(prompts) < 1 / (1 + np.exp(-logits))).astype(float)
        held = length_controlled(range(prompts), outcomes.tolist(), a.tolist(), b.tolist())
        if held is not None:
            found, covered = found + 1, covered + (held[1] <= truth <= held[2])
    return float(covered / found)


def bradley_terry_coverage(prompts: int = 60, ties: float = 0.1, spread: float = 0.0, seed: int = 0) -> float:
    """Every pair of four policies once a prompt; the share over all policies but the anchor.

    With a ``spread``, each prompt shifts the strengths by its own normal draw, so that its comparisons are dependent.
    With it, or with ties, which draw every win rate towards a half, the truth is the strength at the mean win rate,
    taken from many prompts.
    """
    rng = np.random.Generator(np.random.Philox(seed))
    truth = (
        _strengths(np.random.Generator(np.random.Philox(seed + 1)), 20_000, ties, spread)
        if spread or ties
        else STRENGTHS
    )
    covered = []
    for _ in range(REPETITIONS):
        for rating in bradley_terry(_tournament(rng, prompts, ties, spread), "sft"):
            if rating.policy != "sft":
                covered.append(rating.low <= ELO * (truth[rating.policy] - truth["sft"]) <= rating.high)
    return float(np.mean(covered))


def _strengths(rng: np.random.Generator, prompts: int, ties: float, spread: float) -> dict[str, float]:
    return {rating.policy: rating.elo / ELO for rating in bradley_terry(_tournament(rng, prompts, ties, spread), "sft")}


def _tournament(rng: np.random.Generator, prompts: int, ties: float, spread: float) -> list[Game]:
    names = list(STRENGTHS)
    pairs = [(i, j) for i in range(len(names)) for j in range(i + 1, len(names))]
    levels = np.array(list(STRENGTHS.values())) + spread * rng.standard_normal((prompts, len(names)))
    first, second = np.array(pairs).T
    won = rng.random((prompts, len(pairs))) < 1 / (1 + np.exp(levels[:, second] - levels[:, first]))
    outcomes = np.where(rng.random(won.shape) < ties, 0.5, won)
    return [
        Game(names[i], names[j], float(outcomes[prompt, k]), prompt)
        for prompt in range(prompts)
        for k, (i, j) in enumerate(pairs)
    ]


def coverage() -> dict[str, float]:
    """Every kind of interval."""
    return {
        "win_rate": win_rate_coverage(),
        "win_rate_one_sample": win_rate_coverage(samples=1, ties=0.0),
        "win_rate_near_one": win_rate_coverage(prompts=200, samples=1, rate=0.92),
        "length_controlled": length_controlled_coverage(),
        "bradley_terry": bradley_terry_coverage(ties=0.0),
        "bradley_terry_ties": bradley_terry_coverage(),
        "bradley_terry_dependent": bradley_terry_coverage(spread=1.0),
    }
