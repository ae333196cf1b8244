"""How reliable annotators are, recovered from what simulated ones of known failings say."""

import numpy as np
import pytest

from assent.feedback.reliability import reliability
from assent.feedback.simulate import SimulatedAnnotator
from assent.types import Prompt, Ranking


def ranking(annotator, ranks, prompt="p", criterion="overall"):
    ids = tuple("abcdefghi"[: len(ranks)])
    return Ranking(f"{annotator}-{prompt}", Prompt(prompt, text="?"), ids, ids, tuple(ranks), annotator, criterion)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_planted_error_rates_are_recovered(seed):
    """Flips each pair with a rate of its own; the truth is within the interval, and near."""
    planted = {"ann": 0.95, "bob": 0.85, "cleo": 0.7, "dan": 0.55}
    draw = np.random.default_rng(seed)
    rankings = []
    for i in range(400):
        better = bool(draw.random() < 0.5)
        for name, rate in planted.items():
            says = better == bool(draw.random() < rate)
            rankings.append(ranking(name, (1, 2) if says else (2, 1), f"p{i}"))
    found = reliability(rankings)
    for name, rate in planted.items():
        # twelve intervals of some 90%: each is widened by its half, so that none fails by chance
        slack = (found[name].high - found[name].low) / 2
        assert found[name].low - slack <= rate <= found[name].high + slack
        assert found[name].right == pytest.approx(rate, abs=0.06)
        assert found[name].low < found[name].right < found[name].high
        assert 0.02 < found[name].high - found[name].low < 0.2
        assert found[name].pairs == 400
    assert found["ann"].right > found["bob"].right > found["cleo"].right > found["dan"].right


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_lazy_annotators_are_found_among_rankings_of_four(seed):
    """One who answers a share of the questions at random is right of a pair with probability 1 - share / 2."""
    lazy = {"simulated:a": 0.0, "simulated:b": 0.2, "simulated:c": 0.4, "simulated:d": 0.9}
    draw = np.random.default_rng(seed)
    rankings = []
    for i in range(150):
        utilities = draw.normal(size=4).tolist()
        for name, laziness in lazy.items():
            ranks = SimulatedAnnotator(name, noise=0.0, laziness=laziness).rank(f"q{i}", utilities, seed)
            rankings.append(ranking(name, ranks, f"p{i}"))
    found = reliability(rankings)
    for name, laziness in lazy.items():
        assert found[name].right == pytest.approx(1 - laziness / 2, abs=0.06)


def test_who_sides_with_the_majority_is_the_more_reliable():
    rankings = [ranking(name, (1, 2, 3), f"p{i}") for name in ("ann", "bob") for i in range(20)]
    rankings += [ranking("eve", (3, 2, 1), f"p{i}") for i in range(20)]
    found = reliability(rankings)
    assert found["ann"] == found["bob"]
    # all 60 pairs one way, with the prior: (60 + 4) / 65 and 4 / 65
    assert found["ann"].right == pytest.approx(64 / 65, abs=1e-3)
    assert found["eve"].right == pytest.approx(4 / 65, abs=1e-3)


def test_few_pairs_stay_near_the_prior():
    found = reliability([ranking("ann", (1, 2)), ranking("bob", (1, 2))])
    assert found["ann"] == found["bob"]
    assert 0.8 < found["ann"].right < (4 + 1) / (5 + 1)


def test_ties_other_criteria_and_unshared_pairs_say_nothing():
    rankings = [ranking("ann", (1, 1)), ranking("bob", (1, 2)), ranking("cleo", (1, 2), criterion="kind")]
    assert reliability([*rankings, ranking("dan", (1, 2), "other")]) == {}
    assert reliability([]) == {}


def test_an_annotator_who_answers_again_counts_with_the_later_answer():
    steady = [ranking(name, (1, 2), f"p{i}") for name in ("ann", "bob") for i in range(30)]
    first = [ranking("cleo", (2, 1), f"p{i}") for i in range(30)]
    later = [ranking("cleo", (1, 2), f"p{i}") for i in range(30)]
    assert reliability([*first, *steady, *later]) == reliability([*steady, *later])
    assert reliability([*later, *steady, *first])["cleo"].right < 0.2


def test_the_order_of_rankings_does_not_matter():
    draw = np.random.default_rng(0)
    rankings = [ranking(name, draw.permutation(3) + 1, f"p{i}") for name in ("ann", "bob", "cleo") for i in range(9)]
    one, other = reliability(rankings), reliability(rankings[::-1])
    assert one.keys() == other.keys()
    for name, found in one.items():
        assert found.right == pytest.approx(other[name].right, abs=1e-6)
        assert (found.low, found.high) == pytest.approx((other[name].low, other[name].high), abs=1e-6)
