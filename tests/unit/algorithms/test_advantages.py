"""Returns and advantages against their definitions."""

import statistics
from collections.abc import Callable

import pytest
import torch

from assent.algorithms.advantages import (
    at_last_token,
    batch_mean,
    gae,
    group_mean,
    group_std,
    leave_one_out_mean,
    no_baseline,
    returns_to_go,
    whiten,
)

GAMMA, LAM = 0.9, 0.7


def by_definition(rewards: list[float], values: list[float]) -> list[float]:
    """A_t = sum_l (gamma lam)^l delta_{t+l}, in O(T^2)."""
    after = [*values[1:], 0.0][: len(values)]
    delta = [r + GAMMA * n - v for r, n, v in zip(rewards, after, values, strict=True)]
    return [sum((GAMMA * LAM) ** i * d for i, d in enumerate(delta[t:])) for t in range(len(delta))]


def test_gae_equals_its_definition_with_gaps_and_padding():
    draw = torch.Generator().manual_seed(0)
    rewards, values = (torch.randn(4, 9, generator=draw, dtype=torch.float64) for _ in range(2))
    mask = torch.ones(4, 9, dtype=torch.bool)
    mask[0, :3] = False  # a prompt
    mask[1, [0, 4, 5, 8]] = False  # two turns, and padding
    mask[2, 1:] = False  # one token
    mask[3] = False  # nothing
    advantages, returns = gae(rewards, values, mask, GAMMA, LAM)
    for b in range(4):
        real = mask[b].nonzero()[:, 0]
        want = torch.zeros(9, dtype=torch.float64)
        want[real] = torch.tensor(
            by_definition(rewards[b, real].tolist(), values[b, real].tolist()), dtype=torch.float64
        )
        torch.testing.assert_close(advantages[b], want, rtol=0, atol=1e-12)
        torch.testing.assert_close(returns[b], torch.where(mask[b], advantages[b] + values[b], 0.0), rtol=0, atol=0)


def test_gae_by_hand():
    one = torch.ones(1, 2, dtype=torch.bool)
    advantages, returns = gae(torch.tensor([[0.5, 2.0]]), torch.tensor([[1.0, 3.0]]), one, 0.5, 0.5)
    assert advantages.tolist() == [[0.5 + 1.5 - 1.0 + 0.25 * -1.0, -1.0]]
    assert returns.tolist() == [[1.75, 2.0]]


def test_lambda_one_is_the_return_minus_the_value():
    rewards, values = torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([[0.5, -1.0, 7.0]])
    advantages, returns = gae(rewards, values, torch.ones(1, 3, dtype=torch.bool), 1.0, 1.0)
    assert advantages.tolist() == [[6.5, 7.0, -3.0]]
    assert returns.tolist() == [[7.0, 6.0, 4.0]]


def test_whitening_by_hand():
    values = torch.tensor([[1.0, 2.0, 100.0], [6.0, 100.0, 100.0]], dtype=torch.float64)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    # 1, 2, 6: mean 3, unbiased variance 7
    white = whiten(values, mask)
    want = torch.tensor([[-2.0, -1.0, 0.0], [3.0, 0.0, 0.0]], dtype=torch.float64) / 7**0.5
    torch.testing.assert_close(white, want, rtol=1e-7, atol=0)
    kept = whiten(values, mask, shift_mean=False)
    torch.testing.assert_close(kept, (want + 3) * mask, rtol=1e-7, atol=0)


@pytest.mark.parametrize("values", [[[5.0, 9.0]], [[5.0, 5.0]]])
def test_whitening_one_entry_or_equal_ones_only_shifts(values: list[list[float]]):
    given = torch.tensor(values)
    mask = given == 5.0
    assert whiten(given, mask).abs().max() == 0.0
    assert whiten(given, mask, shift_mean=False).tolist() == (given * mask).tolist()


def test_scores_stand_on_the_last_token():
    mask = torch.tensor([[0, 1, 1, 0], [1, 0, 1, 1], [0, 0, 0, 0]]).bool()
    placed = at_last_token(torch.tensor([2.0, -3.0, 5.0]), mask)
    assert placed.tolist() == [[0, 0, 2, 0], [0, 0, 0, -3], [0, 0, 0, 0]]


def test_returns_to_go_with_gaps_and_padding():
    rewards = torch.tensor([[9.0, 1.0, 2.0, 9.0, 4.0], [9.0, 3.0, 9.0, 9.0, 9.0]])
    mask = torch.tensor([[0, 1, 1, 0, 1], [0, 1, 0, 0, 0]]).bool()
    assert returns_to_go(rewards, mask, 0.5).tolist() == [[0, 1 + 1 + 1, 2 + 2, 0, 4], [0, 3, 0, 0, 0]]
    assert returns_to_go(rewards, mask, 1.0).tolist() == [[0, 7, 6, 0, 4], [0, 3, 0, 0, 0]]


GROUPS = [7, 2, 7, 7, 2, 5]  # neither sorted nor side by side; the last alone
VALUES = [1.0, 4.0, 3.0, 8.0, -2.0, 6.0]


def members(i: int) -> list[float]:
    return [v for v, g in zip(VALUES, GROUPS, strict=True) if g == GROUPS[i]]


def others(i: int) -> list[float]:
    return [v for j, (v, g) in enumerate(zip(VALUES, GROUPS, strict=True)) if g == GROUPS[i] and j != i]


@pytest.mark.parametrize(
    ("statistic", "by_hand"),
    [
        (group_mean, lambda i: statistics.mean(members(i))),
        (leave_one_out_mean, lambda i: statistics.mean(others(i)) if others(i) else 0.0),
        (group_std, lambda i: statistics.stdev(members(i)) if others(i) else 0.0),
        (batch_mean, lambda i: statistics.mean(VALUES)),
        (no_baseline, lambda i: 0.0),
    ],
)
def test_statistics_of_groups(statistic: Callable[..., torch.Tensor], by_hand: Callable[[int], float]):
    values, groups = torch.tensor(VALUES, dtype=torch.float64), torch.tensor(GROUPS)
    want = [by_hand(i) for i in range(6)]
    assert statistic(values, groups).tolist() == pytest.approx(want, abs=1e-12)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    assert statistic(values[order], groups[order]).tolist() == pytest.approx([want[i] for i in order], abs=1e-12)
    assert statistic(values[:0], groups[:0]).tolist() == []
