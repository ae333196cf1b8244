"""Stage ``comparisons``: rankings to the pairs that reward models and DPO train on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pydantic import Field

from assent.config import Settings
from assent.data.jsonl import write_jsonl
from assent.data.readers import read_rankings
from assent.errors import DataError
from assent.feedback.comparisons import comparisons_from_rankings
from assent.feedback.reliability import Reliability, reliability
from assent.pipeline.stage import Context, Input, Metrics, Stage
from assent.types import Comparison, Ranking


class ComparisonSettings(Settings):
    """Rankings to comparisons."""

    data: str = Input("data", description="Rankings, as the collect stage or `assent label export` writes them")
    held_out: float = Field(default=0.2, ge=0.0, lt=1.0)
    """Share of the prompts whose comparisons are kept apart, in held_out.jsonl; above 0, one prompt at least."""
    reliability: bool = False
    """Write how often the annotator is right as each comparison's confidence, from the training prompts that several
    annotators ranked; 1 for those who shared none."""


def run(settings: ComparisonSettings, context: Context) -> Metrics:
    rankings = read_rankings(settings.data)
    kept_apart = _kept_apart(rankings, settings, context.seed)
    apart = [r for r in rankings if r.prompt.id in kept_apart]
    trained = [r for r in rankings if r.prompt.id not in kept_apart]
    found = _reliability(trained, settings) if settings.reliability else {}
    written = {
        name: write_jsonl(context.out / f"{name}.jsonl", _comparisons(part, found))
        for name, part in (("train", trained), ("held_out", apart))
    }
    if not written["train"]:
        raise DataError("its rankings make no comparison; a ranking needs two answers of different text", settings.data)
    return {
        "rankings": len(rankings),
        "comparisons": written["train"],
        "held_out_comparisons": written["held_out"],
        **{f"reliability/{name}": figures.right for name, figures in found.items()},
        **{f"reliability_low/{name}": figures.low for name, figures in found.items()},
        **{f"reliability_high/{name}": figures.high for name, figures in found.items()},
    }


def _reliability(rankings: Sequence[Ranking], settings: ComparisonSettings) -> Mapping[str, Reliability]:
    found = reliability(rankings)
    if not found:
        raise DataError(
            "no two annotators put the same two answers in an order, so nothing can be told of their reliability; let "
            "several answer the same questions, or leave reliability off",
            settings.data,
        )
    return found


def _comparisons(rankings: Sequence[Ranking], found: Mapping[str, Reliability]) -> list[Comparison]:
    made = comparisons_from_rankings(rankings)
    return [replace(c, confidence=found[c.annotator].right) if c.annotator in found else c for c in made]


def _kept_apart(rankings: Sequence[Ranking], settings: ComparisonSettings, seed: int) -> set[str]:
    """The prompts that are held out, by a hash: all rankings of one prompt are on one side, new ones move no old one.

    Of a few prompts chance might hold out none or all; one at least is on either side.
    """
    if not settings.held_out:
        return set()
    drawn = sorted((_fraction(prompt, seed), prompt) for prompt in {ranking.prompt.id for ranking in rankings})
    if len(drawn) < 2:
        raise DataError("ranks answers to one prompt only, so none can be held out; set held_out: 0", settings.data)
    count = sum(fraction < settings.held_out for fraction, _ in drawn)
    return {prompt for _, prompt in drawn[: min(max(count, 1), len(drawn) - 1)]}


def _fraction(prompt_id: str, seed: int) -> float:
    digest = hashlib.sha256(f"{seed} {prompt_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2.0**64


STAGE = Stage(
    kind="comparisons", summary="Turn rankings into comparisons", Settings=ComparisonSettings, run=run, version=2
)
