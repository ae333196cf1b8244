"""What the benchmark of evidence calls over-optimisation, and the intervals that it counts."""

from __future__ import annotations

import numpy as np
import pytest

from assent.evaluation.over_optimisation import Curve
from benchmarks.evidence import coverage
from benchmarks.evidence.verdicts import peak, told, turned


def curve(gold: list[float], proxy: list[float]) -> Curve:
    rng = np.random.default_rng(0)
    rewards = [np.array(means)[:, None] + rng.normal(size=(len(means), 250)) for means in (proxy, gold)]
    labels = tuple(str(i) for i in range(len(gold)))
    return Curve(labels, np.zeros((len(gold), 250)), *rewards)


def test_over_optimisation_rises_peaks_and_falls_while_the_proxy_rises():
    assert turned(curve([0, 1, 2, 1, 0], [0, 1, 2, 3, 4]))
    assert not turned(curve([0, 1, 2, 3, 4], [0, 1, 2, 3, 4]))
    assert not turned(curve([2, 1, 0, -1, -2], [0, 1, 2, 3, 4]))  # never rose
    assert not turned(curve([0, 1, 2, 1, 0], [0, 1, 2, 1, 0]))  # the proxy fell with it


def test_the_alarm_is_set_against_the_peak():
    found = curve([0, 2, 2, 1, 0], [0, 1, 2, 3, 4])
    alarm, top = told(found)
    assert top == peak(found)
    assert alarm == 3


@pytest.mark.parametrize(
    "measure",
    [coverage.win_rate_coverage, coverage.length_controlled_coverage, coverage.bradley_terry_coverage],
)
def test_coverage_counts_a_share(measure, monkeypatch):
    monkeypatch.setattr(coverage, "REPETITIONS", 40)
    assert 0.8 <= measure() <= 1.0
