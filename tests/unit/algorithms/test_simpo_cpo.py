"""SimPO and CPO against their papers in plain Python; neither looks at a reference."""

import math
from types import ModuleType
from typing import Any

import pytest
import torch

from assent.algorithms import cpo, simpo
from assent.algorithms.batch import Batch, Outputs, Pairs
from assent.training.reduce import reduce_loss

NONE = torch.zeros(0)
REAL = [[0, 1, 1, 1], [0, 1, 1, 0], [0, 0, 1, 1]]
LOGPROBS = [[-9.0, -0.1, -0.2, -0.6], [-9.0, -1.0, -0.5, -9.0], [-9.0, -9.0, -2.0, -0.25]]
SUMS = [-0.9, -1.5, -2.25]
MEANS = [-0.9 / 3, -1.5 / 2, -2.25 / 2]


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x))


def logistic(z: float, target: float) -> float:
    return -target * log_sigmoid(z) - (1 - target) * log_sigmoid(-z)


def batch_of(pairs: Any, ties: Any, weights: Any = None, confidence: Any = None, **columns: Any) -> Batch:
    count = len(pairs)
    return Batch(
        tokens=torch.zeros(3, 4, dtype=torch.long),
        mask=torch.ones(3, 4, dtype=torch.bool),
        completion_mask=torch.tensor(REAL).bool(),
        groups=torch.zeros(3, dtype=torch.long),
        pairs=Pairs(
            rows=torch.tensor(pairs),
            weights=torch.tensor(weights or [1.0] * count, dtype=torch.float64),
            ties=torch.tensor(ties),
            margins=torch.zeros(count, dtype=torch.float64),
            confidence=torch.tensor(confidence or [1.0] * count, dtype=torch.float64),
            heads=torch.zeros(count, dtype=torch.long),
        ),
        columns=columns,
    )


def run(module: ModuleType, batch: Batch, settings: Any, logprobs: Any = LOGPROBS) -> tuple[float, torch.Tensor]:
    """The reduced loss and its gradient."""
    leaf = torch.tensor(logprobs, dtype=torch.float64, requires_grad=True)
    found, parts = module.loss(Outputs(leaf, NONE, NONE, NONE), batch, settings), module.weights(batch, settings)
    value = reduce_loss(found.terms, found.coefficients, parts, {name: part.count for name, part in parts.items()})
    value.backward()
    assert leaf.grad is not None
    return float(value.detach()), leaf.grad


def figures(module: ModuleType, batch: Batch, settings: Any) -> dict[str, float]:
    found = module.loss(Outputs(torch.tensor(LOGPROBS, dtype=torch.float64), NONE, NONE, NONE), batch, settings)
    return {name: float(mean.total / mean.count) for name, mean in found.metrics.items()}


def test_simpo_by_hand():
    """Eq. 6; the tie has no margin to keep."""
    batch = batch_of([(0, 1), (1, 2)], [False, True], [2.0, 0.5])
    settings = simpo.SimPOSettings(beta=2.5, gamma=0.8)
    first = logistic(2.5 * (MEANS[0] - MEANS[1]) - 0.8, 1.0)
    tie = logistic(2.5 * (MEANS[1] - MEANS[2]), 0.5)
    want = (2.0 * first + 0.5 * tie) / 2.5
    assert run(simpo, batch, settings)[0] == pytest.approx(want, abs=1e-12)
    found = figures(simpo, batch, settings)
    assert found["loss"] == pytest.approx(want, abs=1e-12)
    assert found["margin"] == pytest.approx(2.5 * (MEANS[0] - MEANS[1]))
    assert found["reward_chosen"] == pytest.approx(2.5 * MEANS[0])
    assert found["reward_rejected"] == pytest.approx(2.5 * MEANS[1])
    assert found["logprob_chosen"] == pytest.approx(SUMS[0])
    assert found["accuracy"] == 1.0


def test_cpo_by_hand():
    """Eq. 3 and the likelihood of the best answers, over their tokens: rows 0 and 1 won and lost nothing."""
    batch = batch_of([(0, 2), (1, 2), (0, 1)], [False, False, True], [1.0, 2.0, 1.0])
    settings = cpo.CPOSettings(beta=0.4, nll_coefficient=0.7)
    gaps = [0.4 * (SUMS[a] - SUMS[b]) for a, b in ((0, 2), (1, 2), (0, 1))]
    pair = (logistic(gaps[0], 1.0) + 2.0 * logistic(gaps[1], 1.0) + logistic(gaps[2], 0.5)) / 4
    nll = (0.9 + 1.5) / 5
    assert run(cpo, batch, settings)[0] == pytest.approx(pair + 0.7 * nll, abs=1e-12)
    found = figures(cpo, batch, settings)
    assert found["loss"] == pytest.approx(pair, abs=1e-12)
    assert found["nll"] == pytest.approx(nll, abs=1e-12)
    assert found["margin"] == pytest.approx((gaps[0] + gaps[1]) / 2)
    assert found["reward_chosen"] == pytest.approx(0.4 * (SUMS[0] + SUMS[1]) / 2)
    assert found["reward_rejected"] == pytest.approx(0.4 * SUMS[2])


