"""From records to examples: the rows and pairs that one optimiser batch is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar

from assent.data.chat import TokenRow, Tokens, Turns, encode_demonstration, encode_row, encode_text, too_long
from assent.errors import DataError
from assent.training.sources import Example, Pair, Row
from assent.types import Comparison, Demonstration, Judgement, Prompt

Overlong = Literal["error", "truncate", "drop"]
T = TypeVar("T")


def demonstration_examples(
    tokenizer: Any,
    demonstrations: Sequence[Demonstration],
    max_length: int,
    overlong: Overlong,
    source: str,
    turns: Turns = "last",
) -> tuple[list[Example], int]:
    """One example per demonstration, and how many were dropped as too long; ``turns`` of the assistant are trained."""

    def encode(item: Demonstration) -> list[Tokens]:
        return [encode_demonstration(tokenizer, item, _limit(max_length, overlong), turns=turns, source=source)]

    return _examples(demonstrations, encode, lambda d: d.prompt, max_length, overlong, source)


def text_examples(
    tokenizer: Any, texts: Sequence[str], max_length: int, overlong: Overlong, source: str
) -> tuple[list[Example], int]:
    """One example per text, every token trained."""

    def encode(text: str) -> list[Tokens]:
        return [encode_text(tokenizer, text, _limit(max_length, overlong))]

    return _examples(texts, encode, lambda t: Prompt(id=t[:20] or "empty", text=t), max_length, overlong, source)


def judgement_examples(
    tokenizer: Any,
    judgements: Sequence[Judgement],
    max_length: int,
    overlong: Overlong,
    source: str,
    heads: Mapping[str, int] | None = None,
    any_label: bool = False,
) -> tuple[list[Example], int]:
    """One example per judged completion, with its label and, as in :func:`comparison_examples`, its head.

    Labels are probabilities, unless ``any_label``: then they are any numbers.
    """

    def encode(item: Judgement) -> list[Tokens]:
        if not 0.0 <= item.label <= 1.0 and not any_label:
            begins = " ".join(item.response.split())[:40]
            raise DataError(f"label {item.label:g} of '{begins}': expected 0 (bad) to 1 (good), true or false", source)
        return [_row(tokenizer, item.prompt, item.response, max_length, overlong, source)]

    def columns(item: Judgement) -> dict[str, Sequence[float]]:
        return {"labels": [item.label], "heads": [_head(item.criterion, heads, source)]}

    return _examples(judgements, encode, lambda j: j.prompt, max_length, overlong, source, columns)


def comparison_examples(
    tokenizer: Any,
    comparisons: Sequence[Comparison],
    max_length: int,
    overlong: Overlong,
    source: str,
    heads: Mapping[str, int] | None = None,
) -> tuple[list[Example], int]:
    """One example per ranking: its K answers once each, and its pairs with their weights.

    A comparison that belongs to no group is an example of its own.  ``heads`` gives the head that each criterion
    trains, and no other criterion may occur; ``None``: all train the first.  A ranking is of one criterion.
    """
    groups: dict[tuple[str, str], list[Comparison]] = {}
    for item in comparisons:
        groups.setdefault((item.group or item.id, item.criterion), []).append(item)
    examples: list[Example] = []
    dropped = 0
    for members in groups.values():
        place = {text: i for i, text in enumerate(dict.fromkeys(t for c in members for t in (c.chosen, c.rejected)))}
        rows = [_row(tokenizer, members[0].prompt, text, max_length, overlong, source) for text in place]
        if _too_long(rows, members[0].prompt, max_length, overlong, source):
            dropped += 1
            continue
        head = _head(members[0].criterion, heads, source)
        # Equal texts that were told apart by rank say nothing; only pairs of different texts remain.
        pairs = [
            Pair(place[c.chosen], place[c.rejected], c.weight, c.tie, c.margin, c.confidence, head)
            for c in members
            if c.chosen != c.rejected
        ]
        if pairs:
            answers = [Row(r.ids, r.completion_mask) for r in rows]
            examples.append(Example(answers, pairs, prompt=_prompt_id(members[0].prompt)))
    _some(examples, source)
    return examples, dropped


def labelled(examples: Sequence[Example], source: str) -> list[Example]:
    """Comparisons as judgements of single answers, for algorithms that need labels: one example per answer.

    Its label is the share of its comparisons that it won, by their weights: 1 for the chosen answer of a pair, 0 for
    the rejected one.  A pair of some confidence counts for both sides in that proportion; ties count for neither, and
    an answer that is in ties only is left out.
    """
    out: list[Example] = []
    for example in examples:
        won, lost = [0.0] * len(example.rows), [0.0] * len(example.rows)
        for pair in (pair for pair in example.pairs if not pair.tie):
            for winner, loser, share in (
                (pair.chosen, pair.rejected, pair.confidence),
                (pair.rejected, pair.chosen, 1.0 - pair.confidence),
            ):
                won[winner] += share * pair.weight
                lost[loser] += share * pair.weight
        for row, up, down in zip(example.rows, won, lost, strict=True):
            if up + down > 0.0:
                out.append(Example([row], columns={"labels": [up / (up + down)]}, prompt=example.prompt))
    if examples and not out:
        raise DataError("all its comparisons are ties, which say of no answer whether it is good or bad", source)
    return out


def _examples(
    items: Iterable[T],
    encode: Callable[[T], list[Tokens]],
    prompt_of: Callable[[T], Prompt],
    max_length: int,
    overlong: Overlong,
    source: str,
    columns: Callable[[T], dict[str, Sequence[float]]] = lambda item: {},
) -> tuple[list[Example], int]:
    examples: list[Example] = []
    dropped = 0
    for item in items:
        rows = encode(item)
        if _too_long(rows, prompt_of(item), max_length, overlong, source):
            dropped += 1
            continue
        made = [Row(row.ids, row.completion_mask) for row in rows]
        examples.append(Example(made, columns=columns(item), prompt=_prompt_id(prompt_of(item))))
    _some(examples, source)
    return examples, dropped


def _prompt_id(prompt: Prompt) -> str:
    """Of a label on a text alone, whose prompt is the empty text, none."""
    return prompt.id if prompt.text or prompt.messages else ""


def _head(criterion: str, heads: Mapping[str, int] | None, source: str) -> int:
    if heads is None:
        return 0
    if criterion not in heads:
        raise DataError(f"criterion '{criterion}' is not one of the criteria: {', '.join(heads)}", source)
    return heads[criterion]


def _row(tokenizer: Any, prompt: Prompt, text: str, max_length: int, overlong: Overlong, source: str) -> Tokens:
    row: TokenRow = encode_row(tokenizer, prompt, text, max_length=_limit(max_length, overlong), source=source)
    mask = (False,) * len(row.prompt_ids) + (True,) * len(row.completion_ids)
    return Tokens(row.prompt_ids + row.completion_ids, mask)


def _limit(max_length: int, overlong: Overlong) -> int | None:
    return max_length if overlong == "truncate" else None


def _too_long(rows: Sequence[Tokens], prompt: Prompt, max_length: int, overlong: Overlong, source: str) -> bool:
    longest = max(len(row.ids) for row in rows)
    if longest <= max_length:
        return False
    if overlong == "drop":
        return True
    error = too_long(prompt, longest, max_length, source)
    raise DataError(
        f"prompt {prompt.id} with its answer has {longest} tokens, at most {max_length} fit; shorten it, or set "
        "overlong to truncate (cut answers on the right) or drop",
        error.path,
        error.line,
    )


def _some(examples: Sequence[Example], source: str) -> None:
    if not examples:
        raise DataError("no row is left to train on", source)
