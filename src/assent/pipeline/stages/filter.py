"""Stage ``filter``: of scored completions, those worth training on, and the pairs they make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from assent.config import Settings
from assent.data import filters
from assent.data.chat import encode_prompt
from assent.data.filters import Filtering, Removed
from assent.data.jsonl import write_completions, write_jsonl
from assent.data.readers import read_completions
from assent.data.scored import Pair, Scored, by_prompt, comparison, pairs_of
from assent.data.tokenizers import load_tokenizer
from assent.errors import DataError, RecipeError
from assent.pipeline.stage import Context, Input, Metrics, Stage
from assent.runs.folder import atomic_write_json

Unit = Literal["words", "characters", "tokens"]


class FilterSettings(Settings):
    """Filtering.  The filters run in the order in which they stand here."""

    data: str = Input("data", description="Completions with scores, as the score stage writes them")
    tokenizer: str | None = Input("model", None, "Model folder or hub name whose tokens are counted, for unit tokens")
    unit: Unit = "words"
    """What max_prompt, max_response, min_response and length_balance count."""
    max_prompt: int | None = Field(default=None, gt=0)
    """Leave out prompts longer than this."""
    max_response: int | None = Field(default=None, gt=0)
    """Leave out completions longer than this."""
    min_response: int = Field(default=1, ge=0)
    """Leave out completions shorter than this; empty ones where it is above 0."""
    finished: bool = False
    """Leave out completions that were cut off by length."""
    exact_duplicates: bool = True
    """Of one prompt's completions with the same text, keep the first."""
    near_duplicates: float | None = Field(default=None, gt=0.0, le=1.0)
    """Of one prompt's completions whose word trigrams overlap by this share (Jaccard) or more, keep the first."""
    near_prompts: float | None = Field(default=None, gt=0.0, le=1.0)
    """The same for prompts, among all of the file: only the first one's completions are kept."""
    max_per_prompt: int | None = Field(default=None, gt=0)
    """Keep the first so many completions of each prompt."""
    best: int | None = Field(default=None, ge=0)
    """Keep so many completions of each prompt, the best by score; unset, and worst too = all."""
    worst: int | None = Field(default=None, ge=0)
    """Keep so many of the worst as well."""
    pairs: Literal["extremes", "all", "none"] = "extremes"
    """Comparisons that each prompt's completions make: the best with the worst, all two of different score, or none."""
    min_margin: float = Field(default=0.0, ge=0.0)
    """Leave out pairs whose scores differ by less."""
    max_margin: float | None = Field(default=None, gt=0.0)
    """Leave out pairs whose scores differ by more."""
    max_pairs_per_prompt: int | None = Field(default=None, gt=0)
    """Keep so many pairs of each prompt, those whose scores differ most."""
    length_balance: bool = False
    """Leave out pairs until as often the rejected answer is the longer as the chosen one is."""

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        if self.pairs == "none" and (self.min_margin or self.max_margin or self.length_balance):
            raise ValueError("min_margin, max_margin and length_balance are for pairs, and pairs is none")
        if self.max_margin is not None and self.max_margin < self.min_margin:
            raise ValueError(f"max_margin {self.max_margin:g} is less than min_margin {self.min_margin:g}")
        if self.pairs != "none" and self.best is not None and self.best + (self.worst or 0) < 2:
            raise ValueError("a pair needs two completions: set worst as well, or pairs: none")
        return self


def run(settings: FilterSettings, context: Context) -> Metrics:
    """Writes ``completions.jsonl``, ``comparisons.jsonl`` where pairs are made, and ``filters.json``.

    Where pairs are made, the completions written are those that stand in one.
    """
    lengths = _lengths(settings)
    work = Filtering(read_completions(settings.data))
    prompts = len(by_prompt(work.rows))
    _filter_completions(work, settings, lengths)
    figures: dict[str, float | int] = {"prompts": prompts}
    if settings.pairs != "none":
        pairs = _pairs(work, settings, lengths)
        figures |= _write_pairs(pairs, work, context)
    for item in work.report:
        figures[f"removed/{item.filter}"] = item.removed
        context.say(f"{item.filter}: {item.removed} of {item.before} {item.of} left out")
    if not work.rows:
        raise DataError("the filters left nothing; loosen the one that removed most", settings.data)
    write_completions(context.out / "completions.jsonl", work.rows)
    atomic_write_json(context.out / "filters.json", [asdict(item) for item in work.report])
    return {**figures, "completions": len(work.rows), "prompts_left": len(by_prompt(work.rows))}


