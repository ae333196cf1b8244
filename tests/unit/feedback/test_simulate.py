"""Simulated annotators: exact without noise, Bradley-Terry with it, and the same at every call."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from assent.errors import DataError
from assent.feedback.simulate import Seen, SimulatedAnnotator


def perfect(**failings):
    return SimulatedAnnotator("simulated:ann", noise=0.0, **failings)


def test_perfect_reader_orders_by_utility():
    assert perfect().rank("q", [0.5, 3.0, -1.0, 2.0]) == (3, 1, 4, 2)


def test_equal_utilities_tie():
    assert perfect().rank("q", [1.0, 2.0, 1.0]) == (2, 1, 2)


def test_tie_width_counts_from_the_best_of_the_rank():
    # 3.0 and 2.5 are 0.5 apart: tie.  2.25 is 0.75 below 3.0: a new rank, although only 0.25 below 2.5.
    assert perfect(tie_width=0.5).rank("q", [2.25, 3.0, 2.5, 1.75]) == (2, 1, 1, 2)


def test_failed_below_the_bar():
    assert perfect(fail_below=0.0).rank("q", [-0.1, 0.0, 5.0, -9.0]) == (None, 2, 1, None)
    assert perfect(fail_below=10.0).rank("q", [1.0, 2.0]) == (None, None)


def test_failed_answer_does_not_tie_with_one_that_passed():
    assert perfect(fail_below=0.0, tie_width=1.0).rank("q", [0.1, -0.1]) == (1, None)


def test_position_bias_lifts_the_first_shown():
    # Bonuses are 1.0, 0.5 and 0.0: 0.0 + 1.0 > 0.9 + 0.0 > 0.3 + 0.5.
    assert perfect(position_bias=1.0).rank("q", [0.0, 0.3, 0.9]) == (1, 3, 2)


def test_deterministic_and_independent_of_order_of_calls():
    noisy = SimulatedAnnotator("simulated:ann", noise=1.0)
    alone = noisy.rank("q7", [0.0, 0.1, 0.2, 0.3], seed=3)
    for other in range(5):
        noisy.rank(f"q{other}", [0.0, 1.0], seed=3)
    assert noisy.rank("q7", [0.0, 0.1, 0.2, 0.3], seed=3) == alone
    assert alone == (1, 2, 4, 3), "the same on every machine"


@pytest.mark.parametrize("change", ["seed", "question", "name"])
def test_draws_differ_with_seed_question_and_name(change):
    flat = [0.0] * 8
    one = SimulatedAnnotator("simulated:a").rank("q", flat, seed=0)
    name, question, seed = "simulated:a", "q", 0
    if change == "seed":
        seed = 1
    elif change == "question":
        question = "r"
    else:
        name = "simulated:b"
    assert SimulatedAnnotator(name).rank(question, flat, seed=seed) != one


@pytest.mark.parametrize(("gap", "noise"), [(1.0, 1.0), (1.0, 0.5), (0.0, 2.0)])
def test_noise_makes_bradley_terry(gap, noise):
    annotator = SimulatedAnnotator("simulated:ann", noise=noise)
    n = 4000
    wins = sum(annotator.rank(f"q{i}", [gap, 0.0]) == (1, 2) for i in range(n))
    expected = 1 / (1 + math.exp(-gap / noise))
    assert binomtest(wins, n, expected).pvalue > 1e-4


def test_noise_has_mean_zero():
    # With mean-zero Gumbel noise, P(perceived < 0) = P(G < gamma) = exp(-exp(-gamma)) = 0.5704.
    annotator = SimulatedAnnotator("simulated:ann", noise=1.0, fail_below=0.0)
    n = 4000
    failed = sum(annotator.rank(f"q{i}", [0.0, 0.0])[0] is None for i in range(n))
    assert binomtest(failed, n, math.exp(-math.exp(-np.euler_gamma))).pvalue > 1e-4


def test_lazy_answers_ignore_utility():
    lazy = perfect(laziness=1.0, fail_below=0.0, tie_width=9.0)
    orders = [lazy.rank(f"q{i}", [-5.0, 0.0, 5.0]) for i in range(3000)]
    assert all(sorted(order) == [1, 2, 3] for order in orders)
    assert binomtest(sum(order[0] == 1 for order in orders), 3000, 1 / 3).pvalue > 1e-4


def test_laziness_is_the_share_not_read():
    half = perfect(laziness=0.25)
    right = sum(half.rank(f"q{i}", [1.0, 0.0]) == (1, 2) for i in range(4000))
    assert binomtest(right, 4000, 0.75 + 0.25 / 2).pvalue > 1e-4


def ranks(annotator, count, utilities, **known):
    return [annotator.rank(f"q{i}", utilities, 0, Seen(**known)) for i in range(count)]


def test_an_adversary_says_the_opposite():
    assert perfect(contrariness=1.0).rank("q", [0.5, 3.0, -1.0]) == (2, 3, 1)
    third = perfect(contrariness=1 / 3)
    wrong = sum(found == (2, 1) for found in ranks(third, 3000, [1.0, 0.0]))
    assert binomtest(wrong, 3000, 1 / 3).pvalue > 1e-4
    assert perfect(contrariness=1.0).label("q", [-2.0, 1.0]) == (1, 0)


def test_spam_is_the_order_shown():
    assert perfect(spam=1.0).rank("q", [0.0, 9.0, 3.0]) == (1, 2, 3)
    assert perfect(spam=1.0).rate("q", [-9.0, 0.0]) == (5, 5)
    assert perfect(spam=1.0).prefer("q", [0.0, 9.0]) == -1


def test_longer_answers_gain_by_doublings():
    # 3 doublings apart: 0.5 each is 1.5, more than the 1.0 by which the short one is better, less than 2.0.
    long = perfect(length_bias=0.5)
    assert long.rank("q", [1.0, 0.0], 0, Seen(lengths=(99, 799))) == (2, 1)
    assert long.rank("q", [2.0, 0.0], 0, Seen(lengths=(99, 799))) == (1, 2)
    assert long.rank("q", [1.0, 0.0]) == (1, 2)


def test_noise_grows_with_the_work_done():
    tired = SimulatedAnnotator("simulated:ann", noise=0.5, drift=3.0)
    for done, noise in ((0.0, 0.5), (0.5, 1.25), (1.0, 2.0)):
        wins = sum(found == (1, 2) for found in ranks(tired, 3000, [1.0, 0.0], done=done))
        assert binomtest(wins, 3000, 1 / (1 + math.exp(-1.0 / noise))).pvalue > 1e-4


def test_noise_may_differ_by_criterion():
    who = SimulatedAnnotator("simulated:ann", noise=0.0, noise_on={"kind": 5.0})
    assert set(ranks(who, 200, [1.0, 0.0], criterion="true")) == {(1, 2)}
    assert len(set(ranks(who, 200, [1.0, 0.0], criterion="kind"))) == 2


def test_ties_and_failures_come_at_the_rates_stated():
    who = SimulatedAnnotator("simulated:ann", noise=0.5, tie_rate=0.3, fail_rate=0.2)
    found = ranks(who, 2000, [0.0, 0.5, 1.0, 1.5])
    failed = sum(rank is None for each in found for rank in each)
    assert binomtest(failed, 8000, 0.2).pvalue > 1e-4
    kept = [[rank for rank in each if rank is not None] for each in found]
    neighbours = sum(max(0, len(each) - 1) for each in kept)
    tied = neighbours - sum(max(each) - 1 for each in kept if each)
    assert binomtest(tied, neighbours, 0.3).pvalue > 1e-4


def test_the_worst_fail_and_the_closest_tie():
    assert perfect(fail_rate=1.0).rank("q", [1.0, 2.0]) == (None, None)
    some = {perfect(fail_rate=0.5).rank(f"q{i}", [0.0, 1.0, 3.0]) for i in range(200)}
    assert some == {(3, 2, 1), (None, 2, 1), (None, None, 1), (None, None, None)}
    some = {perfect(tie_rate=0.5).rank(f"q{i}", [0.0, 1.0, 3.0]) for i in range(200)}
    assert some == {(3, 2, 1), (2, 2, 1), (1, 1, 1)}


def test_preferences_have_grades():
    who = perfect(tie_width=0.5, step=1.0)
    gaps = {0.4: 0, 0.6: 1, 1.4: 1, 1.6: 2, 2.6: 3, 9.0: 3}
    for gap, grade in gaps.items():
        assert who.prefer("q", [0.0, gap]) == grade
        assert who.prefer("q", [gap, 0.0]) == -grade
    lazy = [perfect(laziness=1.0).prefer(f"q{i}", [0.0, 9.0]) for i in range(700)]
    assert set(lazy) == set(range(-3, 4))


def test_the_best_of_several():
    assert perfect().best("q", [0.0, 2.0, 1.0]) == 1
    assert perfect(fail_below=5.0).best("q", [0.0, 2.0]) is None


def test_ratings_and_labels():
    assert perfect(step=2.0).rate("q", [-9.0, -2.0, 0.0, 2.0, 9.0]) == (1, 2, 3, 4, 5)
    assert perfect(step=2.0, severity=2.0).rate("q", [0.0, 2.0]) == (2, 3)
    assert perfect(fail_below=-1.0).rate("q", [-2.0, 0.0], low=0, high=10) == (None, 5)
    assert perfect().label("q", [-0.1, 0.1]) == (0, 1)
    assert perfect(severity=1.0).label("q", [0.5, 1.5]) == (0, 1)
    numbers = [perfect(laziness=1.0).rate(f"q{i}", [9.0])[0] for i in range(500)]
    assert set(numbers) == {1, 2, 3, 4, 5}


def test_what_is_said_hangs_on_annotator_question_and_seed_alone():
    who = SimulatedAnnotator("simulated:ann", noise=1.0, laziness=0.3, spam=0.2, tie_rate=0.3, fail_rate=0.1)
    forth = [who.rank(f"q{i}", [0.0, 1.0, 2.0]) for i in range(50)]
    back = [who.rank(f"q{i}", [0.0, 1.0, 2.0]) for i in reversed(range(50))]
    assert forth == back[::-1]


BAD = [
    {"name": "ann"},
    {"name": "simulated:"},
    {"noise": -1.0},
    {"tie_width": -1.0},
    {"laziness": 1.5},
    {"spam": -0.1},
    {"drift": -1.0},
    {"step": 0.0},
    {"noise_on": {"kind": -1.0}},
    {"fail_rate": math.nan},
]


@pytest.mark.parametrize("settings", BAD)
def test_bad_settings_are_refused(settings):
    with pytest.raises(DataError):
        SimulatedAnnotator(**{"name": "simulated:ann", **settings})


def test_utility_that_is_not_finite_is_refused():
    with pytest.raises(DataError, match="question q: a utility is not finite"):
        perfect().rank("q", [1.0, math.nan])
