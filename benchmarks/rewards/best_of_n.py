"""Best of n by one reward model and by ensembles of them: over-optimisation without training a policy.

The SFT model's answers to held-out films are drawn once, and every reward model scores them all.  At each n the figure
is the expected true reward of the answer that scores highest of n (Coste et al. 2023, arXiv:2310.02743, do the same).
The single arm is the mean over the members that differ by their seed alone, each by itself.  Of every arm the
coefficient, where it has one, and n are tuned on seeds that are tested on nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from assent.data.jsonl import write_jsonl
from assent.data.movie_world import utility
from assent.data.readers import read_completions
from assent.evaluation.best_of_n import best_of_n, powers_of_two
from assent.rewards.ensemble import EnsembleRule, Pooling
from assent.rewards.model import load_models
from benchmarks.rewards.members import KINDS, ensemble, wrong
from benchmarks.rewards.shared import RUN, TOKENS, draw, films, gained, shown, stage

FILMS, SAMPLES = 40, 512
SEEDS = tuple(range(6))
TUNING = (100, 101, 102, 103)
"""Seeds that every arm is tuned on, and none is tested on."""
RULES: Mapping[EnsembleRule, Sequence[float]] = {"mean": (0.0,), "worst": (0.0,), "variance": (0.3, 1.0, 3.0)}
"""Rule -> the coefficients tried; only the variance has one."""
SINGLE = "single"
ENSEMBLES: Mapping[str, tuple[str, EnsembleRule]] = {
    f"{kind}, {rule}": (kind, rule) for kind in KINDS for rule in RULES
}
ARMS = (SINGLE, *ENSEMBLES)
EVERY_N = powers_of_two(SAMPLES)
Matrix = NDArray[np.float64]


class Tuned(NamedTuple):
    """What did best on the tuning seeds."""

    reward: float
    coefficient: float
    n: int


def measure(seed: int) -> dict[str, Any]:
    """Each arm's true reward and proxy by n, and how far the members of each kind err together."""
    arms: dict[str, Any] = {}
    for arm in ARMS:
        tuned = _tuned(arm)
        true, proxy = _curves(arm, tuned.coefficient, seed)
        arms[arm] = {**tuned._asdict(), "true": true, "proxy": proxy}
    return {"wrong": wrong(seed), "together": {kind: _together(_scores(kind, seed)) for kind in KINDS}, "arms": arms}


def report(found: Mapping[int, Mapping[str, Any]]) -> dict[str, float]:
    """The gain over one model of the ensemble, by worst case or variance, that did best on the tuning seeds."""
    every = list(found.values())
    print(
        f"Best of n from {SAMPLES} answers to each of {FILMS} films; wrong labels {shown([e['wrong'] for e in every])}"
    )
    for kind in KINDS:
        print(f"{kind:9} errors of two members correlate by {shown([e['together'][kind] for e in every])}")
    print(f"{'mean true reward by n':21}" + "".join(f"{n:>7}" for n in EVERY_N))
    for arm in ARMS:
        means = np.mean([each["arms"][arm]["true"] for each in every], axis=0)
        first = every[0]["arms"][arm]
        tuned = f"coefficient {first['coefficient']:g}, n {first['n']}: {first['reward']:.3f} on the tuning seeds"
        print(f"{arm:21}" + "".join(f"{mean:7.3f}" for mean in means) + f" ({tuned})")
    for arm in ARMS:
        print(f"{arm:21} of {SAMPLES}: {shown([_at(each, arm, SAMPLES) for each in every])}")
    gains = {arm: [_at(each, arm, SAMPLES) - _at(each, SINGLE, SAMPLES) for each in every] for arm in ENSEMBLES}
    for arm in ENSEMBLES:
        gained(f"{arm} over single, both of {SAMPLES}", gains[arm])
        gained(f"{arm} over single, each at its n", [_at(each, arm) - _at(each, SINGLE) for each in every])
    lines = {name: {arm: [each["arms"][arm][name] for each in every] for arm in ARMS} for name in ("true", "proxy")}
    draw(
        RUN / "best-of-n.png",
        {"true reward": lines["true"], "reward of the proxy": lines["proxy"]},
        EVERY_N,
        "n, answers that the proxy chooses from",
        logarithmic=True,
    )
    careful = [arm for arm, (_, rule) in ENSEMBLES.items() if rule != "mean"]
    chosen = max(careful, key=lambda arm: every[0]["arms"][arm]["reward"])
    print(f"of worst case and variance, the best on the tuning seeds: {chosen}")
    return {"best_of_n_gain": float(np.mean(gains[chosen]))}


