"""Rejection sampling: which rows are kept and the likelihood of their tokens, by hand; one step on a bandit."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from assent.algorithms.batch import Batch, Outputs, Pairs
from assent.algorithms.rejection import RejectionSettings, loss, prepare, weights
from assent.config import make_settings
from assent.errors import RecipeError
from assent.pipeline.stages.rejection import RejectionStageSettings
from assent.training.reduce import reduce_loss


def rollouts() -> Batch:
    """Rows of two prompts, mixed: three completions of the first, two of equal score of the second."""
    completion = torch.tensor([[0, 1, 1, 1], [0, 1, 0, 0], [0, 1, 1, 0], [0, 1, 0, 0], [0, 1, 1, 0]]).bool()
    mask = completion.clone()
    mask[:, 0] = True
    logprobs = -0.1 * torch.arange(20.0).reshape(5, 4)
    return Batch(
        tokens=torch.arange(20).reshape(5, 4),
        mask=mask,
        completion_mask=completion,
        groups=torch.tensor([4, 9, 4, 9, 4]),
        pairs=Pairs.none(),
        columns={
            "old_logprobs": logprobs,
            "ref_logprobs": logprobs - 0.5,
            "scores": torch.tensor([3.0, 1.0, 2.0, 1.0, 2.5]),
            "ended": torch.tensor([0.0, 1.0, 1.0, 1.0, 1.0]),
        },
    )


def kept(**given: Any) -> tuple[list[int], dict[str, float]]:
    """The first tokens of the kept rows over 4, which are the numbers of the rows, and the figures."""
    batch, state, figures = prepare(rollouts(), RejectionSettings(**given), {})
    assert state == {}
    return (batch.tokens[:, 0] // 4).tolist(), dict(figures)


def test_the_best_of_each_prompt_is_kept_and_of_equal_ones_the_first():
    rows, figures = kept()
    assert rows == [0, 1]
    assert figures["kept_reward"] == 2.0
    assert figures["kept_share"] == 0.4
    assert figures["reward_mean"] == pytest.approx(9.5 / 5)  # over all that was sampled
    assert figures["kl"] == pytest.approx(0.5 * 9 / 5)
    assert figures["completion_tokens"] == pytest.approx(9 / 5)


def test_as_many_as_wanted_are_kept():
    assert kept(keep=2)[0] == [0, 1, 3, 4]
    assert kept(keep=3)[0] == [0, 1, 2, 3, 4]


def test_a_completion_that_was_cut_off_may_lose_its_place():
    rows, figures = kept(missing_eos_penalty=0.75)
    assert rows == [1, 4]
    assert figures["kept_reward"] == 1.75


def test_the_loss_is_the_mean_over_the_tokens_of_the_kept_rows():
    settings = RejectionSettings()
    batch, _, _ = prepare(rollouts(), settings, {})
    none = torch.zeros(0)
    found = loss(Outputs(batch["old_logprobs"], none, none, none), batch, settings)
    parts = weights(batch, settings)
    total = reduce_loss(found.terms, found.coefficients, parts, {name: part.count for name, part in parts.items()})
    assert float(total) == pytest.approx((0.1 + 0.2 + 0.3 + 0.5) / 4, abs=1e-6)
    metric = found.metrics["loss"]
    assert float(metric.total / metric.count) == pytest.approx(1.1 / 4, abs=1e-6)


def test_on_a_bandit_the_gradient_points_to_the_best_of_n():
    """Over all pairs of two arms: E[-gradient] = P(best of 2) - pi, by enumeration; the likeliest is not the best."""
    pi = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
    scores = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)
    logits = pi.log().requires_grad_()
    every = torch.ones(2, 1, dtype=torch.bool)
    expected = torch.zeros(3, dtype=torch.float64)
    for a in range(3):
        for b in range(3):
            arms = torch.tensor([a, b])
            columns = {"scores": scores[arms], "ended": torch.ones(2)}
            columns |= {name: pi.log()[arms][:, None] for name in ("old_logprobs", "ref_logprobs")}
            same = torch.zeros(2, dtype=torch.long)
            batch = replace(rollouts(), tokens=arms[:, None], mask=every, completion_mask=every, groups=same)
            best, _, _ = prepare(replace(batch, columns=columns), RejectionSettings(), {})
            none = torch.zeros(0)
            logprobs = torch.log_softmax(logits, 0)[best.tokens]
            terms = loss(Outputs(logprobs, none, none, none), best, RejectionSettings()).terms["nll"]
            (gradient,) = torch.autograd.grad(terms.sum(), logits)
            expected -= pi[a] * pi[b] * gradient
    best_of_two = torch.tensor([0.36, 0.81 - 0.36, 1 - 0.81], dtype=torch.float64)
    torch.testing.assert_close(expected, best_of_two - pi, rtol=0, atol=1e-12)


def test_keeping_all_is_refused():
    given = {"model": "m", "data": "d", "samples_per_prompt": 4, "keep": 4}
    with pytest.raises(RecipeError, match="keep 4 of 4 samples_per_prompt leaves none out"):
        make_settings(RejectionStageSettings, given, "rejection")
