"""Online DPO: pairs and terms by hand; on a bandit the fixed points that its page states."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from assent.algorithms.batch import Batch, Outputs, Pairs
from assent.algorithms.online_dpo import OnlineDPOSettings, loss, prepare, weights
from assent.training.reduce import reduce_loss


def rollouts() -> Batch:
    """A prompt with three completions of one or two tokens, and one with two of equal score."""
    completion = torch.tensor([[0, 1, 1], [0, 1, 0], [0, 1, 1], [0, 1, 0], [0, 1, 0]]).bool()
    mask = completion.clone()
    mask[:, 0] = True
    return Batch(
        tokens=torch.tensor([[1, 2, 3], [1, 4, 0], [1, 5, 6], [2, 3, 0], [2, 4, 0]]),
        mask=mask,
        completion_mask=completion,
        groups=torch.tensor([0, 0, 0, 1, 1]),
        pairs=Pairs.none(),
        columns={
            "old_logprobs": torch.tensor([[5, -1.0, -0.5], [5, -2.0, 9], [5, -1.5, -1.0], [5, -1.0, 9], [5, -1.0, 9]]),
            "ref_logprobs": torch.tensor([[0, -1.5, -1.0], [0, -1.0, 7], [0, -1.5, -1.0], [0, -1.0, 7], [0, -3.0, 7]]),
            "scores": torch.tensor([1.0, 3.0, 2.5, 0.5, 0.5]),
            "ended": torch.ones(5),
        },
    )


# log(pi / ref) of the completions where pi is the old policy: 1, -1, 0; 0, 2.  Times beta 0.5:
REWARDS = (0.5, -0.5, 0.0, 0.0, 1.0)
PAIRS = [(1, 0), (1, 2), (2, 0), (3, 4)]
LOGITS = (-1.0, -0.5, -0.5, -1.0)


def first_update(**given: Any) -> tuple[Batch, dict[str, float], list[float], float, dict[str, float]]:
    """The prepared batch with its figures; terms, loss and metrics of the old policy itself."""
    settings = OnlineDPOSettings(**{"beta": 0.5, **given})
    batch, _, figures = prepare(rollouts(), settings, {})
    none = torch.zeros(0)
    found = loss(Outputs(batch["old_logprobs"], none, none, none), batch, settings)
    parts = weights(batch, settings)
    total = reduce_loss(found.terms, found.coefficients, parts, {name: part.count for name, part in parts.items()})
    metrics = {name: float(mean.total / mean.count) for name, mean in found.metrics.items()}
    return batch, dict(figures), found.terms["pair"].tolist(), float(total), metrics


def nll(logit: float, target: float = 1.0) -> float:
    return target * math.log1p(math.exp(-logit)) + (1 - target) * math.log1p(math.exp(logit))


def test_all_pairs_with_hard_labels_by_hand():
    batch, figures, terms, total, metrics = first_update()
    assert [tuple(row) for row in batch.pairs.rows.tolist()] == PAIRS
    assert batch.pairs.ties.tolist() == [False, False, False, True]
    assert figures["score_gap"] == pytest.approx(((2.0 + 0.5 + 1.5) / 3 + 0) / 2)
    assert figures["tie_share"] == pytest.approx(0.5)
    assert figures["kl"] == pytest.approx((1 - 1 + 0 + 0 + 2) / 5)
    want = [nll(-1.0), nll(-0.5), nll(-0.5), nll(-1.0, 0.5)]
    assert terms == pytest.approx(want, abs=1e-6)
    assert total == metrics["loss"] == pytest.approx((sum(want[:3]) / 3 + want[3]) / 2, abs=1e-6)
    assert metrics["accuracy"] == 0.0
    assert metrics["margin"] == pytest.approx(-2 / 3, abs=1e-6)
    assert metrics["reward_chosen"] == pytest.approx((-0.5 - 0.5 + 0.0) / 3, abs=1e-6)
    assert metrics["reward_rejected"] == pytest.approx((0.5 + 0.0 + 0.5) / 3, abs=1e-6)
    assert metrics["logprob_chosen"] == pytest.approx((-2.0 - 2.0 - 2.5) / 3, abs=1e-6)
    assert metrics["approximate_kl"] == 0.0


def test_how_far_an_update_moved_the_policy():
    settings = OnlineDPOSettings()
    batch, _, _ = prepare(rollouts(), settings, {})
    moved = batch["old_logprobs"] + torch.tensor([[3, 0.1, 0.2], [3, 0.4, 3], [3, -0.1, 0.0], [3, 0.0, 3], [3, 0.5, 3]])
    none = torch.zeros(0)
    kl = loss(Outputs(moved, none, none, none), batch, settings).metrics["approximate_kl"]
    changes = [0.1, 0.2, 0.4, -0.1, 0.0, 0.0, 0.5]
    assert float(kl.total / kl.count) == pytest.approx(sum(math.exp(c) - 1 - c for c in changes) / 7, abs=1e-6)


def test_the_best_against_the_worst():
    batch, figures, terms, total, _ = first_update(pairs="best-worst")
    assert batch.pairs.rows.tolist() == [[1, 0], [3, 4]]
    assert figures["score_gap"] == 1.0
    assert terms == pytest.approx([nll(-1.0), nll(-1.0, 0.5)], abs=1e-6)
    assert total == pytest.approx(sum(terms) / 2, abs=1e-6)


def test_pairs_may_weigh_by_their_gap():
    batch, figures, terms, total, metrics = first_update(labels="weighted")
    assert batch.pairs.weights.tolist() == pytest.approx([2 / 3, 0.5 / 3, 1.5 / 3, 0.0])
    want = (2.0 * nll(-1.0) + 0.5 * nll(-0.5) + 1.5 * nll(-0.5)) / 4
    assert total == metrics["loss"] == pytest.approx(want, abs=1e-6)
    assert figures["score_gap"] == pytest.approx(2 / 3)  # as without the weights
    assert len(terms) == 4


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_a_gap_may_be_a_soft_label():
    _, _, terms, _, _ = first_update(labels="soft")
    want = [nll(-1.0, sigmoid(2.0)), nll(-0.5, sigmoid(0.5)), nll(-0.5, sigmoid(1.5)), nll(-1.0, 0.5)]
    assert terms == pytest.approx(want, abs=1e-6)
    _, _, terms, _, _ = first_update(labels="soft", label_smoothing=0.1)
    assert terms[0] == pytest.approx(nll(-1.0, 0.9 * sigmoid(2.0) + 0.1 * sigmoid(-2.0)), abs=1e-6)


def test_the_losses_are_those_of_dpo():
    # h = logits / beta; the aim of a sure label is 1 / (2 beta) = 1
    _, _, terms, _, _ = first_update(loss="ipo")
    assert terms == pytest.approx([(-2 - 1) ** 2, (-1 - 1) ** 2, (-1 - 1) ** 2, 2.0**2 + 1], abs=1e-5)
    _, _, terms, _, _ = first_update(loss="hinge")
    assert terms == pytest.approx([2.0, 1.5, 1.5, 0.5], abs=1e-6)


def test_scores_are_shaped_before_they_are_compared():
    batch = replace(rollouts(), columns={**rollouts().columns, "ended": torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0])})
    settings = OnlineDPOSettings(missing_eos_penalty=1.0, reward_clip=2.0)  # 1, 2, 2; and 0.5, -0.5
    made, _, _ = prepare(batch, settings, {})
    assert made.pairs.rows.tolist() == [[1, 0], [1, 2], [2, 0], [3, 4]]
    assert made.pairs.margins.tolist() == [1.0, 0.0, 1.0, 1.0]
    assert made.pairs.ties.tolist() == [False, True, False, False]


BETA = 0.6
REWARD = torch.tensor([0.3, -0.5, 1.4], dtype=torch.float64)
REFERENCE = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)


def best_fit(settings: OnlineDPOSettings, policy: torch.Tensor) -> torch.Tensor:
    """The policy of least expected loss over pairs of arms that ``policy`` draws, to 1e-10 (the loss is convex)."""
    every = torch.ones(3, 1, dtype=torch.bool)
    batch = replace(
        rollouts(),
        tokens=torch.arange(3)[:, None],
        mask=every,
        completion_mask=every,
        groups=torch.zeros(3, dtype=torch.long),
        columns={
            "old_logprobs": policy.log()[:, None],
            "ref_logprobs": REFERENCE.log()[:, None],
            "scores": REWARD,
            "ended": torch.ones(3).double(),
        },
    )
    batch, _, _ = prepare(batch, settings, {})
    drawn = policy[batch.pairs.chosen] * policy[batch.pairs.rejected]
    batch = replace(batch, pairs=replace(batch.pairs, weights=drawn))
    none = torch.zeros(0)

    def total(logits: torch.Tensor) -> torch.Tensor:
        outputs = Outputs(torch.log_softmax(logits, 0)[:, None], none, none, none)
        return (loss(outputs, batch, settings).terms["pair"] * weights(batch, settings)["pair"].weights).sum()

    def gradient(logits: torch.Tensor) -> Any:
        return torch.autograd.functional.jacobian(total, logits)

    logits = policy.log()
    for _ in range(10):  # Newton's method
        hessian: Any = torch.autograd.functional.hessian(total, logits)
        logits = logits - torch.linalg.pinv(hessian, rtol=1e-9) @ gradient(logits)
    assert gradient(logits).abs().max() < 1e-10
    return torch.softmax(logits, 0)


def regularised_optimum(_: torch.Tensor) -> torch.Tensor:
    return torch.softmax(REFERENCE.log() + REWARD / BETA, 0)


def answer_to(policy: torch.Tensor) -> torch.Tensor:
    """argmax over pi of P(pi beats policy) - beta KL(pi, ref): the Nash equilibrium is the answer to itself."""
    wins = torch.sigmoid(REWARD[:, None] - REWARD[None, :]) @ policy
    return torch.softmax(REFERENCE.log() + wins / BETA, 0)


@pytest.mark.parametrize(
    ("name", "expected"), [("sigmoid", regularised_optimum), ("ipo", answer_to)], ids=["optimum", "nash"]
)
def test_soft_labels_have_the_fixed_point_that_the_page_states(
    name: Any, expected: Callable[[torch.Tensor], torch.Tensor]
):
    settings = OnlineDPOSettings(loss=name, labels="soft", beta=BETA)
    policy = REFERENCE
    for _ in range(25):
        before, policy = policy, best_fit(settings, policy)
        torch.testing.assert_close(policy, expected(before), rtol=0, atol=1e-8)
    torch.testing.assert_close(policy, expected(policy), rtol=0, atol=1e-6)
    assert (policy - REFERENCE).abs().max() > 0.1
    assert (answer_to(policy) - regularised_optimum(policy)).abs().max() > 0.1  # the two are not the same
