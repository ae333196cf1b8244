"""Columns that trainers and the hub agree on (TRL's names), and the records of this package."""

from __future__ import annotations

from typing import Any

from assent.data.forms.base import Form, Record, Vote, answer_ids, as_chat
from assent.data.layouts import column
from assent.data.parse import (
    RANK_COLUMNS,
    parse_comparison,
    parse_demonstration,
    parse_judgement,
    parse_ranking,
)
from assent.data.rows import Row
from assent.types import Comparison, Demonstration, Judgement, Prompt, Ranking, to_json

_PAIR = ("chosen", "rejected")


def _read(row: Row) -> list[Record]:
    """Chosen and rejected are a vote, a label a judgement, lists with ranks a ranking, and the rest a demonstration."""
    if column(row, _PAIR[:1]) and column(row, _PAIR[1:]):
        return [_vote(parse_comparison(row))]
    if column(row, RANK_COLUMNS):
        return [parse_ranking(row)]
    if column(row, ("label",)):
        return [parse_judgement(row)]
    return [parse_demonstration(row)]


def _vote(pair: Comparison) -> Vote:
    return Vote(
        pair.prompt,
        pair.chosen,
        pair.rejected,
        "tie" if pair.tie else "a",
        strength=pair.margin,
        confidence=pair.confidence,
        annotator=pair.annotator,
        criterion=pair.criterion,
        completion_ids=answer_ids(pair.prompt, (pair.chosen, pair.rejected)),  # pyright: ignore[reportArgumentType]
        id=pair.id,
    )


def _sides(prompt: Prompt, **answers: str) -> dict[str, Any]:
    if prompt.messages is None:
        return {"prompt": prompt.text, **answers}
    said = {name: [{"role": "assistant", "content": text}] for name, text in answers.items()}
    return {"prompt": as_chat(prompt.messages), **said}


def _write_vote(vote: Vote) -> dict[str, Any]:
    if vote.outcome in ("tie", "both bad"):
        raise ValueError(f"a vote of '{vote.outcome}': these columns have a chosen and a rejected answer only")
    won, lost = (vote.a, vote.b) if vote.outcome == "a" else (vote.b, vote.a)
    extra = {"margin": vote.strength} if vote.strength else {}
    return {**_sides(vote.prompt, chosen=won, rejected=lost), **extra}


def _write_judgement(judgement: Judgement) -> dict[str, Any]:
    label = bool(judgement.label) if judgement.label in (0.0, 1.0) else judgement.label
    return {**_sides(judgement.prompt, completion=judgement.response), "label": label}


def _write_demonstration(demonstration: Demonstration) -> dict[str, Any]:
    return _sides(demonstration.prompt, completion=demonstration.response)


TRL = Form(
    "trl",
    "TRL and hub columns: prompt with chosen and rejected, completion and label, or completion",
    lambda row: (
        {*_PAIR} <= set(row.values)
        or "label" in row.values
        or bool(set(RANK_COLUMNS) & set(row.values))
        or column(row, ("messages", "conversations", "completion", "response", "output", "answer")) is not None
    ),
    _read,
    {Vote: _write_vote, Judgement: _write_judgement, Demonstration: _write_demonstration},
)


def _read_own(row: Row) -> list[Record]:
    if "ranks" in row.values:
        return [parse_ranking(row)]
    if "label" in row.values:
        return [parse_judgement(row)]
    if "chosen" in row.values:
        return [_vote(parse_comparison(row))]
    return [parse_demonstration(row)]


def _own(row: Row) -> bool:
    prompt = row.values.get("prompt")
    return isinstance(prompt, dict) and "id" in prompt and ("text" in prompt or "messages" in prompt)


RECORDS = Form(
    "records",
    "the records of this package: rankings, judgements, demonstrations",
    _own,
    _read_own,
    {Ranking: to_json, Judgement: to_json, Demonstration: to_json},
)
