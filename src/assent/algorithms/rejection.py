"""Rejection sampling, or best-of-n fine-tuning (RAFT, Dong et al. 2023, arXiv:2304.06767, algorithm 1).

Of each prompt's K completions the ``keep`` best are kept, and the policy is trained on them by maximum likelihood:
loss = -mean of log pi(token) over the tokens of the kept completions.  The rows not kept leave the batch, so that they
cost no forward pass in training.  Departures: the policy samples afresh at every step, where the paper's stages sample
a large set once and train on it for a while.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from assent.algorithms.base import Algorithm, Figures, Loss, Part, State, masked_mean, token_mean
from assent.algorithms.batch import Batch, Outputs
from assent.algorithms.duels import group_ranks
from assent.algorithms.rollouts import EndSettings, ended_scores, rollout_figures


class RejectionSettings(EndSettings):
    """Settings of rejection sampling."""

    keep: int = Field(default=1, ge=1)
    """How many completions of each prompt are trained on, the best by score."""


def prepare(batch: Batch, settings: RejectionSettings, state: State) -> tuple[Batch, State, Figures]:
    """The best completions of each group; of equal scores the first."""
    ranks = group_ranks(batch.groups, ended_scores(batch, settings))
    kept = batch.select((ranks < settings.keep).nonzero()[:, 0])
    figures = rollout_figures(batch, kept_reward=kept["scores"].mean(), kept_share=kept.rows / batch.rows)
    return kept, state, figures


def weights(batch: Batch, settings: RejectionSettings) -> Mapping[str, Part]:
    return {"nll": token_mean(batch.completion_mask)}


def loss(outputs: Outputs, batch: Batch, settings: RejectionSettings) -> Loss:
    nll = -outputs.logprobs
    return Loss({"nll": nll}, {"loss": masked_mean(nll, batch.completion_mask)})


ALGORITHM = Algorithm(
    name="rejection",
    summary="Fine-tune a policy on the best of its own samples (RAFT, best-of-n)",
    Settings=RejectionSettings,
    data=frozenset({"rollouts"}),
    needs=frozenset({"scores", "ended", "old_logprobs", "ref_logprobs"}),
    outputs=frozenset({"logprobs"}),
    prepare=prepare,
    weights=weights,
    loss=loss,
)
