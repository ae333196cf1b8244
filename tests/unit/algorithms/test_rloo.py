"""RLOO by hand: the baseline of the others, and the clipped ratio of whole completions."""

import math

import pytest
from small_rollouts import rollouts, update

from assent.algorithms.rloo import ALGORITHM

OLD = [[-1.0, -2.0], [-0.5], [-1.0, -1.0, -1.0], [-2.0], [-1.0]]
REF = [[-1.5, -1.0], [-1.5], [-1.0, -1.0, -1.0], [-2.0], [-1.0]]
GROUPS = [4, 9, 4, 4, 9]  # of three and two, their rows not beside one another
SCORES = [1.0, 2.0, 6.0, -1.0, 5.0]


def made(moved=None, scores=None, groups=None, **given):
    batch = rollouts(scores or SCORES, groups or GROUPS, OLD, REF, ended=[1.0, 1.0, 0.0, 1.0, 1.0])
    return update(ALGORITHM, batch, moved, **given)


def test_the_baseline_is_the_mean_of_the_others():
    found = made(kl_coefficient=0.0)
    assert found.advantages == pytest.approx([1 - 2.5, 2 - 5, 6 - 0, -1 - 3.5, 5 - 2])


def test_the_kl_of_the_completion_is_in_the_return():
    # k1 per completion: -0.5, 1.0, 0, 0, 0
    found = made(kl_coefficient=0.1)
    returns = [1.05, 1.9, 6.0, -1.0, 5.0]
    assert found.advantages == pytest.approx([1.05 - 2.5, 1.9 - 5, 6 - 0.025, -1 - 3.525, 5 - 1.9])
    assert found.figures["return_mean"] == pytest.approx(sum(returns) / 5)


def test_the_first_gradient_is_the_score_function():
    found = made(kl_coefficient=0.0)
    for row, advantage in zip(found.rows(), (-1.5, -3.0, 6.0, -4.5, 3.0), strict=True):
        assert row == pytest.approx([-advantage / 5] * len(row))


def test_a_completion_that_has_moved_far_enough_gets_no_gradient():
    # summed log-ratios 0.3 (r 1.35, A -1.5: up and bad, pulled back), -0.3 (r 0.74, A -3: clipped), 0.1 (A 6),
    # -0.5 (A -4.5: clipped), 0.5 (A 3: clipped)
    found = made([[0.1, 0.2], [-0.3], [0.1, 0.0, 0.0], [-0.5], [0.5]], kl_coefficient=0.0)
    rows = found.rows()
    assert rows[0] == pytest.approx([1.5 * math.exp(0.3) / 5] * 2)
    assert rows[1] == [0.0]
    assert rows[2] == pytest.approx([-6 * math.exp(0.1) / 5] * 3)
    assert rows[3] == [0.0]
    assert rows[4] == [0.0]
    want = 1.5 * math.exp(0.3) + 3 * 0.8 - 6 * math.exp(0.1) + 4.5 * 0.8 - 3 * 1.2
    assert found.loss == pytest.approx(want / 5)
    assert found.figures["policy_loss"] == pytest.approx(want / 5)
    assert found.figures["ratio_clipped"] == pytest.approx(3 / 5)


def test_the_two_sides_of_the_clip():
    moved = [[0.0, 0.0], [-0.3], [0.3, 0.0, 0.0], [0.0], [0.0]]
    rows = made(moved, kl_coefficient=0.0, clip_low=0.5, clip_high=0.2).rows()
    assert rows[1] == pytest.approx([3 * math.exp(-0.3) / 5])
    assert rows[2] == [0.0] * 3
    rows = made(moved, kl_coefficient=0.0, clip_low=0.2, clip_high=0.5).rows()
    assert rows[1] == [0.0]
    assert rows[2] == pytest.approx([-6 * math.exp(0.3) / 5] * 3)


def test_normalising_is_over_the_batch():
    plain = [-1.5, -3.0, 6.0, -4.5, 3.0]  # mean 0
    std = math.sqrt(sum(x * x for x in plain) / 4)
    found = made(kl_coefficient=0.0, normalize_advantages=True)
    assert found.advantages == pytest.approx([x / (std + 1e-4) for x in plain])
    assert found.figures["advantage_std"] == pytest.approx(std)


def test_equal_rewards_teach_nothing():
    found = made(scores=[3.0] * 5, kl_coefficient=0.0, normalize_advantages=True)
    assert found.advantages == pytest.approx([0.0] * 5, abs=1e-12)
    assert found.gradient.abs().max() < 1e-12


def test_a_completion_alone_in_its_group_has_no_baseline():
    found = made(groups=[0, 1, 0, 2, 0], kl_coefficient=0.0)
    assert found.advantages == pytest.approx([1 - 5.5, 2.0, 6 - 3, -1.0, 5 - 3.5])


def test_a_completion_that_was_cut_off_loses_the_penalty_before_the_others_are_compared():
    assert made(kl_coefficient=0.0, missing_eos_penalty=3.0).advantages == pytest.approx(
        [1 - 1.0, 2 - 5, 3 - 0, -1 - 2.0, 5 - 2]
    )
