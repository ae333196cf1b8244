"""Ranks and pairs within groups, against plain loops over the rows."""

import itertools
import math
import random

import pytest
import torch

from assent.algorithms.batch import Pairs
from assent.algorithms.duels import all_duels, extreme_duels, group_ranks, group_sizes, pair_mean

GROUPS = torch.tensor([7, 7, 3, 7, 3, 5])
SCORES = torch.tensor([1.0, 4.0, 2.0, 2.5, 2.0, 9.0], dtype=torch.float64)


def as_rows(pairs: Pairs) -> dict[tuple[int, int], tuple[float, float, bool]]:
    numbers = zip(pairs.weights.tolist(), pairs.margins.tolist(), pairs.ties.tolist(), strict=True)
    made = {(int(a), int(b)): row for (a, b), row in zip(pairs.rows.tolist(), numbers, strict=True)}
    assert len(made) == len(pairs)
    return made


def test_ranks_and_sizes_by_hand():
    assert group_sizes(GROUPS).tolist() == [3, 3, 2, 3, 2, 1]
    assert group_ranks(GROUPS, SCORES).tolist() == [2, 0, 0, 1, 1, 0]


def test_all_pairs_by_hand():
    third = 1 / 3
    assert as_rows(all_duels(GROUPS, SCORES)) == {
        (1, 3): (third, 1.5, False),
        (1, 0): (third, 3.0, False),
        (3, 0): (third, 1.5, False),
        (2, 4): (1.0, 0.0, True),
    }


def test_the_best_against_the_worst_by_hand():
    assert as_rows(extreme_duels(GROUPS, SCORES)) == {(1, 0): (1.0, 3.0, False), (2, 4): (1.0, 0.0, True)}


@pytest.mark.parametrize("seed", range(5))
def test_the_pairs_of_any_groups_are_those_of_a_loop(seed: int):
    draw = random.Random(seed)
    groups = [draw.randrange(4) for _ in range(17)]
    scores = [float(draw.randrange(6)) for _ in range(17)]
    want: dict[tuple[int, int], tuple[float, float, bool]] = {}
    for a, b in itertools.combinations(range(17), 2):
        if groups[a] == groups[b]:
            better, worse = (b, a) if scores[b] > scores[a] else (a, b)
            gap = scores[better] - scores[worse]
            want[better, worse] = (1 / math.comb(groups.count(groups[a]), 2), gap, gap == 0)
    got = as_rows(all_duels(torch.tensor(groups), torch.tensor(scores, dtype=torch.float64)))
    assert got.keys() == want.keys()
    for pair, numbers in want.items():
        assert got[pair] == pytest.approx(numbers)


def test_groups_of_one_have_no_pairs():
    for duels in (all_duels, extreme_duels):
        pairs = duels(torch.arange(3), torch.tensor([1.0, 2.0, 3.0]))
        assert pairs.rows.shape == (0, 2)
        assert float(pair_mean(pairs.margins, pairs)) == 0.0


def test_the_mean_is_by_the_weights():
    pairs = all_duels(GROUPS, SCORES)
    assert float(pair_mean(pairs.margins, pairs)) == pytest.approx((1.5 + 3.0 + 1.5) / 3 / 2)
