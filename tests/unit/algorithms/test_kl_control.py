"""KL-control by hand: returns to go, baselines of a position, truncated weights per token."""

import math

import pytest
from small_rollouts import rollouts, update

from assent.algorithms.kl_control import ALGORITHM

OLD = [[-1.0, -2.0], [-0.5], [-1.0, -1.0, -1.0]]
REF = [[-1.5, -1.0], [-1.5], [-2.0, -1.0, -0.5]]
# k1: 0.5, -1.0; 1.0; 1.0, 0, -0.5


def made(moved=None, **given):
    batch = rollouts([1.0, 2.0, 6.0], [0, 1, 1], OLD, REF, ended=[1.0, 1.0, 0.0])
    return update(ALGORITHM, batch, moved, **given)


def advantages(found) -> list[list[float]]:
    assert found.batch["advantages"][~found.batch.completion_mask].abs().max() == 0
    return [a[m].tolist() for a, m in zip(found.batch["advantages"], found.batch.completion_mask, strict=True)]


def test_returns_to_go_hold_the_score_and_the_penalties_still_to_come():
    found = made(baseline="none", kl_coefficient=0.1)
    one, two, three = advantages(found)
    assert one == pytest.approx([1 + 0.1 - 0.05, 1 + 0.1])
    assert two == pytest.approx([2 - 0.1])
    assert three == pytest.approx([6 + 0.05 - 0.1, 6 + 0.05, 6 + 0.05])
    assert found.figures["return_mean"] == pytest.approx((1.05 + 1.1 + 1.9 + 5.95 + 6.05 + 6.05) / 6)


def test_the_discount_is_per_token():
    one, _, three = advantages(made(baseline="none", kl_coefficient=0.1, gamma=0.5))
    assert one == pytest.approx([0.5 * 1.1 - 0.05, 1.1])
    assert three == pytest.approx([0.25 * 6.05 - 0.1, 0.5 * 6.05, 6.05])


def test_the_baseline_of_a_position_is_the_mean_of_the_others_that_have_one():
    one, two, three = advantages(made(kl_coefficient=0.1))
    assert one == pytest.approx([1.05 - (1.9 + 5.95) / 2, 1.1 - 6.05])
    assert two == pytest.approx([1.9 - (1.05 + 5.95) / 2])
    assert three == pytest.approx([5.95 - (1.05 + 1.9) / 2, 6.05 - 1.1, 6.05])  # the last has no other


def test_the_position_baseline_holds_the_completion_itself():
    one, two, three = advantages(made(kl_coefficient=0.1, baseline="position"))
    first, second = (1.05 + 1.9 + 5.95) / 3, (1.1 + 6.05) / 2
    assert one == pytest.approx([1.05 - first, 1.1 - second])
    assert two == pytest.approx([1.9 - first])
    assert three == pytest.approx([5.95 - first, 6.05 - second, 0.0], abs=1e-12)


def test_the_gradient_sums_over_tokens_and_averages_over_completions():
    found = made(baseline="none", kl_coefficient=0.1)
    part = ALGORITHM.weights(found.batch, ALGORITHM.Settings())["policy"]
    assert part.weights.tolist() == found.batch.completion_mask.float().tolist()
    assert float(part.count) == 3.0
    for row, want in zip(found.rows(), advantages(found), strict=True):
        assert row == pytest.approx([-a / 3 for a in want])


def test_later_updates_weigh_each_token_by_its_truncated_ratio():
    moved = [[0.1, -0.2], [0.9], [0.0, 0.3, 0.5]]
    found = made(moved, baseline="none", kl_coefficient=0.0, importance_limit=1.5)
    one, two, three = found.rows()
    assert one == pytest.approx([-math.exp(0.1) / 3, -math.exp(-0.2) / 3])
    assert two == pytest.approx([-2 * 1.5 / 3])
    assert three == pytest.approx([-2.0, -2 * math.exp(0.3), -2 * 1.5])
    assert found.figures["ratio_clipped"] == pytest.approx(2 / 6)


def test_a_completion_that_was_cut_off_loses_the_penalty_and_the_coefficient_adapts():
    found = made(baseline="none", kl_coefficient=0.0, missing_eos_penalty=2.0)
    assert advantages(found)[2] == pytest.approx([4.0] * 3)
    adapting = made(kl_coefficient=0.1, kl_target=0.1, kl_horizon=30.0)  # the KL is 1 / 3 a completion
    assert adapting.state["kl_coefficient"] == pytest.approx(0.1 * (1 + 0.2 * 3 / 30))
