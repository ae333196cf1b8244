"""How reliable annotators are, recovered from what simulated ones of known failings say."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
        competence, right = found[name].competence, found[name].right
        # twelve intervals of 95%: each is widened by its half, so that none fails by chance
        slack = (competence.high - competence.low) / 2
        assert competence.low - slack <= 2 * rate - 1 <= competence.high + slack
        assert right.value == pytest.approx(rate, abs=0.08)
        assert right.low < right.value < right.high
        assert 0.02 < competence.high - competence.low < 0.5
        assert found[name].pairs == 400
    order = [found[name].competence.value for name in ("ann", "bob", "cleo", "dan")]
    assert order == sorted(order, reverse=True)


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
        assert found[name].right.value == pytest.approx(1 - laziness / 2, abs=0.06)


def test_who_sides_with_the_majority_is_the_more_reliable():
    rankings = [ranking(name, (1, 2, 3), f"p{i}") for name in ("ann", "bob") for i in range(20)]
    rankings += [ranking("eve", (3, 2, 1), f"p{i}") for i in range(20)]
    found = reliability(rankings)
    assert found["ann"].competence.value == pytest.approx(found["bob"].competence.value, abs=1e-4)
    assert found["ann"].competence.value > 0.9
    assert found["eve"].competence.value < -0.8
    assert found["eve"].competence.high < 0.0


def test_few_pairs_stay_near_the_prior():
    found = reliability([ranking("ann", (1, 2)), ranking("bob", (1, 2))])
    assert found["ann"].competence.value == pytest.approx(found["bob"].competence.value, abs=1e-4)
    assert 0.4 < found["ann"].competence.value < 0.7
    assert found["ann"].competence.high - found["ann"].competence.low > 0.5


def test_other_criteria_and_unshared_pairs_say_nothing():
    rankings = [ranking("ann", (1, 2)), ranking("cleo", (1, 2), criterion="kind"), ranking("dan", (1, 2), "other")]
    assert reliability(rankings) == {}
    assert reliability([]) == {}


def test_who_ties_often_is_not_taken_to_guess():
    """Dan calls half of the pairs equal, those that are close; of the others he is always right."""
    rankings = []
    for i in range(100):
        close = i % 2 == 0
        rankings += [ranking(name, (1, 2) if not close or i % 4 else (2, 1), f"p{i}") for name in ("ann", "bob")]
        rankings.append(ranking("dan", (1, 1) if close else (1, 2), f"p{i}"))
    found = reliability(rankings)["dan"]
    assert found.ties == pytest.approx(0.5, abs=0.01)
    assert found.competence.value > 0.7


def test_an_annotator_who_answers_again_counts_with_the_later_answer():
    steady = [ranking(name, (1, 2), f"p{i}") for name in ("ann", "bob") for i in range(30)]
    first = [ranking("cleo", (2, 1), f"p{i}") for i in range(30)]
    later = [ranking("cleo", (1, 2), f"p{i}") for i in range(30)]
    assert reliability([*first, *steady, *later]) == reliability([*steady, *later])
    assert reliability([*later, *steady, *first])["cleo"].right.value < 0.2
    dated = [replace(each, created=1.0) for each in later]
    assert reliability([*dated, *steady, *first]) == reliability([*steady, *later])


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), turn=st.integers(0, 5))
def test_the_order_of_rankings_and_the_names_do_not_matter(seed: int, turn: int):
    draw = np.random.default_rng(seed)
    names = ("ann", "bob", "cleo")
    rankings = [ranking(name, draw.integers(1, 4, size=3), f"p{i}") for name in names for i in range(9)]
    shuffled = [rankings[i] for i in draw.permutation(len(rankings))]
    to = dict(zip(names, list(permutations(("x", "y", "z")))[turn], strict=True))
    renamed = [replace(each, annotator=to[each.annotator]) for each in rankings]
    one, other, third = reliability(rankings), reliability(shuffled), reliability(renamed)
    assert one == other
    for name, found in one.items():
        assert third[to[name]].competence.value == pytest.approx(found.competence.value, abs=2e-3)