@pytest.mark.parametrize(
    ("module", "settings", "gap"),
    [
        (simpo, simpo.SimPOSettings(beta=2.0, gamma=0.5, label_smoothing=0.1), 2.0 * (MEANS[0] - MEANS[1]) - 0.5),
        (cpo, cpo.CPOSettings(beta=0.3, nll_coefficient=0.0, label_smoothing=0.1), 0.3 * (SUMS[0] - SUMS[1])),
    ],
)
def test_confidence_and_smoothing_make_the_target(module: ModuleType, settings: Any, gap: float):
    batch = batch_of([(0, 1)], [False], confidence=[0.8])
    want = logistic(gap, 0.8 * 0.9 + 0.2 * 0.1)
    assert run(module, batch, settings)[0] == pytest.approx(want, abs=1e-12)


def test_the_gradient_of_simpo():
    """-beta sigmoid(-z) / |y| for each token of chosen: the longer answer's tokens count less."""
    batch, settings = batch_of([(0, 1)], [False]), simpo.SimPOSettings(beta=2.5, gamma=0.8)
    pull = 2.5 / (1 + math.exp(2.5 * (MEANS[0] - MEANS[1]) - 0.8))
    want = torch.tensor([[0, 1, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]], dtype=torch.float64) * (-pull / 3)
    want += torch.tensor([[0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]], dtype=torch.float64) * (pull / 2)
    torch.testing.assert_close(run(simpo, batch, settings)[1], want, rtol=0, atol=1e-12)


def test_the_gradient_of_cpo():
    batch, settings = batch_of([(0, 1)], [False]), cpo.CPOSettings(beta=0.4, nll_coefficient=0.6)
    pull = 0.4 / (1 + math.exp(0.4 * (SUMS[0] - SUMS[1])))
    want = torch.tensor([[0, 1, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]], dtype=torch.float64) * (-pull - 0.6 / 3)
    want += torch.tensor([[0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]], dtype=torch.float64) * pull
    torch.testing.assert_close(run(cpo, batch, settings)[1], want, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("module", "settings"), [(simpo, simpo.SimPOSettings()), (cpo, cpo.CPOSettings())])
def test_a_reference_changes_nothing(module: ModuleType, settings: Any):
    assert "ref_logprobs" not in module.ALGORITHM.needs
    pairs, ties = [(0, 1), (1, 2)], [False, True]
    plain = run(module, batch_of(pairs, ties), settings)
    reference = torch.tensor(LOGPROBS, dtype=torch.float64) * 3.0
    other = run(module, batch_of(pairs, ties, ref_logprobs=reference), settings)
    assert other[0] == plain[0]
    assert torch.equal(other[1], plain[1])


@pytest.mark.parametrize(("module", "settings"), [(simpo, simpo.SimPOSettings()), (cpo, cpo.CPOSettings())])
def test_it_falls_when_the_chosen_logprob_rises(module: ModuleType, settings: Any):
    batch = batch_of([(0, 1)], [False])
    raised = [[x + 0.05 for x in LOGPROBS[0]], *LOGPROBS[1:]]
    assert run(module, batch, settings, raised)[0] < run(module, batch, settings)[0] - 1e-3


def test_simpo_does_not_mind_length():
    """Other lengths with the means of the first two rows: the same loss."""
    same_means = [[-9.0, -0.3, -0.3, -0.3], [-9.0, -0.75, -0.75, -0.75], [-9.0] * 4]
    batch = Batch(
        tokens=torch.zeros(3, 4, dtype=torch.long),
        mask=torch.ones(3, 4, dtype=torch.bool),
        completion_mask=torch.tensor([[0, 1, 0, 0], [0, 1, 1, 1], [0, 1, 0, 0]]).bool(),
        groups=torch.zeros(3, dtype=torch.long),
        pairs=Pairs.of(torch.tensor([(0, 1)])),
    )
    settings = simpo.SimPOSettings(beta=2.5, gamma=0.8)
    want = logistic(2.5 * (MEANS[0] - MEANS[1]) - 0.8, 1.0)
    assert run(simpo, batch, settings, same_means)[0] == pytest.approx(want, abs=1e-12)
