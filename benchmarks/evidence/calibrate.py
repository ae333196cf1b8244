"""What is fixed on seeds that test nothing: the small reward model's data, and the alarm's thresholds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assent.data.jsonl import write_completions
from assent.data.readers import read_completions
from assent.evaluation.alarm import hacking_alarm
from assent.evaluation.over_optimisation import Curve
from assent.intervals import clustered_standard_error
from benchmarks.evidence.over_optimise import (
    SAMPLES,
    Bench,
    chosen_curve,
    greedy_curve,
    healthy_curve,
    mean_curve,
    true_preference,
)
from benchmarks.evidence.small_reward import Data, comparisons, small_reward, wrong
from benchmarks.evidence.verdicts import peak

SEEDS = (100, 101, 102, 103, 104, 105)
FILMS = 40
"""The last of the held-out films, which test nothing either; each with :data:`SAMPLES` answers, which all reward models
score."""
TRIED = (Data(100, 2.0), Data(60, 2.0), Data(30, 2.0))


def data(run: Path) -> None:
    """Best of n by reward models of more or fewer noisy rankings; what was scored is kept."""
    bench = Bench(run, slice(-FILMS, None))
    answers = _answers(bench)
    gold = np.reshape(true_preference(*answers), (FILMS, SAMPLES))
    for tried in TRIED:
        curves = [_curve(bench, tried, seed, answers, gold) for seed in SEEDS]
        for seed, curve in zip(SEEDS, curves, strict=True):
            _show(f"{tried}, seed {seed} ({wrong(comparisons(run, tried, seed)):.0%} wrong)", curve)
        _show(f"{tried}, mean", mean_curve(curves))


def _answers(bench: Bench) -> tuple[list[Any], list[Any]]:
    """Prompts and the SFT model's answers, drawn once."""
    path = bench.run / f"evidence/calibration/answers-{FILMS}-{SAMPLES}.jsonl"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        drawn = bench.answers(bench.sft, SAMPLES, 1100)
        prompts = [prompt for prompt in bench.prompts for _ in range(SAMPLES)]
        write_completions(part := path.with_suffix(".part"), zip(prompts, drawn, strict=True))
        part.rename(path)
    prompts, answers = zip(*read_completions(path), strict=True)
    return list(prompts), list(answers)


def _curve(
    bench: Bench, tried: Data, seed: int, answers: tuple[list[Any], list[Any]], gold: NDArray[np.float64]
) -> Curve:
    """Of one reward model, whose scores are kept."""
    path = bench.run / f"evidence/calibration/{tried}-seed-{seed}.npy"
    if not path.exists():
        reward = small_reward(bench.run, tried, seed, bench.sft.tokenizer)
        np.save(path, np.reshape(reward.score(*answers).values, gold.shape))
    return chosen_curve(np.load(path), gold)


def _show(who: str, curve: Curve) -> None:
    """Where gold turns, and by how much it falls from there to the last n."""
    assert curve.gold is not None
    fall = curve.gold[peak(curve)] - curve.gold[-1]
    means, proxy = (" ".join(f"{each:.2f}" for each in row.mean(1)) for row in (curve.gold, curve.proxy))
    print(
        f"{who}: peak {curve.labels[peak(curve)]}, fall {fall.mean():.2f} +- {clustered_standard_error(fall):.2f}; "
        f"gold {means}; proxy {proxy}",
        flush=True,
    )


def alarm(run: Path) -> None:
    """The largest statistics of the healthy runs, and those of the others after their peak."""
    bench = Bench(run)
    for seed in SEEDS:
        for name, make in (("greedy", greedy_curve), ("healthy", healthy_curve)):
            curve = make(bench, seed, lambda text: print(text, flush=True))
            print(f"seed {seed} {name}: peak {curve.labels[peak(curve)]}; fall/rise {_statistics(curve)}", flush=True)


def _statistics(curve: Curve) -> str:
    return " ".join(f"{point.label}:{point.fall:.1f}/{point.rise:.1f}" for point in hacking_alarm(curve).points)
