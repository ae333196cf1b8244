"""Every algorithm keeps the contract; and for each part of it, an algorithm that breaks it is caught."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from assent.algorithms import ALGORITHMS, load_algorithm
from assent.algorithms.base import Algorithm, Loss, Mean, Part, masked_mean, token_mean
from assent.algorithms.dpo import DPOSettings
from assent.algorithms.expert_iteration import ExpertIterationSettings
from assent.algorithms.online_dpo import OnlineDPOSettings
from assent.algorithms.ppo import PPOSettings
from assent.algorithms.rebel import REBELSettings
from assent.algorithms.rejection import RejectionSettings
from assent.algorithms.reward_model import RewardModelSettings
from assent.testing.algorithm import check_algorithm, synthetic_batch, toy_forward, toy_policy
from assent.testing.synthetic import packed_forward

SFT, DPO, PPO, REWARD = (load_algorithm(name) for name in ("sft", "dpo", "ppo", "reward"))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_keeps_the_contract(name: str):
    algorithm = load_algorithm(name)
    assert algorithm.name == name
    check_algorithm(algorithm)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        (
            "ppo",
            PPOSettings(
                entropy_coefficient=0.1,
                value_clip=0,
                kl_target=2.0,
                gamma=0.9,
                reward_clip=0.5,
                whiten_rewards=True,
                missing_eos_penalty=1.0,
            ),
        ),
        ("ppo", PPOSettings(entropy_coefficient=0.1, clip_low=0.1, clip_high=0.3, whiten_advantages=False)),
        ("dpo", DPOSettings(beta=0.5, label_smoothing=0.1)),
        ("reward", RewardModelSettings(label_smoothing=0.1, centre=0.5)),
        ("rebel", REBELSettings(eta=0.3, kl_coefficient=0.7, kl_target=2.0, missing_eos_penalty=1.0)),
        ("rebel", REBELSettings(scale_rewards=True, reward_clip=0.9)),
        ("online-dpo", OnlineDPOSettings(pairs="best-worst", labels="soft", loss="ipo", beta=0.5)),
        ("online-dpo", OnlineDPOSettings(labels="weighted", loss="hinge", label_smoothing=0.1, beta=0.5)),
        ("rejection", RejectionSettings(keep=2, missing_eos_penalty=1.0)),
        ("expert-iteration", ExpertIterationSettings(threshold=-0.5, per_prompt=2, missing_eos_penalty=0.5)),
        ("expert-iteration", ExpertIterationSettings(top_share=0.1)),
    ],
)
def test_the_contract_holds_for_other_settings(name: str, settings: Any):
    check_algorithm(load_algorithm(name), settings)


def changed(algorithm: Algorithm, change: Callable[[Loss, Any, Any], Loss], **other: Any) -> Algorithm:
    """``algorithm`` with its loss changed: ``change(loss, outputs, batch)``."""

    def loss(outputs: Any, batch: Any, settings: Any) -> Loss:
        return change(algorithm.loss(outputs, batch, settings), outputs, batch)

    return replace(algorithm, loss=loss, **other)


def terms(loss: Loss, **new: torch.Tensor) -> Loss:
    return replace(loss, terms={**loss.terms, **new})


def mean_in_loss() -> Algorithm:
    """Reduces by itself, over the microbatch."""
    return changed(SFT, lambda loss, o, b: terms(loss, nll=loss.terms["nll"] / b.completion_mask.sum()))


def padding_counts() -> Algorithm:
    """Divides by the width of the batch."""
    return changed(SFT, lambda loss, o, b: terms(loss, nll=loss.terms["nll"] / b.tokens.shape[1]))


def order_counts() -> Algorithm:
    """The first row of the optimiser batch counts twice."""

    def prepare(batch: Any, settings: Any, state: Any) -> Any:
        first = torch.zeros(batch.rows, dtype=torch.float64)
        first[0] = 1.0
        return batch.with_columns(labels=first), state, {}

    return changed(
        SFT, lambda loss, o, b: terms(loss, nll=loss.terms["nll"] * (1 + b["labels"][:, None])), prepare=prepare
    )


def mask_forgotten() -> Algorithm:
    """Means over all positions, the prompt's too."""
    return replace(SFT, weights=lambda b, s: {"nll": token_mean(b.mask)})


def gradient_wrong() -> Algorithm:
    """The value is right, the gradient has the wrong sign."""

    def flip(loss: Loss, outputs: Any, batch: Any) -> Loss:
        nll = loss.terms["nll"]
        return terms(loss, nll=2 * nll.detach() - nll)

    return changed(SFT, flip)


