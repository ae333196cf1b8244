"""Supervised fine-tuning: cross-entropy on the tokens that the loss concerns.

Maximum likelihood of demonstrations (prompt masked) or of plain text (nothing masked); the mean is over real tokens of
the whole optimiser batch, so long and short rows count by their tokens whatever the microbatches.
"""

from __future__ import annotations

from collections.abc import Mapping

from assent.algorithms.base import Algorithm, Loss, Part, masked_mean, token_mean, unprepared
from assent.algorithms.batch import Batch, Outputs
from assent.config import Settings


class SFTSettings(Settings):
    """Supervised fine-tuning has no settings of its own."""


def weights(batch: Batch, settings: SFTSettings) -> Mapping[str, Part]:
    return {"nll": token_mean(batch.completion_mask)}


def loss(outputs: Outputs, batch: Batch, settings: SFTSettings) -> Loss:
    nll = -outputs.logprobs
    return Loss({"nll": nll}, {"loss": masked_mean(nll, batch.completion_mask)})


ALGORITHM = Algorithm(
    name="sft",
    summary="Fine-tune a language model on demonstrations or text",
    Settings=SFTSettings,
    data=frozenset({"demonstrations", "text"}),
    needs=frozenset(),
    outputs=frozenset({"logprobs"}),
    prepare=unprepared,
    weights=weights,
    loss=loss,
)
