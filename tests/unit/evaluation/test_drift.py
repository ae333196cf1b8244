"""A reward model beside the one before it, by hand and against independent intervals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t as student

from assent.evaluation.drift import drift, paid


def test_accuracy_counts_an_equal_score_half():
    found = drift("one", [1.0, -0.5, 0.0, 2.0], None, "abcd")
    assert found.accuracy.value == 2.5 / 4
    assert (found.n, found.before, found.change, found.lost) == (4, None, None, False)


def test_the_change_is_on_the_same_comparisons():
    draw = np.random.default_rng(0)
    before = np.where(draw.random(60) < 0.8, 1.0, -1.0)
    now = np.where(draw.random(60) < 0.1, -before, before)
    found = drift("one", now, before, range(60))
    right, then = (now > 0).astype(float), (before > 0).astype(float)
    half = student.ppf(0.975, 59) * (right - then).std(ddof=1) / 60**0.5
    assert found.change is not None
    assert found.before is not None
    assert found.change.value == pytest.approx(right.mean() - then.mean())
    assert found.change.high - found.change.value == pytest.approx(half)
    assert found.before.value == then.mean()


def test_what_is_lost_is_told_from_chance():
    before = np.ones(100)
    worse, hardly = before.copy(), before.copy()
    worse[:20], hardly[:1] = -1.0, -1.0
    assert drift("one", worse, before, range(100)).lost
    assert not drift("one", hardly, before, range(100)).lost
    assert not drift("one", worse, before, [0] * 100).lost  # all of one prompt: nothing can be told


def test_what_an_answer_was_worth():
    better = drift("one", [1.0] * 10, [1.0] * 6 + [-1.0] * 4, range(10))
    same = drift("two", [1.0] * 30, [1.0] * 30, range(30))
    assert paid([better, same], 50) == pytest.approx(0.4 * 10 / 40 * 100 / 50)
    assert paid([drift("one", [1.0], None, "a")], 50) is None
    assert paid([better], 0) is None
