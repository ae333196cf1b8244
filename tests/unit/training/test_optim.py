"""The schedule by hand; which weights decay; rates of their own."""

import math

import pytest
import torch
from torch import nn

from assent.training.optim import OptimSettings, build_optimizer, place_epsilon, schedule


def factors(total: int, **settings: float | str) -> list[float]:
    made = OptimSettings(**settings)  # pyright: ignore[reportArgumentType]
    return [schedule(made, step, total) for step in range(total)]


def test_linear_decay():
    assert factors(4) == [1.0, 0.75, 0.5, 0.25]


def test_warm_up_rises_to_the_peak_and_no_step_is_lost():
    assert factors(6, warmup_steps=2) == pytest.approx([1 / 3, 2 / 3, 1.0, 0.75, 0.5, 0.25])
    assert factors(6, warmup_ratio=1 / 3) == factors(6, warmup_steps=2)
    assert factors(6, warmup_steps=2, warmup_ratio=0.9) == factors(6, warmup_steps=2)


def test_cosine_and_constant():
    assert factors(4, lr_scheduler_type="cosine") == pytest.approx([1.0, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5])
    assert factors(3, lr_scheduler_type="constant", warmup_steps=1) == [0.5, 1.0, 1.0]


def test_all_steps_in_the_warm_up():
    assert factors(3, warmup_ratio=1.0) == [0.25, 0.5, 0.75]


def test_biases_and_norms_do_not_decay_and_frozen_weights_are_left_out():
    module = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2), nn.Linear(2, 2))
    module[2].weight.requires_grad_(False)
    optimizer = build_optimizer(module.named_parameters(), OptimSettings(weight_decay=0.1, adam_epsilon=1e-5), 0.3)
    decayed, others = optimizer.param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    assert [p is module[0].weight for p in decayed["params"]] == [True]
    assert len(others["params"]) == 4
    assert all(group["peak_lr"] == group["lr"] == 0.3 and group["eps"] == 1e-5 for group in optimizer.param_groups)


def test_the_first_update_by_hand():
    """AdamW: after bias correction the first step is lr * g / (|g| + eps), and decay is lr * wd * w."""
    weight, bias = nn.Parameter(torch.full((1, 1), 2.0)), nn.Parameter(torch.full((1,), 2.0))
    settings = OptimSettings(weight_decay=0.5, adam_epsilon=1.0)
    optimizer = build_optimizer([("w", weight), ("b", bias)], settings, 0.1)
    weight.grad, bias.grad = torch.full((1, 1), 3.0), torch.full((1,), -1.0)
    optimizer.step()
    assert float(weight.detach()) == pytest.approx(2.0 - 0.1 * 0.5 * 2.0 - 0.1 * 3 / 4, abs=1e-6)
    assert float(bias.detach()) == pytest.approx(2.0 + 0.1 * 1 / 2, abs=1e-6)


@pytest.mark.parametrize("placement", ["pytorch", "tensorflow"])
def test_epsilon_is_where_the_setting_puts_it(placement: str):
    """Against both frameworks' update rules written out, over five updates of gradients near epsilon's size."""
    settings = OptimSettings(adam_epsilon=1e-3, adam_epsilon_placement=placement)  # pyright: ignore[reportArgumentType]
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
    optimizer = build_optimizer([("w", weight)], settings, 0.1)
    want, m, v = weight.detach().clone(), torch.zeros(2).double(), torch.zeros(2).double()
    for t in range(1, 6):
        weight.grad = torch.tensor([1e-3 * t, -2e-4], dtype=torch.float64)
        place_epsilon(optimizer, settings)
        optimizer.step()
        m, v = 0.9 * m + 0.1 * weight.grad, 0.999 * v + 0.001 * weight.grad.square()
        if placement == "pytorch":
            want -= 0.1 * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-3)
        else:
            want -= 0.1 * math.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (v.sqrt() + 1e-3)
        torch.testing.assert_close(weight.detach(), want, rtol=0, atol=1e-12)
