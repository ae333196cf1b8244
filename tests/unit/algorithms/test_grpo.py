"""GRPO by hand: advantages within groups, three ways to add up, ratios of tokens and completions, the KL term."""

import math
import statistics

import pytest
from small_rollouts import rollouts, update

from assent.algorithms.grpo import ALGORITHM

OLD = [[-1.0, -2.0], [-0.5], [-1.0, -1.0, -1.0], [-2.0], [-1.0]]
REF = [[-1.5, -1.0], [-1.5], [-1.0, -1.0, -1.0], [-2.0], [-1.0]]
GROUPS = [4, 9, 4, 4, 9]  # of three and two, their rows not beside one another
SCORES = [1.0, 2.0, 6.0, -1.0, 5.0]
CENTRED = [-1.0, -1.5, 4.0, -3.0, 1.5]
LENGTHS = [2, 1, 3, 1, 1]
PLAIN = {"kl_coefficient": 0.0, "advantage_scale": "none"}


def made(moved=None, scores=None, groups=None, **given):
    batch = rollouts(scores or SCORES, groups or GROUPS, OLD, REF, ended=[1.0, 1.0, 0.0, 1.0, 1.0])
    return update(ALGORITHM, batch, moved, **given)


def test_advantages_are_scaled_by_the_groups_deviation():
    found = made(kl_coefficient=0.0)
    three, two = statistics.stdev([1.0, 6.0, -1.0]), statistics.stdev([2.0, 5.0])
    want = [c / (s + 1e-4) for c, s in zip(CENTRED, (three, two, three, three, two), strict=True)]
    assert found.advantages == pytest.approx(want)
    assert found.figures["group_std"] == pytest.approx((3 * three + 2 * two) / 5)
    assert found.figures["groups_alike"] == 0.0


def test_or_by_the_batchs_or_not_at_all():
    std = statistics.stdev(SCORES)
    scaled = made(kl_coefficient=0.0, advantage_scale="batch").advantages
    assert scaled == pytest.approx([c / (std + 1e-4) for c in CENTRED])
    assert made(**PLAIN).advantages == pytest.approx(CENTRED)


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_equal_scores_and_a_group_of_one_teach_nothing(scale: str):
    alike = made(scores=[0.1, 2.0, 0.1, 0.1, 5.0], kl_coefficient=0.0, advantage_scale=scale)
    assert [alike.advantages[i] for i in (0, 2, 3)] == pytest.approx([0.0] * 3, abs=1e-9)
    assert abs(alike.advantages[1]) > 0.3
    assert alike.figures["groups_alike"] == pytest.approx(3 / 5)
    alone = made(groups=[0, 1, 0, 2, 0], kl_coefficient=0.0, advantage_scale=scale)
    assert (alone.advantages[1], alone.advantages[3]) == (0.0, 0.0)
    assert max(map(abs, alone.rows()[1] + alone.rows()[3])) == 0.0


@pytest.mark.parametrize(
    ("aggregation", "weight"),
    [
        ("sequence", [1 / 5 / n for n in LENGTHS]),
        ("token", [1 / 8] * 5),
        ("constant", [1 / (5 * 10.0)] * 5),
    ],
)
def test_the_three_ways_to_add_up(aggregation: str, weight: list[float]):
    moved = [[0.1, -0.1], [0.1], [0.05, 0.0, 0.0], [-0.1], [0.1]]
    found = made(moved, **PLAIN, aggregation=aggregation, length_normaliser=10.0)
    assert found.loss == pytest.approx(
        sum(-w * c * math.exp(m) for w, c, row in zip(weight, CENTRED, moved, strict=True) for m in row)
    )
    for row, w, c, steps in zip(found.rows(), weight, CENTRED, moved, strict=True):
        assert row == pytest.approx([-w * c * math.exp(m) for m in steps])
    assert found.figures["policy_loss"] == pytest.approx(found.loss)


def test_the_clip_is_per_token_and_may_be_higher_above():
    moved = [[0.3, -0.3], [-0.3], [0.25, 0.3, -0.3], [-0.1], [0.1]]
    found = made(moved, **PLAIN, clip_low=0.2, clip_high=0.3)
    rows = found.rows()
    assert rows[0] == pytest.approx([1 / 10 * math.exp(0.3), 0.0])  # bad: pulled back from above, clipped below
    assert rows[1] == [0.0]
    assert rows[2] == pytest.approx([-4 / 15 * math.exp(0.25), 0.0, -4 / 15 * math.exp(-0.3)])
    assert found.figures["ratio_clipped"] == pytest.approx(3 / 8)


def test_the_ratio_of_a_completion_is_the_geometric_mean_over_its_tokens():
    moved = [[0.3, -0.1], [-0.3], [0.6, 0.3, -0.3], [-0.1], [0.1]]
    found = made(moved, **PLAIN, ratio="sequence", clip_low=0.15, clip_high=0.25)
    ratios = [math.exp(0.1), math.exp(-0.3), math.exp(0.2), math.exp(-0.1), math.exp(0.1)]
    rows = found.rows()
    assert rows[0] == pytest.approx([ratios[0] / 5 / 2] * 2)
    assert rows[1] == [0.0]  # 0.74 < 0.85, and bad
    assert rows[2] == pytest.approx([-4 * ratios[2] / 5 / 3] * 3)
    held = [ratios[0], 0.85, *ratios[2:]]
    assert found.loss == pytest.approx(sum(-r * c for r, c in zip(held, CENTRED, strict=True)) / 5)


@pytest.mark.parametrize("estimator", ["k2", "k3"])
def test_the_kl_term_is_added_up_like_the_policys(estimator: str):
    found = made(scores=[0.0] * 5, kl_coefficient=0.5, kl_estimator=estimator)
    gaps = [[0.5, -1.0], [1.0], [0.0] * 3, [0.0], [0.0]]  # log pi - log ref

    def term(gap: float) -> float:
        return gap * gap / 2 if estimator == "k2" else math.exp(-gap) - 1 + gap

    def slope(gap: float) -> float:
        return gap if estimator == "k2" else 1 - math.exp(-gap)

    assert found.loss == pytest.approx(0.5 * ((term(0.5) + term(-1.0)) / 2 + term(1.0)) / 5)
    for row, gap in zip(found.rows(), gaps, strict=True):
        assert row == pytest.approx([0.5 * slope(g) / len(gap) / 5 for g in gap])
    assert found.figures["kl_loss"] == pytest.approx((term(0.5) + term(-1.0) + term(1.0)) / 8)


def test_a_completion_that_was_cut_off_loses_the_penalty_before_its_group_is_compared():
    assert made(**PLAIN, missing_eos_penalty=3.0).advantages == pytest.approx([0.0, -1.5, 2.0, -2.0, 1.5])
