"""Biases that were planted are found, and those that were not are not."""

import numpy as np
import pytest

from assent.feedback.bias import biases
from assent.feedback.simulate import SimulatedAnnotator
from assent.feedback.votes import votes_from_rankings
from assent.types import Prompt, Ranking


def ranking(annotator, ranks, texts=("x", "yy"), prompt="p", ids=None):
    ids = ids or tuple("abcdefghi"[: len(ranks)])
    return Ranking(f"{annotator}-{prompt}", Prompt(prompt, text="?"), ids, tuple(texts), tuple(ranks), annotator)


def test_shares_by_hand():
    # Shown a b: the first above; shown b a: the first above; shown a b: the second above; a tie counts for neither.
    rows = [
        ranking("ann", (1, 2), prompt="1"),
        ranking("ann", (1, 2), ("yy", "x"), "2", ("b", "a")),
        ranking("ann", (2, 1), prompt="3"),
        ranking("ann", (1, 1), prompt="4"),
    ]
    found = biases(votes_from_rankings(rows))["ann"]
    assert found.first_shown.value == pytest.approx(2 / 3)
    # the longer (yy) is above in the second and third
    assert found.longer.value == pytest.approx(2 / 3)
    assert found.longer_than_others is None


def test_the_longer_answer_beside_what_others_say():
    # Of ten pairs all put the longer above in five; in the others ann alone does.
    rows = []
    for i in range(10):
        rows += [ranking(name, (2, 1) if i < 5 else (1, 2), prompt=f"p{i}") for name in ("bob", "cat")]
        rows.append(ranking("ann", (2, 1), prompt=f"p{i}"))
    found = biases(votes_from_rankings(rows))
    assert found["ann"].longer.value == 1.0
    assert found["ann"].longer_than_others.value == pytest.approx(0.5)
    assert found["ann"].longer_than_others.low > 0
    assert found["bob"].longer_than_others.value == pytest.approx(-0.25)


def test_nothing_decided_is_nothing_said():
    found = biases(votes_from_rankings([ranking("ann", (1, 1))]))["ann"]
    assert (found.first_shown, found.longer, found.longer_than_others) == (None, None, None)


def test_planted_position_bias_is_found_and_its_absence_too():
    draw, rows = np.random.default_rng(0), []
    people = [SimulatedAnnotator("simulated:fair"), SimulatedAnnotator("simulated:hasty", position_bias=2.0)]
    for i in range(150):
        order = draw.permutation(4)
        utilities = draw.normal(size=4)[order].tolist()
        ids = tuple("abcd"[j] for j in order)
        rows += [ranking(p.name, p.rank(f"q{i}", utilities), ["x"] * 4, f"p{i}", ids) for p in people]
    found = biases(votes_from_rankings(rows))
    assert found["simulated:hasty"].first_shown.low > 0.55
    assert found["simulated:fair"].first_shown.low < 0.5 < found["simulated:fair"].first_shown.high
    assert found["simulated:fair"].longer is None  # all of one length
