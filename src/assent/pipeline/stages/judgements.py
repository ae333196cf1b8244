"""Stage ``judgements``: labels and ratings by several annotators to the ones that reward models and KTO train on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

from pydantic import Field

from assent.config import Settings
from assent.data.jsonl import write_jsonl
from assent.data.readers import read_judgements
from assent.errors import DataError
from assent.feedback.judgements import LabelAdjudication, adjudicate_labels, fit_labels
from assent.pipeline.stage import Context, Input, Metrics, Stage
from assent.pipeline.stages.held_out import held_out_prompts
from assent.types import Judgement


class JudgementSettings(Settings):
    """Labels and ratings to training data."""

    data: str = Input("data", description="Labels or ratings, as the collect stage writes them")
    held_out: float = Field(default=0.2, ge=0.0, lt=1.0)
    """Share of the prompts whose labels are kept apart, in held_out.jsonl; above 0, one prompt at least."""
    adjudication: LabelAdjudication = "all"
    """What several annotators' labels of one answer become: all = all of them; majority = the one most gave; model =
    the mean by their probability, from the annotators' errors (Dawid and Skene) on the training prompts."""
    criteria: list[str] | None = Field(default=None, min_length=1)
    """Criteria to keep; unset = all."""
    empty: Literal["error", "skip"] = "error"
    """What to do with the label of an empty answer: stop, or leave it out."""
    scale: tuple[float, float] | None = None
    """Labels that become 0 and 1, those between in proportion, those beyond cut off; unset = as they are."""


def run(settings: JudgementSettings, context: Context) -> Metrics:
    given = _kept(read_judgements(settings.data, empty=settings.empty), settings)
    kept_apart = held_out_prompts((j.prompt.id for j in given), settings.held_out, context.seed, settings.data)
    trained = [j for j in given if j.prompt.id not in kept_apart]
    fits = fit_labels(trained) if settings.adjudication == "model" else None
    written: dict[str, int] = {}
    for name, part in (("train", trained), ("held_out", [j for j in given if j.prompt.id in kept_apart])):
        made = adjudicate_labels(part, settings.adjudication, fits)
        written[name] = write_jsonl(context.out / f"{name}.jsonl", _scaled(made, settings))
    right: dict[str, float] = {}
    for criterion, fit in (fits or {}).items():
        right |= {f"right/{criterion}/{name}": share for name, share in fit.right().items()}
    return {"given": len(given), "labels": written["train"], "held_out_labels": written["held_out"], **right}


def _kept(judgements: list[Judgement], settings: JudgementSettings) -> list[Judgement]:
    there = {judgement.criterion for judgement in judgements}
    for name in settings.criteria or ():
        if name not in there:
            raise DataError(f"has no judgement on '{name}'; its criteria are {', '.join(sorted(there))}", settings.data)
    if settings.scale is not None and not settings.scale[0] < settings.scale[1]:
        raise DataError(f"scale {list(settings.scale)}: give the label that becomes 0 and a larger one that becomes 1")
    return [j for j in judgements if settings.criteria is None or j.criterion in settings.criteria]


def _scaled(judgements: Iterable[Judgement], settings: JudgementSettings) -> list[Judgement]:
    if settings.scale is None:
        return list(judgements)
    low, high = settings.scale
    return [replace(j, label=min(1.0, max(0.0, (j.label - low) / (high - low)))) for j in judgements]


STAGE = Stage(
    kind="judgements", summary="Turn labels and ratings into training data", Settings=JudgementSettings, run=run
)
