"""Stage ``comparisons``: rankings to the pairs that reward models and DPO train on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from pydantic import Field

from assent.config import Settings
from assent.data.jsonl import write_jsonl
from assent.data.readers import read_rankings
from assent.errors import DataError
from assent.feedback.adjudication import Adjudication, adjudicate
from assent.feedback.competence import Competence, fit_competence
from assent.feedback.reliability import reliability_of
from assent.feedback.votes import votes_from_rankings
from assent.pipeline.stage import Context, Input, Metrics, Stage
from assent.types import Ranking


class ComparisonSettings(Settings):
    """Rankings to comparisons."""

    data: str = Input("data", description="Rankings, as the collect stage or `assent label export` writes them")
    held_out: float = Field(default=0.2, ge=0.0, lt=1.0)
    """Share of the prompts whose comparisons are kept apart, in held_out.jsonl; above 0, one prompt at least."""
    adjudication: Adjudication = "all"
    """What several annotators of one question become: all = each ranking's own comparisons; weighted = the same times
    the annotator's competence, estimated from the training prompts; majority = one comparison of each two answers, as
    most say; model = one, with the probability of its order and the weight of what was said, by their competence."""


def run(settings: ComparisonSettings, context: Context) -> Metrics:
    rankings = read_rankings(settings.data)
    kept_apart = _kept_apart(rankings, settings, context.seed)
    apart = [r for r in rankings if r.prompt.id in kept_apart]
    trained = [r for r in rankings if r.prompt.id not in kept_apart]
    fit = _competence(trained, settings) if settings.adjudication in ("weighted", "model") else None
    written = {
        name: write_jsonl(context.out / f"{name}.jsonl", adjudicate(part, settings.adjudication, fit))
        for name, part in (("train", trained), ("held_out", apart))
    }
    if not written["train"]:
        raise DataError("its rankings make no comparison; a ranking needs two answers of different text", settings.data)
    return {
        "rankings": len(rankings),
        "comparisons": written["train"],
        "held_out_comparisons": written["held_out"],
        **(_figures(fit) if fit else {}),
    }


def _competence(rankings: Sequence[Ranking], settings: ComparisonSettings) -> Competence:
    fit = fit_competence(votes_from_rankings(rankings))
    if not fit.annotators:
        raise DataError(
            "no two annotators ranked the same two answers, so nothing can be told of their competence; let several "
            "answer the same questions, or set adjudication: all",
            settings.data,
        )
    return fit


def _figures(fit: Competence) -> dict[str, float]:
    found: dict[str, float] = {"gap_spread": fit.spread}
    for name, known in reliability_of(fit).items():
        found[f"competence/{name}"] = known.competence.value
        found[f"competence_low/{name}"], found[f"competence_high/{name}"] = known.competence.low, known.competence.high
        found[f"right/{name}"] = known.right.value
    return found


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
    kind="comparisons", summary="Turn rankings into comparisons", Settings=ComparisonSettings, run=run, version=3
)
