"""SPIN: its terms by hand; where an iteration ends, and that it stays at the demonstrator's distribution."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from assent.algorithms import dpo
from assent.algorithms.batch import Batch, Outputs, Pairs
from assent.algorithms.spin import SPINSettings, loss, weights
from assent.training.reduce import reduce_loss

NONE = torch.zeros(0)


def make_batch(ref: torch.Tensor, real: torch.Tensor, pairs: Any, pair_weights: Any, ties: Any = None) -> Batch:
    made = Pairs.of(torch.tensor(pairs), torch.tensor(pair_weights, dtype=torch.float64))
    return Batch(
        tokens=torch.zeros(ref.shape, dtype=torch.long),
        mask=torch.ones(ref.shape, dtype=torch.bool),
        completion_mask=real,
        groups=torch.zeros(len(ref), dtype=torch.long),
        pairs=made if ties is None else replace(made, ties=torch.tensor(ties)),
        columns={"ref_logprobs": ref},
    )


def reduced(logprobs: torch.Tensor, batch: Batch, settings: SPINSettings) -> torch.Tensor:
    found, parts = loss(Outputs(logprobs, NONE, NONE, NONE), batch, settings), weights(batch, settings)
    return reduce_loss(found.terms, found.coefficients, parts, {name: part.count for name, part in parts.items()})


def by_hand() -> tuple[torch.Tensor, Batch]:
    """A demonstration of two tokens, and samples of one and three."""
    logprobs = torch.tensor([[7.0, -1.0, -0.5, 7.0], [7.0, -2.0, 7.0, 7.0], [7.0, -1.0, -1.0, -1.5]]).double()
    ref = torch.tensor([[0.0, -1.5, -1.5, 0.0], [0.0, -1.0, 0.0, 0.0], [0.0, -1.0, -2.0, -1.5]]).double()
    real = torch.tensor([[0, 1, 1, 0], [0, 1, 0, 0], [0, 1, 1, 1]]).bool()
    # log-ratios of the sequences: 1.5, -1, 1
    return logprobs, make_batch(ref, real, [(0, 1), (0, 2), (1, 2)], [0.5, 0.25, 9.0], [False, False, True])


@pytest.mark.parametrize(
    ("name", "term"), [("sigmoid", lambda t: math.log1p(math.exp(-t))), ("hinge", lambda t: max(0.0, 1.0 - t))]
)
def test_the_loss_by_hand(name: Any, term: Any):
    logprobs, batch = by_hand()
    settings = SPINSettings(beta=0.5, loss=name)
    want = (0.5 * term(0.5 * 2.5) + 0.25 * term(0.5 * 0.5)) / 0.75  # the tie says nothing
    assert float(reduced(logprobs, batch, settings)) == pytest.approx(want, abs=1e-12)
    metrics = loss(Outputs(logprobs, NONE, NONE, NONE), batch, settings).metrics
    figures = {key: float(mean.total / mean.count) for key, mean in metrics.items()}
    assert figures["loss"] == pytest.approx(want)
    assert figures["margin"] == pytest.approx((1.25 + 0.25) / 2)
    assert figures["reward_chosen"] == pytest.approx(0.75)
    assert figures["reward_rejected"] == pytest.approx(0.5 * (-1.0 + 1.0) / 2)
    assert figures["logprob_chosen"] == pytest.approx(-1.5)
    assert figures["accuracy"] == 1.0


def test_without_ties_it_is_dpo():
    """What the page says: the pairs are other ones, the loss of a pair is the same."""
    logprobs, batch = by_hand()
    batch = replace(batch, pairs=replace(batch.pairs, ties=torch.zeros(3, dtype=torch.bool)))
    outputs = Outputs(logprobs, NONE, NONE, NONE)
    for name in ("sigmoid", "hinge"):
        ours = loss(outputs, batch, SPINSettings(beta=0.3, loss=name)).terms["pair"]
        theirs = dpo.loss(outputs, batch, dpo.DPOSettings(beta=0.3, loss=name)).terms["pair"]
        assert ours.tolist() == pytest.approx(theirs.tolist(), abs=1e-12)


DATA = torch.tensor([0.5, 0.2, 0.1, 0.2], dtype=torch.float64)
OTHER = torch.tensor([0.1, 0.3, 0.4, 0.2], dtype=torch.float64)


def bandit(opponent: torch.Tensor) -> Batch:
    """Every pair of a demonstration and a sample of the opponent, by its probability: one prompt, four answers.

    A pair of equals is left out, as the contrast stage does it.
    """
    pairs = [(a, b) for a in range(4) for b in range(4) if a != b]
    each = [float(DATA[a] * opponent[b]) for a, b in pairs]
    return make_batch(opponent.log()[:, None], torch.ones(4, 1, dtype=torch.bool), pairs, each)


def gradient(policy: torch.Tensor, opponent: torch.Tensor, settings: SPINSettings) -> torch.Tensor:
    logits = policy.log().requires_grad_()
    reduced(torch.log_softmax(logits, 0)[:, None], bandit(opponent), settings).backward()
    assert logits.grad is not None
    return logits.grad


@pytest.mark.parametrize("name", ["sigmoid", "hinge"])
def test_the_demonstrators_distribution_is_a_fixed_point_and_no_other_is(name: Any):
    settings = SPINSettings(beta=0.5, loss=name)
    assert gradient(DATA, DATA, settings).abs().max() < 1e-12
    # at an opponent that is not the demonstrator, the first step is towards it: along data - opponent
    step = -gradient(OTHER, OTHER, settings)
    torch.testing.assert_close(step / step.norm(), (DATA - OTHER) / (DATA - OTHER).norm(), rtol=0, atol=1e-9)
    assert step.norm() > 0.05
    assert gradient(DATA, OTHER, settings).abs().max() > 0.01  # beta 0.5: the iteration's end is beyond the data


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_an_iteration_ends_where_theorem_5_4_says(beta: float):
    """pi ∝ opponent * (data / opponent)^(1 / beta); with beta = 1 that is the data at once."""
    settings, batch = SPINSettings(beta=beta), bandit(OTHER)
    logits = OTHER.log().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [logits], max_iter=300, tolerance_grad=1e-13, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure() -> Any:
        optimizer.zero_grad()
        total = reduced(torch.log_softmax(logits, 0)[:, None], batch, settings)
        total.backward()
        return total

    optimizer.step(closure)
    want = OTHER * (DATA / OTHER) ** (1 / beta)
    torch.testing.assert_close(torch.softmax(logits.detach(), 0), want / want.sum(), rtol=0, atol=1e-6)
    assert (want / want.sum() - OTHER).abs().max() > 0.1
