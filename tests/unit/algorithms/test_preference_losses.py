"""The losses of a pair: against the papers' formulas in plain Python, at their optima, on ties, under label flips."""

import math
from typing import Any

import pytest
import torch

from assent.algorithms import dpo
from assent.algorithms.batch import Batch, Outputs, Pairs
from assent.algorithms.preferences import PAIR_LOSSES, PairLoss, best_rows, completion_sums, logistic_loss, soft_targets
from assent.training.reduce import reduce_loss

NONE = torch.zeros(0)
BETA = 0.4


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def paper(name: str, gap: float) -> float:
    """The loss of a sure pair whose log-ratios differ by ``gap``, as its paper writes it."""
    return {
        "sigmoid": -log_sigmoid(BETA * gap),
        "robust": -log_sigmoid(BETA * gap),
        "ipo": (gap - 1 / (2 * BETA)) ** 2,
        "hinge": max(0.0, 1 - BETA * gap),
    }[name]


def at(loss: PairLoss, gap: float, target: float = 1.0, flips: float = 0.0) -> float:
    return float(loss(tensor(BETA * gap), tensor(target), BETA, flips))


def slope(loss: PairLoss, logit: float, target: float, flips: float = 0.0) -> float:
    z = tensor(logit).requires_grad_()
    loss(z, tensor(target), BETA, flips).sum().backward()
    assert z.grad is not None
    return float(z.grad)


@pytest.mark.parametrize("name", PAIR_LOSSES)
@pytest.mark.parametrize("gap", [-3.0, -0.2, 0.0, 1.0, 1.3, 4.0])
def test_a_sure_pair_is_the_papers(name: str, gap: float):
    assert at(PAIR_LOSSES[name], gap) == pytest.approx(paper(name, gap), abs=1e-12)


@pytest.mark.parametrize(("gap", "flips"), [(-2.0, 0.1), (0.7, 0.3), (3.0, 0.45)])
def test_smoothed_and_robust_by_hand(gap: float, flips: float):
    z = BETA * gap
    conservative = -(1 - flips) * log_sigmoid(z) - flips * log_sigmoid(-z)
    assert at(PAIR_LOSSES["sigmoid"], gap, 1.0, flips) == pytest.approx(conservative, abs=1e-12)
    robust = (-(1 - flips) * log_sigmoid(z) + flips * log_sigmoid(-z)) / (1 - 2 * flips)
    assert at(PAIR_LOSSES["robust"], gap, 1.0, flips) == pytest.approx(robust, abs=1e-12)
    ipo = (1 - flips) * (gap - 1 / (2 * BETA)) ** 2 + flips * (gap + 1 / (2 * BETA)) ** 2
    assert at(PAIR_LOSSES["ipo"], gap, 1.0, flips) == pytest.approx(ipo, abs=1e-12)
    margin = 1 - 2 * flips
    hinge = (1 - flips) * max(0.0, margin - z) + flips * max(0.0, margin + z)
    assert at(PAIR_LOSSES["hinge"], gap, 1.0, flips) == pytest.approx(hinge, abs=1e-12)


@pytest.mark.parametrize("flips", [0.1, 0.3, 0.45])
@pytest.mark.parametrize("target", [1.0, 0.8, 0.5])
def test_robust_is_the_clean_loss_in_expectation_over_flips(flips: float, target: float):
    """Chowdhury et al. 2024: a flipped pair has the logit -z; the conservative loss has no such expectation."""
    for z in (-1.5, 0.3, 2.0):
        clean = float(logistic_loss(tensor(z), tensor(target)))
        mean = {
            name: (1 - flips) * at(PAIR_LOSSES[name], z / BETA, target, flips)
            + flips * at(PAIR_LOSSES[name], -z / BETA, target, flips)
            for name in ("robust", "sigmoid")
        }
        assert mean["robust"] == pytest.approx(clean, abs=1e-12)
        if target > 0.5:
            assert abs(mean["sigmoid"] - clean) > 0.01


@pytest.mark.parametrize("name", PAIR_LOSSES)
def test_a_tie_pulls_to_equality_from_both_sides(name: str):
    loss = PAIR_LOSSES[name]
    for flips in (0.0, 0.2):
        for z in (0.05, 0.6, 3.0):
            assert slope(loss, z, 0.5, flips) > 0.01
            assert slope(loss, -z, 0.5, flips) == pytest.approx(-slope(loss, z, 0.5, flips), abs=1e-12)
        assert slope(loss, 0.0, 0.5, flips) == 0.0


