"""Direct preference optimisation (Rafailov et al. 2023, arXiv:2305.18290, eq. 7) and its variants.

The reward that a policy implies is beta * log(pi / ref) of the completion, its end-of-sequence token included.  The
setting ``loss`` says what is asked of the reward of chosen less that of rejected: a function of
:mod:`assent.algorithms.preferences`.  Departures: ties enter with target 1/2 (they say that the two implied rewards are
equal); the pairs of a ranking of K answers weigh 1 / C(K, 2) each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field
from torch import Tensor

from assent.algorithms.base import Algorithm, Loss, Part, row_mean, unprepared
from assent.algorithms.batch import Batch, Outputs, Pairs
from assent.algorithms.preferences import PAIR_LOSSES, completion_sums, pair_figures, soft_targets
from assent.config import Settings


class DPOSettings(Settings):
    """Settings of DPO."""

    beta: float = Field(default=0.1, gt=0.0)
    """Strength of the pull to the reference policy: the implied reward is beta * log(pi / ref)."""
    loss: Literal["sigmoid", "robust", "ipo", "hinge"] = "sigmoid"
    """What is asked of a pair: logistic (DPO), the same unbiased under label flips, squared (IPO), or hinge (SLiC)."""
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=0.5)
    """Probability that a comparison is labelled the wrong way round (conservative DPO; with robust, corrected for)."""
    length_normalised: bool = False
    """Divide the log-ratio of a completion by its number of tokens (as IPO's authors do); use a larger beta with it."""
    margin_offset: float = Field(default=0.0, ge=0.0)
    """Times the pair's margin: by how much more the implied reward of chosen must stand above (ODPO)."""
    margin_weight: float = Field(default=0.0, ge=0.0)
    """A pair weighs 1 + this times its margin, beside the weight that it has."""


def pair_weights(pairs: Pairs, settings: DPOSettings) -> Tensor:
    """[P] the weight of each pair; a tie has no margin."""
    return pairs.weights * (1.0 + settings.margin_weight * pairs.margins)


def weights(batch: Batch, settings: DPOSettings) -> Mapping[str, Part]:
    return {"pair": row_mean(pair_weights(batch.pairs, settings))}


def loss(outputs: Outputs, batch: Batch, settings: DPOSettings) -> Loss:
    pairs = batch.pairs
    log_ratios = completion_sums(outputs.logprobs - batch["ref_logprobs"], batch, average=settings.length_normalised)
    rewards = settings.beta * log_ratios
    # The offset of Amini et al. 2024, arXiv:2402.10571.
    logits = rewards[pairs.chosen] - rewards[pairs.rejected] - settings.margin_offset * pairs.margins
    pair = PAIR_LOSSES[settings.loss](logits, soft_targets(pairs), settings.beta, settings.label_smoothing)
    logprobs = completion_sums(outputs.logprobs, batch)
    return Loss(
        terms={"pair": pair},
        metrics=pair_figures(pair, rewards, logprobs, batch, pair_weights(pairs, settings)),
    )


ALGORITHM = Algorithm(
    name="dpo",
    summary="Optimise a policy on comparisons directly, without a reward model",
    Settings=DPOSettings,
    data=frozenset({"comparisons"}),
    needs=frozenset({"ref_logprobs"}),
    outputs=frozenset({"logprobs"}),
    prepare=unprepared,
    weights=weights,
    loss=loss,
)
