"""Stage ``comparisons``: rankings to the pairs that reward models and DPO train on."""

from __future__ import annotations

import hashlib

from pydantic import Field

from assent.config import Settings
from assent.data.jsonl import write_jsonl
from assent.data.readers import read_rankings
from assent.errors import DataError
from assent.feedback.comparisons import comparisons_from_rankings
from assent.pipeline.stage import Context, Input, Metrics, Stage
from assent.types import Ranking


class ComparisonSettings(Settings):
    """Rankings to comparisons."""

    data: str = Input("data", description="Rankings, as the collect stage or `assent label export` writes them")
    held_out: float = Field(default=0.2, ge=0.0, lt=1.0)
    """Share of the prompts whose comparisons are kept apart, in held_out.jsonl."""


def run(settings: ComparisonSettings, context: Context) -> Metrics:
    rankings = read_rankings(settings.data)
    # By a hash of the prompt: all rankings of one prompt are on one side, and new prompts move no old one.
    apart = [r for r in rankings if _fraction(r, context.seed) < settings.held_out]
    trained = [r for r in rankings if _fraction(r, context.seed) >= settings.held_out]
    written = {
        name: write_jsonl(context.out / f"{name}.jsonl", comparisons_from_rankings(part))
        for name, part in (("train", trained), ("held_out", apart))
    }
    if not written["train"]:
        raise DataError("its rankings make no comparison; a ranking needs two answers of different text", settings.data)
    return {"rankings": len(rankings), "comparisons": written["train"], "held_out_comparisons": written["held_out"]}


def _fraction(ranking: Ranking, seed: int) -> float:
    digest = hashlib.sha256(f"{seed} {ranking.prompt.id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2.0**64


STAGE = Stage(kind="comparisons", summary="Turn rankings into comparisons", Settings=ComparisonSettings, run=run)