class _Lengths:
    """Lengths in the unit that is asked for."""

    def __init__(self, unit: Unit, tokenizer: Any) -> None:
        self.unit, self.tokenizer = unit, tokenizer

    def text(self, text: str) -> int:
        if self.unit == "tokens":
            return len(self.tokenizer(text, add_special_tokens=False).input_ids)
        return len(text.split()) if self.unit == "words" else len(text)

    def prompt(self, row: Scored) -> int:
        return len(encode_prompt(self.tokenizer, row[0])) if self.unit == "tokens" else self.text(row[0].shown())

    def response(self, row: Scored) -> int:
        return self.text(row[1].text)


def _lengths(settings: FilterSettings) -> _Lengths:
    if (settings.unit == "tokens") != (settings.tokenizer is not None):
        raise RecipeError("filter: unit: tokens and tokenizer go together; give both, or neither")
    return _Lengths(settings.unit, load_tokenizer(settings.tokenizer) if settings.tokenizer else None)


def _filter_completions(work: Filtering, settings: FilterSettings, lengths: _Lengths) -> None:
    if settings.max_prompt is not None:
        work.apply("max_prompt", filters.no_longer(lengths.prompt, settings.max_prompt))
    if settings.max_response is not None:
        work.apply("max_response", filters.no_longer(lengths.response, settings.max_response))
    if settings.min_response:
        work.apply("min_response", filters.no_shorter(lengths.response, settings.min_response))
        work.apply("empty", filters.not_empty)
    if settings.finished:
        work.apply("finished", filters.finished)
    work.apply("unscored", filters.scored)
    if settings.exact_duplicates:
        work.apply_to_groups("exact_duplicates", filters.exact_once)
    if settings.near_duplicates is not None:
        work.apply_to_groups("near_duplicates", filters.near_once(settings.near_duplicates))
    if settings.near_prompts is not None:
        work.apply("near_prompts", filters.near_prompts_once(settings.near_prompts))
    if settings.max_per_prompt is not None:
        work.apply_to_groups("max_per_prompt", filters.first(settings.max_per_prompt))
    if settings.best is not None or settings.worst is not None:
        work.apply_to_groups("best_and_worst", filters.extremes(settings.best or 0, settings.worst or 0))


def _pairs(work: Filtering, settings: FilterSettings, lengths: _Lengths) -> list[Pair]:
    which = "all" if settings.pairs == "all" else "extremes"
    pairs = [pair for group in by_prompt(work.rows) if len(group) > 1 for pair in pairs_of(group, which)]
    steps: list[tuple[str, bool, Callable[[Sequence[Pair]], list[Pair]]]] = [
        ("min_margin", settings.min_margin > 0, lambda got: [p for p in got if p.gap >= settings.min_margin]),
        (
            "max_margin",
            settings.max_margin is not None,
            lambda got: [p for p in got if p.gap <= (settings.max_margin or 0.0)],
        ),
        (
            "max_pairs_per_prompt",
            settings.max_pairs_per_prompt is not None,
            lambda got: filters.widest(got, settings.max_pairs_per_prompt or 0),
        ),
        ("length_balance", settings.length_balance, lambda got: filters.length_balanced(got, lengths.text)),
    ]
    for name, wanted, keep in steps:
        if wanted:
            left = keep(pairs)
            work.report.append(Removed(name, len(pairs), len(pairs) - len(left), "pairs"))
            pairs = left
    return pairs


def _write_pairs(pairs: Sequence[Pair], work: Filtering, context: Context) -> dict[str, float | int]:
    """The comparisons, and of the completions those that stand in one."""
    among: dict[str, int] = {}
    for pair in pairs:
        among[pair.prompt.id] = among.get(pair.prompt.id, 0) + 1
    stand = {(pair.prompt.id, c.id) for pair in pairs for c in (pair.chosen, pair.rejected)}
    work.apply("in_no_pair", lambda rows: [row for row in rows if (row[0].id, row[1].id) in stand])
    write_jsonl(context.out / "comparisons.jsonl", (comparison(pair, among[pair.prompt.id]) for pair in pairs))
    longer = sum(len(pair.chosen.text.split()) > len(pair.rejected.text.split()) for pair in pairs)
    margin = sum(pair.gap for pair in pairs) / max(1, len(pairs))
    return {"pairs": len(pairs), "margin_mean": margin, "chosen_longer_share": longer / max(1, len(pairs))}


STAGE = Stage("filter", "Filter scored completions, and pair the best with the worst", FilterSettings, run)
