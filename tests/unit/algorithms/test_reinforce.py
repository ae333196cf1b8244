"""REINFORCE by hand: returns, baselines, and the importance weight of later updates."""

import math

import pytest
from small_rollouts import rollouts, update

from assent.algorithms.reinforce import ALGORITHM

OLD = [[-1.0, -2.0], [-0.5], [-1.0, -1.0, -1.0]]
REF = [[-1.5, -1.0], [-1.5], [-1.0, -1.0, -1.0]]
SCORES = [1.0, 2.0, 6.0]


def made(moved=None, state=None, scores=None, **given):
    batch = rollouts(scores or SCORES, [0, 1, 1], OLD, REF, ended=[1.0, 1.0, 0.0])
    return update(ALGORITHM, batch, moved, state, **given)


def test_the_return_is_the_score_less_the_kl_of_the_completion():
    # k1 per completion: 0.5 - 1.0; 1.0; 0.
    found = made(baseline="none", kl_coefficient=0.1)
    assert found.advantages == pytest.approx([1.05, 1.9, 6.0])
    assert found.figures["return_mean"] == pytest.approx(8.95 / 3)
    assert found.figures["kl"] == pytest.approx(0.5 / 3)


def test_the_first_gradient_is_the_score_function_averaged_over_completions():
    found = made(baseline="none", kl_coefficient=0.0)
    rows = found.rows()
    assert rows[0] == pytest.approx([-1 / 3] * 2)
    assert rows[1] == pytest.approx([-2 / 3])
    assert rows[2] == pytest.approx([-2.0] * 3)
    assert found.figures["policy_loss"] == pytest.approx(-3.0)
    assert found.figures["ratio_mean"] == 1.0
    assert found.figures["ratio_clipped"] == 0.0


def test_the_batch_baseline_holds_each_return():
    found = made(baseline="batch", kl_coefficient=0.0)
    assert found.advantages == pytest.approx([-2.0, -1.0, 3.0])
    assert found.figures["baseline"] == pytest.approx(3.0)
    assert made(scores=[4.0, 4.0, 4.0], baseline="batch", kl_coefficient=0.0).advantages == [0.0, 0.0, 0.0]


def test_the_running_baseline_is_of_earlier_batches_only():
    given = {"kl_coefficient": 0.0, "baseline_decay": 0.5}
    first = made(**given)
    assert first.figures["baseline"] == 0.0
    assert first.advantages == SCORES
    second = made(state=first.state, scores=[0.0, 0.0, 12.0], **given)
    assert second.figures["baseline"] == pytest.approx(3.0)  # no pull to the zero it began from
    assert second.advantages == pytest.approx([-3.0, -3.0, 9.0])
    third = made(state=second.state, **given)
    assert third.figures["baseline"] == pytest.approx((0.25 * 3 + 0.5 * 4) / 0.75)


def test_whitening_is_over_completions():
    found = made(baseline="batch", kl_coefficient=0.0, whiten_advantages=True)
    assert found.advantages == pytest.approx([x / math.sqrt(7) for x in (-2, -1, 3)])  # variance 14 / 2


def test_later_updates_weigh_a_completion_by_its_truncated_ratio():
    # summed log-ratios: 0.3; -0.4; 1.2, whose ratio 3.32 is truncated to 2
    found = made([[0.1, 0.2], [-0.4], [0.4, 0.4, 0.4]], baseline="none", kl_coefficient=0.0, importance_limit=2.0)
    rows = found.rows()
    assert rows[0] == pytest.approx([-math.exp(0.3) / 3] * 2)
    assert rows[1] == pytest.approx([-2 * math.exp(-0.4) / 3])
    assert rows[2] == pytest.approx([-6 * 2.0 / 3] * 3)
    assert found.figures["ratio_clipped"] == pytest.approx(1 / 3)
    assert found.figures["ratio_mean"] == pytest.approx((math.exp(0.3) + math.exp(-0.4) + math.exp(1.2)) / 3)


def test_scores_are_shaped_and_the_coefficient_adapts():
    found = made(baseline="none", kl_coefficient=0.0, missing_eos_penalty=2.5, reward_clip=3.0)
    assert found.advantages == pytest.approx([1.0, 2.0, 3.0])  # 6 - 2.5, clipped
    adapting = made(baseline="none", kl_coefficient=0.1, kl_target=10.0, kl_horizon=30.0)
    assert adapting.state["kl_coefficient"] == pytest.approx(0.1 * (1 - 0.2 * 3 / 30))