def _at(found: Mapping[str, Any], arm: str, n: int | None = None) -> float:
    """The true reward of an arm at ``n``, or at the n that it was tuned to."""
    kept = found["arms"][arm]
    return float(kept["true"][EVERY_N.index(kept["n"] if n is None else n)])


@cache
def _answers() -> tuple[list[Any], list[Any], Matrix]:
    """Prompts, answers and the true reward of each [films, samples]."""
    folder = RUN / "best-of-n"
    folder.mkdir(parents=True, exist_ok=True)
    write_jsonl(folder / "films.jsonl", films("chosen", FILMS, 9, held_out=True))
    asked = {"model": str(RUN / "sft"), "data": str(folder / "films.jsonl"), "n": SAMPLES, "max_new_tokens": TOKENS}
    rows = read_completions(stage("sample", asked, folder / "sample", 9) / "completions.jsonl")
    prompts, answers = map(list, zip(*rows, strict=True))
    true = [utility(prompt, answer.text) for prompt, answer in zip(prompts, answers, strict=True)]
    return prompts, answers, np.reshape(true, (FILMS, SAMPLES))


@cache
def _scores(kind: str, seed: int) -> Matrix:
    """What each member says of each answer [members, films, samples]."""
    folder = ensemble(kind, seed)
    path = RUN / f"best-of-n/{kind}-{seed}.npy"
    if not path.exists():
        prompts, answers, true = _answers()
        parts = load_models(str(folder)).score(prompts, answers).parts
        np.save(path, np.reshape(list(parts.values()), (len(parts), *true.shape)))
    return np.load(path)


def _curves(arm: str, coefficient: float, seed: int) -> tuple[list[float], list[float]]:
    """True reward and proxy by n."""
    if arm == SINGLE:
        proxies = list(_scores("seeds", seed))
    else:
        kind, rule = ENSEMBLES[arm]
        scores = _scores(kind, seed)
        pooled = Pooling(rule, coefficient)(scores.reshape(len(scores), -1))
        proxies = [np.reshape(pooled.values, scores.shape[1:])]
    true = _answers()[2]
    by_true = [float(np.mean([best_of_n(proxy, true, n) for proxy in proxies])) for n in EVERY_N]
    return by_true, [float(np.mean([best_of_n(proxy, proxy, n) for proxy in proxies])) for n in EVERY_N]


@cache
def _tuned(arm: str) -> Tuned:
    """The coefficient and n of the highest true reward, mean over the tuning seeds."""
    tried = RULES[ENSEMBLES[arm][1]] if arm in ENSEMBLES else (0.0,)
    means = {c: np.mean([_curves(arm, c, seed)[0] for seed in TUNING], axis=0) for c in tried}
    return max(Tuned(float(value), c, n) for c, row in means.items() for n, value in zip(EVERY_N, row, strict=True))


def _together(scores: Matrix) -> float:
    """Mean correlation of two members' errors: what is left of their scores of the answers to a film once a line in
    the true reward is taken off."""
    true = _answers()[2]
    known = (true - true.mean(-1, keepdims=True)).ravel()
    within = (scores - scores.mean(-1, keepdims=True)).reshape(len(scores), -1)
    errors = within - np.outer(within @ known / (known @ known), known)
    return float(np.corrcoef(errors)[np.triu_indices(len(errors), 1)].mean())
