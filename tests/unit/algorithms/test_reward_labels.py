"""Labels as targets: classes balanced by weight, numbers on any scale, several criteria."""

import math
from typing import Any

import pytest
import torch

from assent.algorithms.batch import Batch, Outputs, Pairs
from assent.algorithms.reward_classifier import ALGORITHM, RewardClassifierSettings, loss, weights
from assent.testing.algorithm import check_algorithm
from assent.training.reduce import reduce_loss

NONE = torch.zeros(0)
SCORES = torch.tensor([[2.0, -1.0], [1.0, 0.5], [-1.0, 3.0]], dtype=torch.float64)


def total(labels: list[float], heads: tuple[int, ...] = (0, 0, 0), **settings: Any) -> tuple[float, torch.Tensor, Any]:
    """The loss, its gradient by the scores, and the metrics."""
    rows = len(labels)
    mask = torch.ones(rows, 1, dtype=torch.bool)
    columns = {"labels": torch.tensor(labels, dtype=torch.float64), "heads": torch.tensor(heads, dtype=torch.float32)}
    batch = Batch(torch.zeros(rows, 1, dtype=torch.long), mask, mask, torch.arange(rows), Pairs.none(), columns)
    scores, given = SCORES.clone().requires_grad_(), RewardClassifierSettings(**settings)
    found, parts = loss(Outputs(NONE, NONE, NONE, scores), batch, given), weights(batch, given)
    whole = reduce_loss(found.terms, found.coefficients, parts, {name: part.count for name, part in parts.items()})
    whole.backward()
    assert scores.grad is not None
    return whole.item(), scores.grad, found.metrics


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x))


def test_a_good_label_weighs_as_much_as_is_asked_and_the_mean_is_over_weights():
    want = -(3 * log_sigmoid(2) + log_sigmoid(-1) + 3 * 0.25 * log_sigmoid(-1) + 0.75 * log_sigmoid(1))
    found, _, metrics = total([1.0, 0.0, 0.25], good_weight=3.0)
    assert found == pytest.approx(want / (3 + 1 + 3 * 0.25 + 0.75), abs=1e-12)
    assert float(metrics["loss"].total / metrics["loss"].count) == pytest.approx(found, abs=1e-12)


def test_balanced_classes_pull_equally():
    """One good label of three, weighed 2: at equal scores the pulls of the classes cancel."""
    mask = torch.ones(3, 1, dtype=torch.bool)
    columns = {"labels": torch.tensor([1.0, 0.0, 0.0]), "heads": torch.zeros(3)}
    batch = Batch(torch.zeros(3, 1, dtype=torch.long), mask, mask, torch.arange(3), Pairs.none(), columns)
    for good_weight, cancels in ((2.0, True), (1.0, False)):
        given = RewardClassifierSettings(good_weight=good_weight)
        bias = torch.zeros(1, requires_grad=True)
        found = loss(Outputs(NONE, NONE, NONE, bias.expand(3, 1)), batch, given)
        (found.terms["label"] * weights(batch, given)["label"].weights).sum().backward()
        assert bias.grad is not None
        assert (abs(float(bias.grad)) < 1e-6) == cancels


def test_squared_error_takes_numbers_on_any_scale():
    found, gradient, metrics = total([4.0, -2.5, 0.0], label_loss="squared", good_weight=7.0)
    assert found == pytest.approx((2.0**2 + 3.5**2 + 1.0**2) / 3, abs=1e-12)
    assert gradient[:, 0].tolist() == pytest.approx([-4.0 / 3, 7.0 / 3, -2.0 / 3], abs=1e-12)
    assert "accuracy" not in metrics


@pytest.mark.parametrize("label_loss", ["logistic", "squared"])
def test_each_row_trains_the_head_of_its_criterion_alone(label_loss: Any):
    found, gradient, _ = total([1.0, 0.0, 1.0], heads=(1, 0, 1), label_loss=label_loss)
    each = {
        "logistic": -log_sigmoid(-1.0) - log_sigmoid(-1.0) - log_sigmoid(3.0),
        "squared": 2.0**2 + 1.0**2 + 2.0**2,
    }
    assert found == pytest.approx(each[label_loss] / 3, abs=1e-12)
    assert (gradient != 0).tolist() == [[False, True], [True, False], [False, True]]


@pytest.mark.parametrize("settings", [{"good_weight": 3.0}, {"label_loss": "squared"}])
def test_the_contract_holds_for_other_settings(settings: dict[str, Any]):
    check_algorithm(ALGORITHM, RewardClassifierSettings(**settings))