@pytest.mark.parametrize(
    ("name", "best"),
    [
        ("sigmoid", lambda t: math.log(t / (1 - t))),
        ("robust", lambda t: math.log(t / (1 - t))),
        ("ipo", lambda t: BETA * (2 * t - 1) / (2 * BETA)),
        ("hinge", lambda t: 2 * t - 1),
    ],
)
@pytest.mark.parametrize("target", [0.6, 0.9, 0.2])
def test_the_optimum_of_a_soft_target(name: str, best: Any, target: float):
    """logit(t); (2 t - 1) / (2 beta) in log-ratio; 2 t - 1: each where the slope changes its sign."""
    optimum = best(target)
    assert slope(PAIR_LOSSES[name], optimum - 1e-3, target) < -1e-5
    assert slope(PAIR_LOSSES[name], optimum + 1e-3, target) > 1e-5


@pytest.mark.parametrize("name", PAIR_LOSSES)
def test_a_loss_falls_when_chosen_rises(name: str):
    for z in (-4.0, -0.5, 0.0, 0.4):
        assert slope(PAIR_LOSSES[name], z, 1.0) < -0.01
        assert slope(PAIR_LOSSES[name], z, 1.0, 0.05) < -0.01


def test_beyond_their_margins_ipo_pulls_back_and_hinge_rests():
    assert slope(PAIR_LOSSES["ipo"], 0.6, 1.0) > 0.1
    assert slope(PAIR_LOSSES["hinge"], 1.1, 1.0) == 0.0
    assert slope(PAIR_LOSSES["sigmoid"], 8.0, 1.0) < 0.0


def test_targets_of_ties_and_confidence():
    pairs = Pairs(
        rows=torch.tensor([[0, 1]] * 3),
        weights=tensor(1, 1, 1),
        ties=torch.tensor([False, True, False]),
        margins=tensor(0, 0, 0),
        confidence=tensor(1.0, 0.7, 0.7),
        heads=torch.zeros(3, dtype=torch.long),
    )
    torch.testing.assert_close(soft_targets(pairs), tensor(1.0, 0.5, 0.7))
    torch.testing.assert_close(soft_targets(pairs, 0.1), tensor(0.9, 0.5, 0.7 * 0.9 + 0.3 * 0.1))


LOGPROBS = [[-9.0, -1.0, -2.0, -3.0], [-9.0, -0.5, -0.25, -9.0], [-9.0, -9.0, -4.0, -0.5]]
REF = [[-7.0, -1.5, -1.0, -2.0], [-7.0, -1.0, -1.5, -7.0], [-7.0, -7.0, -2.5, -1.0]]
REAL = [[0, 1, 1, 1], [0, 1, 1, 0], [0, 0, 1, 1]]
SUMS = [-6.0 + 4.5, -0.75 + 2.5, -4.5 + 3.5]  # of log pi - log ref over the real tokens, row by row
LENGTHS = [3, 2, 2]


def batch_of(pairs: Any, ties: Any = None, margins: Any = None, weights: Any = None, confidence: Any = None) -> Batch:
    count = len(pairs)
    return Batch(
        tokens=torch.zeros(3, 4, dtype=torch.long),
        mask=torch.ones(3, 4, dtype=torch.bool),
        completion_mask=torch.tensor(REAL).bool(),
        groups=torch.zeros(3, dtype=torch.long),
        pairs=Pairs(
            rows=torch.tensor(pairs),
            weights=tensor(*(weights or [1.0] * count)),
            ties=torch.tensor(ties or [False] * count),
            margins=tensor(*(margins or [0.0] * count)),
            confidence=tensor(*(confidence or [1.0] * count)),
            heads=torch.zeros(count, dtype=torch.long),
        ),
        columns={"ref_logprobs": torch.tensor(REF, dtype=torch.float64)},
    )


def dpo_total(settings: dpo.DPOSettings, batch: Batch, logprobs: Any = LOGPROBS) -> float:
    outputs = Outputs(torch.tensor(logprobs, dtype=torch.float64), NONE, NONE, NONE)
    parts = dpo.weights(batch, settings)
    found = dpo.loss(outputs, batch, settings)
    return float(reduce_loss(found.terms, found.coefficients, parts, {n: p.count for n, p in parts.items()}))


