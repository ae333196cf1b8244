"""Stage ``comparisons``: rankings to the pairs that reward models and DPO train on."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from assent.config import Settings
from assent.data.jsonl import write_jsonl
from assent.data.readers import describe, read_judgements, read_rankings
from assent.errors import DataError, RecipeError
from assent.feedback.adjudication import Adjudication, adjudicate
from assent.feedback.competence import Competence, fit_competence
from assent.feedback.judgements import rankings_from_judgements
from assent.feedback.reliability import reliability_of
from assent.feedback.votes import votes_from_rankings
from assent.pipeline.stage import Context, Input, Metrics, Stage
from assent.pipeline.stages.held_out import held_out_prompts
from assent.types import Ranking


class ComparisonSettings(Settings):
    """Rankings to comparisons."""

    data: str = Input("data", description="Rankings, as the collect stage writes them; or ratings, which make an order")
    held_out: float = Field(default=0.2, ge=0.0, lt=1.0)
    """Share of the prompts whose comparisons are kept apart, in held_out.jsonl; above 0, one prompt at least."""
    adjudication: Adjudication = "all"
    """What several annotators of one question become: all = each ranking's own comparisons; weighted = the same times
    the annotator's competence, estimated from the training prompts; majority = one comparison of each two answers, as
    most say; model = one, with the probability of its order and the weight of what was said, by their competence."""
    competence_from: list[str] = Input(
        "data",
        [],
        "Further rankings by the same annotators, such as those of earlier rounds: competence is estimated "
        "from them too, and they become no comparisons",
    )


def run(settings: ComparisonSettings, context: Context) -> Metrics:
    rankings = _rankings(settings.data)
    kept_apart = held_out_prompts((r.prompt.id for r in rankings), settings.held_out, context.seed, settings.data)
    apart = [r for r in rankings if r.prompt.id in kept_apart]
    trained = [r for r in rankings if r.prompt.id not in kept_apart]
    fit = None
    if settings.adjudication in ("weighted", "model"):
        more = [ranking for source in settings.competence_from for ranking in _rankings(source)]
        fit = _competence([*trained, *(r for r in more if r.prompt.id not in kept_apart)], settings)
    elif settings.competence_from:
        raise RecipeError(
            f"comparisons: competence_from is for adjudication weighted or model, and it is {settings.adjudication}; "
            "leave one out"
        )
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


def _rankings(source: str) -> list[Ranking]:
    kinds = describe(source)
    if "rankings" in kinds or "judgements" not in kinds:
        return read_rankings(source)
    return rankings_from_judgements(read_judgements(source))


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


STAGE = Stage(
    kind="comparisons", summary="Turn rankings into comparisons", Settings=ComparisonSettings, run=run, version=3
)
