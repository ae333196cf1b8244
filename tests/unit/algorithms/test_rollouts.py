"""What every algorithm on rollouts does with scores first; numpy's running standard deviation is the measure."""

import math

import numpy as np
import pytest
import torch
from small_rollouts import rollouts

from assent.algorithms.rollouts import (
    KLSettings,
    ScoreSettings,
    adapted,
    initial_score_state,
    rollout_figures,
    shaped_scores,
    token_kl,
)


def batch_of(scores, ended=None):
    count = len(scores)
    return rollouts(scores, list(range(count)), [[-1.0]] * count, ended=ended)


def test_scores_are_divided_by_the_running_deviation_and_not_shifted():
    settings = ScoreSettings(scale_rewards=True)
    state = initial_score_state(settings)
    draw = np.random.default_rng(0)
    seen: list[float] = []
    for size in (1, 2, 7, 30, 3):
        scores = list(draw.normal(100.0, 3.0, size))
        seen += scores
        shaped, state = shaped_scores(batch_of(scores), settings, state)
        spread = float(np.std(seen, ddof=1)) if len(seen) > 1 else 1.0  # one score has no spread
        assert shaped.tolist() == pytest.approx([x / spread for x in scores], rel=1e-9)
    assert state["score_mean"] == pytest.approx(float(np.mean(seen)), rel=1e-12)
    assert state["score_count"] == len(seen)


def test_equal_scores_are_left_as_they_are():
    settings = ScoreSettings(scale_rewards=True)
    shaped, _ = shaped_scores(batch_of([4.0, 4.0, 4.0]), settings, initial_score_state(settings))
    assert shaped.tolist() == [4.0, 4.0, 4.0]


def test_penalty_then_scale_then_clip():
    settings = ScoreSettings(missing_eos_penalty=2.0, scale_rewards=True, reward_clip=1.5)
    batch = batch_of([1.0, 4.0, 9.0], ended=[1.0, 0.0, 1.0])
    shaped, _ = shaped_scores(batch, settings, initial_score_state(settings))
    std = math.sqrt(19.0)  # of 1, 2, 9
    assert shaped.tolist() == pytest.approx([1 / std, 2 / std, 1.5])
    low, _ = shaped_scores(batch_of([-9.0, 1.0]), ScoreSettings(reward_clip=0.5), {})
    assert low.tolist() == [-0.5, 0.5]


def test_by_default_scores_pass_as_they_are_and_no_state_is_kept():
    settings = ScoreSettings()
    assert initial_score_state(settings) == {}
    shaped, state = shaped_scores(batch_of([3.0, -1.0], ended=[0.0, 1.0]), settings, {})
    assert shaped.tolist() == [3.0, -1.0]
    assert state == {}


def test_the_kl_is_zero_outside_the_completion():
    batch = rollouts([0.0, 0.0], [0, 1], [[-1.0, -2.0], [-1.0]], [[-3.0, -1.5], [-1.5]])
    assert token_kl(batch).tolist() == [[0.0, 2.0, -0.5], [0.0, 0.5, 0.0]]


def test_the_controller_takes_the_kl_of_a_completion():
    batch = rollouts([0.0, 0.0], [0, 1], [[-1.0, -2.0], [-1.0]], [[-3.0, -1.5], [-1.5]])  # 1.5 and 0.5: mean 1
    near = KLSettings(kl_target=0.9, kl_horizon=20.0)
    assert adapted(batch, near, {"kl_coefficient": 0.5})["kl_coefficient"] == pytest.approx(0.5 * (1 + 1 / 9 * 2 / 20))
    fixed = {"kl_coefficient": 0.5, "other": 1.0}
    assert adapted(batch, KLSettings(), fixed) == fixed


def test_figures_are_of_the_rewards_own_scores_and_leave_out_a_kl_that_is_not_there():
    batch = rollouts([1.0, 4.0], [0, 1], [[-1.0, -2.0], [-1.0]], [[-3.0, -1.5], [-1.5]], ended=[1.0, 0.0])
    figures = rollout_figures(batch, extra=torch.tensor(2.5))
    e = math.e
    k3 = ((e**-2 + 1) + (e**0.5 - 1.5) + (e**-0.5 - 0.5)) / 2
    assert figures == pytest.approx(
        {
            "reward_mean": 2.5,
            "reward_std": 1.5,
            "kl": 1.0,
            "kl_k3": k3,
            "completion_tokens": 1.5,
            "ended_share": 0.5,
            "extra": 2.5,
        }
    )
    columns = {name: column for name, column in batch.columns.items() if name != "ref_logprobs"}
    assert not {"kl", "kl_k3"} & set(rollout_figures(type(batch)(**{**vars(batch), "columns": columns})))


def test_uncertainty_is_taken_from_the_score_before_it_is_clipped():
    settings = ScoreSettings(uncertainty_penalty=2.0, reward_clip=1.5)
    batch = batch_of([1.0, 4.0, 1.0]).with_columns(uncertainty=torch.tensor([0.5, 1.5, 2.0]))
    assert shaped_scores(batch, settings, initial_score_state(settings))[0].tolist() == [0.0, 1.0, -1.5]


def test_a_constraint_holds_the_mean_cost_to_its_limit_by_a_multiplier():
    """Safe RLHF's Lagrangian by hand, the multiplier rising while the cost is over the limit, and back to none."""
    settings = ScoreSettings(cost_limit=0.1, multiplier=1.0, multiplier_rate=2.0)
    state = initial_score_state(settings)
    assert state == {"multiplier": 1.0}
    batch = batch_of([1.0, 4.0]).with_columns(costs=torch.tensor([0.2, 0.8]))
    shaped, state = shaped_scores(batch, settings, state)
    assert shaped.tolist() == pytest.approx([(1.0 - 0.2) / 2, (4.0 - 0.8) / 2])
    assert state["multiplier"] == pytest.approx(1.0 + 2.0 * 0.4)
    shaped, state = shaped_scores(batch, settings, state)
    assert shaped.tolist() == pytest.approx([(1.0 - 1.8 * 0.2) / 2.8, (4.0 - 1.8 * 0.8) / 2.8])
    free = batch_of([1.0, 4.0]).with_columns(costs=torch.tensor([0.0, 0.0]))
    for _ in range(20):
        shaped, state = shaped_scores(free, settings, state)
    assert state["multiplier"] == 0.0
    assert shaped.tolist() == [1.0, 4.0]


def test_a_constrained_bandit_ends_at_its_limit():
    """Two answers, one worth more and costly: dual ascent finds the mixture that costs just the limit."""
    settings = ScoreSettings(cost_limit=0.3, multiplier=0.0, multiplier_rate=0.05)
    state, logit, late = initial_score_state(settings), 0.0, []
    for step in range(4000):
        share = 1 / (1 + math.exp(-logit))
        batch = batch_of([1.0, 0.0]).with_columns(costs=torch.tensor([share, share]))
        _, state = shaped_scores(batch, settings, state)
        worth = (1.0 - state["multiplier"]) / (1.0 + state["multiplier"])  # of the costly answer over the other
        logit += 0.2 * (share * (1 - share) * worth - 0.01 * logit)
        late += [share] if step >= 3000 else []
    assert float(np.mean(late)) == pytest.approx(0.3, abs=0.02)