def test_sums_and_means_of_completions():
    batch = batch_of([(0, 1)])
    gaps = torch.tensor(LOGPROBS, dtype=torch.float64) - batch["ref_logprobs"]
    assert completion_sums(gaps, batch).tolist() == pytest.approx(SUMS)
    means = [s / n for s, n in zip(SUMS, LENGTHS, strict=True)]
    assert completion_sums(gaps, batch, average=True).tolist() == pytest.approx(means)
    assert completion_sums(gaps.bfloat16(), batch).dtype == torch.float32


@pytest.mark.parametrize("name", PAIR_LOSSES)
@pytest.mark.parametrize("normalised", [False, True])
def test_every_loss_through_dpo(name: str, normalised: bool):
    """Pairs (1 over 0) of weight 2 and (2 over 0): the weighted mean of the papers' losses of the log-ratios' gaps."""
    settings = dpo.DPOSettings(beta=BETA, loss=name, length_normalised=normalised)  # type: ignore[arg-type]
    ratios = [s / n if normalised else s for s, n in zip(SUMS, LENGTHS, strict=True)]
    want = (2 * paper(name, ratios[1] - ratios[0]) + paper(name, ratios[2] - ratios[0])) / 3
    assert dpo_total(settings, batch_of([(1, 0), (2, 0)], weights=[2.0, 1.0])) == pytest.approx(want, abs=1e-12)


def test_margins_offset_and_weigh():
    gaps = [BETA * (SUMS[1] - SUMS[0]), BETA * (SUMS[2] - SUMS[0])]
    batch = batch_of([(1, 0), (2, 0)], margins=[3.0, 0.0], ties=[False, True])
    tie = -0.5 * (log_sigmoid(gaps[1]) + log_sigmoid(-gaps[1]))
    offset = dpo.DPOSettings(beta=BETA, margin_offset=0.2)
    want = (-log_sigmoid(gaps[0] - 0.2 * 3.0) + tie) / 2
    assert dpo_total(offset, batch) == pytest.approx(want, abs=1e-12)
    weighed = dpo.DPOSettings(beta=BETA, margin_weight=0.5)
    want = (2.5 * -log_sigmoid(gaps[0]) + tie) / 3.5
    assert dpo_total(weighed, batch) == pytest.approx(want, abs=1e-12)


def test_confidence_and_smoothing_reach_the_loss():
    z = BETA * (SUMS[1] - SUMS[0])
    batch = batch_of([(1, 0)], confidence=[0.8])
    assert dpo_total(dpo.DPOSettings(beta=BETA), batch) == pytest.approx(
        -0.8 * log_sigmoid(z) - 0.2 * log_sigmoid(-z), abs=1e-12
    )
    target = (0.8 - 0.25) / 0.5
    assert dpo_total(dpo.DPOSettings(beta=BETA, loss="robust", label_smoothing=0.25), batch) == pytest.approx(
        -target * log_sigmoid(z) - (1 - target) * log_sigmoid(-z), abs=1e-12
    )