def detached() -> Algorithm:
    return changed(SFT, lambda loss, o, b: terms(loss, nll=loss.terms["nll"].detach()))


def metric_over_the_prompt() -> Algorithm:
    """A metric over all real tokens: the first of a row has no log-probability, whatever the outputs hold there."""

    def add(loss: Loss, outputs: Any, batch: Any) -> Loss:
        return replace(loss, metrics={**loss.metrics, "all": masked_mean(outputs.logprobs, batch.mask)})

    return changed(SFT, add)


def metric_infinite() -> Algorithm:
    broken = Mean(torch.tensor(float("nan")), torch.tensor(1.0))
    return changed(SFT, lambda loss, o, b: replace(loss, metrics={"loss": broken}))


def metric_carries_gradient() -> Algorithm:
    return changed(SFT, lambda loss, o, b: replace(loss, metrics={"loss": Mean(o.logprobs.sum(), torch.tensor(1.0))}))


def weights_from_outputs() -> Algorithm:
    """Remembers the last outputs and weighs by them."""
    seen: list[float] = [1.0]

    def keep(loss: Loss, outputs: Any, batch: Any) -> Loss:
        seen[0] = float(outputs.logprobs.detach().mean())
        return loss

    def weights(batch: Any, settings: Any) -> Any:
        part = token_mean(batch.completion_mask)
        return {"nll": Part(part.weights * seen[0], part.count)}

    return changed(SFT, keep, weights=weights)


def weights_of_other_shape() -> Algorithm:
    return replace(SFT, weights=lambda b, s: {"nll": token_mean(b.completion_mask[:, 1:])})


def part_without_weights() -> Algorithm:
    return changed(SFT, lambda loss, o, b: terms(loss, more=loss.terms["nll"]))


def counts_do_not_add_up() -> Algorithm:
    def weights(batch: Any, settings: Any) -> Any:
        return {"nll": Part(batch.completion_mask.float(), torch.ones(()))}

    return replace(SFT, weights=weights)


def single_precision() -> Algorithm:
    """float32 inside, whatever comes: float64 cannot agree to 1e-9 over partitions, nor finite differences."""
    return changed(SFT, lambda loss, o, b: terms(loss, nll=(-o.logprobs.float() * 1e3).round() / 1e3))


def half_precision() -> Algorithm:
    """Weights in bfloat16, so that the sum is."""

    def weights(batch: Any, settings: Any) -> Any:
        part = token_mean(batch.completion_mask)
        return {"nll": Part(part.weights.bfloat16(), part.count)}

    return replace(SFT, weights=weights)


def ratio_not_clamped() -> Algorithm:
    """exp of whatever difference."""

    def loss(outputs: Any, batch: Any, settings: Any) -> Loss:
        return Loss({"nll": -(outputs.logprobs - batch["old_logprobs"]).exp()}, {})

    return replace(SFT, loss=loss, needs=frozenset({"old_logprobs"}))


def column_not_declared() -> Algorithm:
    return replace(DPO, needs=frozenset())


def output_not_declared() -> Algorithm:
    return replace(PPO, outputs=frozenset({"logprobs", "values"}))


def unknown_need() -> Algorithm:
    return replace(SFT, needs=frozenset({"teacher_logits"}))


def state_in_place() -> Algorithm:
    def prepare(batch: Any, settings: Any, state: Any) -> Any:
        state["kl_coefficient"] = 7.0
        return PPO.prepare(batch, settings, state)

    return replace(PPO, prepare=prepare)


def state_not_plain() -> Algorithm:
    return replace(SFT, prepare=lambda b, s, state: (b, {"running": torch.zeros(1)}, {}))


def column_in_place() -> Algorithm:
    def prepare(batch: Any, settings: Any, state: Any) -> Any:
        batch["scores"].sub_(1.0)
        return PPO.prepare(batch, settings, state)

    return replace(PPO, prepare=prepare)


def figure_over_padding() -> Algorithm:
    """A KL that sums the padding too."""

    def prepare(batch: Any, settings: Any, state: Any) -> Any:
        prepared, state, figures = PPO.prepare(batch, settings, state)
        gap = batch["old_logprobs"] - batch["ref_logprobs"]
        return prepared, state, {**figures, "kl": float(gap.sum(1).mean())}

    return replace(PPO, prepare=prepare)


def figure_infinite() -> Algorithm:
    return replace(SFT, prepare=lambda b, s, state: (b, state, {"speed": float("inf")}))


