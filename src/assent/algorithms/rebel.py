"""REBEL: regression to relative rewards (Gao et al. 2024, arXiv:2404.16767, eq. 4).

For two completions y, y' of one prompt, both drawn from the policy pi_t of the start of the batch:
loss = ((1 / eta) * [log pi(y) / pi_t(y) - log pi(y') / pi_t(y')] - [r(y) - r(y')])^2, log-probabilities of sequences.
Its exact solution is pi ∝ pi_t exp(eta r).  With r = score - beta * log(pi_t / ref), beta the KL coefficient, the next
policy is ∝ pi_t^(1 - eta beta) * (ref exp(score / beta))^(eta beta): the iteration contracts for 0 < eta beta < 2, and
its fixed point is the optimum of E[score] - beta KL(pi, ref), pi* ∝ ref exp(score / beta).
Departures: all C(K, 2) pairs of K completions, weighing 1 / C(K, 2) each, where the paper draws two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pydantic import Field

from assent.algorithms.base import Algorithm, Figures, Loss, Part, State, masked_mean, row_mean
from assent.algorithms.batch import Batch, Outputs
from assent.algorithms.duels import all_duels, pair_mean
from assent.algorithms.kl import k3
from assent.algorithms.rollouts import (
    KLSettings,
    ScoreSettings,
    adapted,
    initial_kl_state,
    initial_score_state,
    rollout_figures,
    shaped_scores,
    token_kl,
)


class REBELSettings(ScoreSettings, KLSettings):
    """Settings of REBEL."""

    eta: float = Field(default=1.0, gt=0.0)
    """Step size: the log-ratio of two completions is fitted to eta times the difference of their rewards."""


def initial_state(settings: REBELSettings) -> State:
    return {**initial_score_state(settings), **initial_kl_state(settings)}


def prepare(batch: Batch, settings: REBELSettings, state: State) -> tuple[Batch, State, Figures]:
    """Rewards of whole completions, all pairs within each group, and the next KL coefficient."""
    coefficient = float(state["kl_coefficient"])
    scores, state = shaped_scores(batch, settings, state)
    pairs = all_duels(batch.groups, scores - coefficient * token_kl(batch).sum(1))
    figures = rollout_figures(batch, kl_coefficient=coefficient, reward_gap=pair_mean(pairs.margins, pairs))
    return replace(batch, pairs=pairs), adapted(batch, settings, state), figures


def weights(batch: Batch, settings: REBELSettings) -> Mapping[str, Part]:
    return {"pair": row_mean(batch.pairs.weights)}


def loss(outputs: Outputs, batch: Batch, settings: REBELSettings) -> Loss:
    mask, old = batch.completion_mask, batch["old_logprobs"]
    pairs = batch.pairs
    change = ((outputs.logprobs - old) * mask.to(outputs.logprobs.dtype)).sum(1) / settings.eta
    gap = change[pairs.chosen] - change[pairs.rejected]
    pair = (gap - pairs.margins).square()
    return Loss(
        terms={"pair": pair},
        metrics={
            "loss": masked_mean(pair, pairs.weights),
            "policy_gap": masked_mean(gap, pairs.weights),
            "approximate_kl": masked_mean(k3(old, outputs.logprobs.detach()), mask),
        },
    )


ALGORITHM = Algorithm(
    name="rebel",
    summary="Optimise a policy against rewards by regression to their differences (REBEL)",
    Settings=REBELSettings,
    data=frozenset({"rollouts"}),
    needs=frozenset({"scores", "ended", "old_logprobs", "ref_logprobs"}),
    outputs=frozenset({"logprobs"}),
    prepare=prepare,
    weights=weights,
    loss=loss,
    initial_state=initial_state,
)
