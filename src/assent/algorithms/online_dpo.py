"""Online DPO: preference optimisation on the policy's own completions, put in order by their scores as they are made.

Guo et al. 2024 (arXiv:2402.04792); with ``loss: ipo`` and ``labels: soft`` online IPO (Calandriello et al. 2024,
arXiv:2403.08635), whose fixed point is the Nash equilibrium that Nash-MD (Munos et al. 2023, arXiv:2312.00886) aims at.
The reward that the policy implies is beta * log(pi / ref) of a completion; its loss on a pair is DPO's.  As in the
papers no gradient is taken through the sampling.  Departures: pairs among K completions, where the papers draw two;
equal scores are ties, with target 1/2; both completions come from the policy, where Nash-MD draws one from a mixture
with ref.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal

from pydantic import Field
from torch import Tensor

from assent.algorithms.base import Algorithm, Figures, Loss, Part, State, masked_mean, row_mean
from assent.algorithms.batch import Batch, Outputs, Pairs
from assent.algorithms.duels import all_duels, extreme_duels, pair_mean
from assent.algorithms.kl import k3
from assent.algorithms.preferences import PAIR_LOSSES, completion_sums, pair_figures, soft_targets
from assent.algorithms.rollouts import ScoreSettings, initial_score_state, rollout_figures, shaped_scores


class OnlineDPOSettings(ScoreSettings):
    """Settings of online DPO."""

    beta: float = Field(default=0.1, gt=0.0)
    """Strength of the pull to the reference policy: the implied reward is beta * log(pi / ref)."""
    loss: Literal["sigmoid", "robust", "ipo", "hinge"] = "sigmoid"
    """What is asked of a pair: logistic (DPO), the same unbiased under label flips, squared (IPO), or hinge (SLiC)."""
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=0.5)
    """Probability that the scores put two completions in the wrong order."""
    pairs: Literal["all", "best-worst"] = "all"
    """Which pairs of a prompt's completions: all, or the best against the worst alone."""
    labels: Literal["hard", "weighted", "soft"] = "hard"
    """What a gap of scores says: the order alone; that too, by a weight proportional to the gap; or the probability
    sigmoid(gap) that the better one is preferred."""


def _hard(pairs: Pairs) -> Pairs:
    return pairs


def _weighted(pairs: Pairs) -> Pairs:
    return replace(pairs, weights=pairs.weights * pairs.margins)


def _soft(pairs: Pairs) -> Pairs:
    """The gap as the log-odds of a Bradley-Terry preference model: P(y beats y') = sigmoid(score - score')."""
    return replace(pairs, confidence=pairs.margins.sigmoid())


_PAIRS: Mapping[str, Callable[[Tensor, Tensor], Pairs]] = {"all": all_duels, "best-worst": extreme_duels}
_LABELS: Mapping[str, Callable[[Pairs], Pairs]] = {"hard": _hard, "weighted": _weighted, "soft": _soft}


def prepare(batch: Batch, settings: OnlineDPOSettings, state: State) -> tuple[Batch, State, Figures]:
    """Pairs within each group, the better score as chosen."""
    scores, state = shaped_scores(batch, settings, state)
    pairs = _PAIRS[settings.pairs](batch.groups, scores)
    gap, ties = pair_mean(pairs.margins, pairs), pair_mean(pairs.ties.to(scores.dtype), pairs)
    figures = rollout_figures(batch, score_gap=gap, tie_share=ties)
    return replace(batch, pairs=_LABELS[settings.labels](pairs)), state, figures


def weights(batch: Batch, settings: OnlineDPOSettings) -> Mapping[str, Part]:
    return {"pair": row_mean(batch.pairs.weights)}


def loss(outputs: Outputs, batch: Batch, settings: OnlineDPOSettings) -> Loss:
    pairs = batch.pairs
    rewards = settings.beta * completion_sums(outputs.logprobs - batch["ref_logprobs"], batch)
    logits = rewards[pairs.chosen] - rewards[pairs.rejected]
    pair = PAIR_LOSSES[settings.loss](logits, soft_targets(pairs), settings.beta, settings.label_smoothing)
    return Loss(
        terms={"pair": pair},
        metrics={
            **pair_figures(pair, rewards, completion_sums(outputs.logprobs, batch), batch, pairs.weights),
            "approximate_kl": masked_mean(k3(batch["old_logprobs"], outputs.logprobs.detach()), batch.completion_mask),
        },
    )


ALGORITHM = Algorithm(
    name="online-dpo",
    summary="Optimise a policy on comparisons of its own samples (online DPO)",
    Settings=OnlineDPOSettings,
    data=frozenset({"rollouts"}),
    needs=frozenset({"scores", "ended", "old_logprobs", "ref_logprobs"}),
    outputs=frozenset({"logprobs"}),
    prepare=prepare,
    weights=weights,
    loss=loss,
    initial_state=initial_score_state,
)