CAUGHT = [
    (mean_in_loss, "the loss changes with two microbatches"),
    (padding_counts, "changes with"),
    (order_counts, "the loss changes with the order of the rows"),
    (mask_forgotten, "masked positions of 'logprobs' get gradient"),
    (gradient_wrong, "finite differences give"),
    (detached, "has no gradient"),
    (metric_over_the_prompt, "the figure 'all' changes with packing"),
    (metric_infinite, "the metric 'loss' is nan"),
    (metric_carries_gradient, "the metric 'loss' carries a gradient"),
    (weights_from_outputs, "hang on something besides the batch"),
    (weights_of_other_shape, "the weights of 'nll' are of shape"),
    (part_without_weights, "but terms"),
    (counts_do_not_add_up, "the counts of 'nll' do not add up"),
    (single_precision, "has no gradient|zero|finite differences give"),
    (half_precision, "are in torch.bfloat16, not in float32"),
    (ratio_not_clamped, "far from the old policy"),
    (unknown_need, "'teacher_logits'"),
    (state_in_place, "changes its state in place"),
    (state_not_plain, "state is not plain data"),
    (column_in_place, "changes the column 'scores' in place"),
    (figure_over_padding, "the figure 'kl' changes with the padding"),
    (figure_infinite, "figure 'speed' is inf"),
]


@pytest.mark.parametrize(("plant", "message"), CAUGHT, ids=[plant.__name__ for plant, _ in CAUGHT])
def test_a_broken_algorithm_is_caught(plant: Callable[[], Algorithm], message: str):
    with pytest.raises(AssertionError, match=message):
        check_algorithm(plant())


def best_of_each_group() -> Algorithm:
    """Trains on the best row of each group alone."""

    def prepare(batch: Any, settings: Any, state: Any) -> Any:
        same = batch.groups[:, None] == batch.groups[None, :]
        best = torch.where(same, batch["scores"][None, :], -torch.inf).max(1).values
        return batch.select((batch["scores"] == best).nonzero()[:, 0]), state, {}

    return replace(SFT, prepare=prepare, needs=frozenset({"scores"}))


def other_rows() -> Algorithm:
    """Trains on one row that is in no batch."""

    def prepare(batch: Any, settings: Any, state: Any) -> Any:
        first = batch.select(torch.zeros(1, dtype=torch.long))
        row = torch.tensor([[1, 2, 3, 4]])
        every = torch.ones_like(row, dtype=torch.bool)
        completion = row > 1
        made = replace(first, tokens=row, mask=every, completion_mask=completion, columns={})
        return made, state, {}

    return replace(SFT, prepare=prepare)


@pytest.mark.parametrize("honest", [best_of_each_group, other_rows])
def test_prepare_may_leave_rows_out_and_bring_others(honest: Callable[[], Algorithm]):
    check_algorithm(honest())


def test_what_is_left_out_is_looked_at_as_any_other_batch():
    """The mask forgotten, where prepare leaves rows out."""
    with pytest.raises(AssertionError, match="masked positions of 'logprobs' get gradient"):
        check_algorithm(replace(best_of_each_group(), weights=mask_forgotten().weights))


def test_a_packed_forward_pass_gives_the_same_where_a_loss_may_look():
    batch, wanted = synthetic_batch(), frozenset({"logprobs", "entropy", "values", "scores"})
    plain, packed = toy_forward(toy_policy(0), batch, wanted), packed_forward(toy_policy(0), batch, wanted)
    real = batch.completion_mask
    for name in ("logprobs", "entropy", "values"):
        torch.testing.assert_close(getattr(packed, name)[real], getattr(plain, name)[real], rtol=0, atol=1e-12)
        assert getattr(packed, name)[~batch.mask].abs().max() == 0
        assert (getattr(packed, name)[1:, 0] - getattr(plain, name)[1:, 0]).abs().min() > 1e-6
    torch.testing.assert_close(packed.scores, plain.scores, rtol=0, atol=1e-12)


def test_what_is_not_declared_is_not_there():
    with pytest.raises(KeyError, match="no column 'ref_logprobs'"):
        check_algorithm(column_not_declared())
    with pytest.raises((AssertionError, RuntimeError)):
        check_algorithm(output_not_declared())


def test_the_synthetic_batch_has_what_the_checks_need():
    batch = synthetic_batch()
    gaps = [row.int().diff().eq(1).sum() + row[0] for row in batch.completion_mask]
    assert max(int(g) for g in gaps) == 2  # a conversation of two turns
    assert batch.pairs.ties.any()
    assert not batch.pairs.ties.all()
    assert len(batch.pairs.weights.unique()) == 3
    assert bool((batch.groups[batch.pairs.chosen] == batch.groups[batch.pairs.rejected]).all())
    assert len(batch.mask.sum(1).unique()) > 3