def test_the_gradient_of_dpo():
    """Rafailov et al. 2023, section 4: -beta sigmoid(-z) (grad log pi(chosen) - grad log pi(rejected))."""
    batch, settings = batch_of([(1, 0)]), dpo.DPOSettings(beta=BETA)
    logprobs = torch.tensor(LOGPROBS, dtype=torch.float64, requires_grad=True)
    dpo.loss(Outputs(logprobs, NONE, NONE, NONE), batch, settings).terms["pair"].sum().backward()
    pull = BETA * sigmoid(-BETA * (SUMS[1] - SUMS[0]))
    real = torch.tensor(REAL, dtype=torch.float64)
    want = pull * real
    want[1] *= -1
    want[2] = 0
    assert logprobs.grad is not None
    torch.testing.assert_close(logprobs.grad, want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", PAIR_LOSSES)
def test_dpo_falls_when_the_chosen_logprob_rises(name: str):
    settings = dpo.DPOSettings(beta=BETA, loss=name)  # type: ignore[arg-type]
    batch = batch_of([(0, 1)])
    raised = [[x + 0.1 for x in LOGPROBS[0]], *LOGPROBS[1:]]
    assert dpo_total(settings, batch, raised) < dpo_total(settings, batch) - 1e-3


def fitted(settings: dpo.DPOSettings, ref: torch.Tensor, wins: dict[tuple[int, int], float]) -> torch.Tensor:
    """The policy over as many answers of one token as ``ref`` has, driven to the optimum on pairs of these weights."""
    batch = Batch(
        tokens=torch.zeros(len(ref), 1, dtype=torch.long),
        mask=torch.ones(len(ref), 1, dtype=torch.bool),
        completion_mask=torch.ones(len(ref), 1, dtype=torch.bool),
        groups=torch.zeros(len(ref), dtype=torch.long),
        pairs=Pairs.of(torch.tensor(list(wins)), tensor(*wins.values()), tensor(*(0.0 for _ in wins))),
        columns={"ref_logprobs": ref[:, None]},
    )
    theta = ref.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [theta], max_iter=500, tolerance_grad=1e-13, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure() -> Any:
        optimizer.zero_grad()
        outputs = Outputs(torch.log_softmax(theta, -1)[:, None], NONE, NONE, NONE)
        total = dpo.loss(outputs, batch, settings).terms["pair"] @ batch.pairs.weights
        total.backward()
        return total

    optimizer.step(closure)
    return torch.log_softmax(theta.detach(), -1)


def test_ipo_ends_at_its_closed_form_on_a_bandit():
    """Azar et al. 2023: pi* is ref * exp(p(y beats mu) / tau), mu uniform here and every pair seen.

    The preferences are p(y beats y') = 1/2 + u(y) - u(y'), for which p(y beats mu) is u(y) and a constant.
    """
    tau, utility = 0.3, tensor(0.2, -0.1, 0.05, 0.0)
    ref = torch.log_softmax(tensor(0.1, 1.0, -0.5, 0.4), -1)
    wins = {(a, b): 0.5 + float(utility[a] - utility[b]) for a in range(4) for b in range(4) if a != b}
    got = fitted(dpo.DPOSettings(beta=tau, loss="ipo"), ref, wins)
    want = torch.log_softmax(ref + utility / tau, -1)
    assert (want - ref).abs().max() > 0.2
    torch.testing.assert_close(got, want, rtol=0, atol=1e-6)


def test_ipo_keeps_its_distance_where_nobody_disagrees():
    """A log-ratio apart by 1 / (2 tau) and no more, where the logistic loss drives on for ever."""
    ref = torch.log_softmax(tensor(0.3, -0.2), -1)
    got = fitted(dpo.DPOSettings(beta=0.5, loss="ipo"), ref, {(0, 1): 1.0})
    apart = (got - ref)[0] - (got - ref)[1]
    assert float(apart) == pytest.approx(1.0, abs=1e-6)


def test_robust_dpo_finds_the_clean_optimum_in_flipped_labels():
    flips, beta, reward = 0.2, 0.7, tensor(0.5, -0.3, 1.2)
    ref = torch.log_softmax(tensor(0.1, 1.0, -0.5), -1)
    clean = {(a, b): sigmoid(float(reward[a] - reward[b])) for a in range(3) for b in range(3) if a != b}
    flipped = {pair: (1 - flips) * p + flips * (1 - p) for pair, p in clean.items()}
    want = torch.log_softmax(ref + reward / beta, -1)
    robust = fitted(dpo.DPOSettings(beta=beta, loss="robust", label_smoothing=flips), ref, flipped)
    torch.testing.assert_close(robust, want, rtol=0, atol=1e-6)
    plain = fitted(dpo.DPOSettings(beta=beta), ref, flipped)
    assert (plain - want).abs().max() > 0.1


def test_the_best_rows_won_a_pair_and_lost_none():
    ranking = batch_of([(0, 1), (0, 2), (1, 2)])
    assert best_rows(ranking).tolist() == [True, False, False]
    tied_first = batch_of([(0, 1), (0, 2), (1, 2)], ties=[True, False, False])
    assert best_rows(tied_first).tolist() == [True, True, False]
    only_ties = batch_of([(0, 1), (2, 1)], ties=[True, False])
    assert best_rows(only_ties).tolist() == [False, False, True]
