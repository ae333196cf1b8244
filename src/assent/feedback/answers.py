"""One annotator's answer to a question, on its way into the store and out of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from assent.errors import StoreError
from assent.feedback.questions import Question, dense_ranks, display_order
from assent.types import Ranking

ERASED = "erased:"
"""Begins the pseudonym that an erased person's tombstones keep."""
MAX_NAME = 200
MAX_NOTE = 10_000


@dataclass(frozen=True, slots=True)
class Answer:
    """Ranks for the answers of one question, in the order they were shown."""

    question_id: str
    annotator: str
    ranks: tuple[int | None, ...]
    """[K], 1 is best, equal ranks tie, ``None`` is failed; gaps are closed by the store."""
    order: tuple[int, ...] | None = None
    """[K] indices into the question's answers as shown; ``None``: as :func:`display_order` says."""
    seconds: float | None = None
    """From question shown to answer given; ``None`` where that was not measured."""
    note: str = ""
    instructions: str | None = None
    """The text the annotator could read, Markdown; ``None``: the question's own."""
    supersedes: int | None = None
    """The event of this annotator's standing answer that this one corrects; ``None`` for a first answer."""
    created: float | None = None
    """Seconds since the epoch, UTC; ``None``: now."""


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """An answer as the store keeps it."""

    event: int
    question_id: str
    ranking: Ranking
    order: tuple[int, ...]
    """[K] indices into the question's answers, as they were shown."""
    instructions: str
    """What the annotator could read, Markdown."""
    standing: bool
    """False once it was corrected or undone."""


def check_annotator(name: str) -> str:
    """The name, or a :class:`StoreError` that says why it cannot be one."""
    if not name.strip() or name != name.strip() or len(name) > MAX_NAME or not name.isprintable():
        raise StoreError(
            f"annotator {name[:MAX_NAME]!r}: give a name of 1 to {MAX_NAME} printable characters, no space around it"
        )
    if name.startswith(ERASED):
        raise StoreError(
            f"annotator '{name}': names that begin with '{ERASED}' stand for erased people; choose another"
        )
    return name


def payload_of(answer: Answer, question: Question, instructions_id: str) -> dict[str, Any]:
    """What the event row keeps: everything about the answer that erasing its author takes out."""
    where = f"question {question.id}, annotator '{answer.annotator}'"
    count = len(question.texts)
    order = display_order(question, answer.annotator) if answer.order is None else tuple(answer.order)
    if sorted(order) != list(range(count)):
        raise StoreError(f"{where}: order {list(order)}; expected each of 0 to {count - 1} once")
    if len(answer.ranks) != count:
        raise StoreError(f"{where}: {len(answer.ranks)} ranks for {count} answers; rank every answer, or give it None")
    if answer.seconds is not None and not (math.isfinite(answer.seconds) and answer.seconds >= 0):
        raise StoreError(f"{where}: seconds {answer.seconds}; give a finite number from 0, or None")
    if len(answer.note) > MAX_NOTE:
        raise StoreError(f"{where}: a note of {len(answer.note)} characters; shorten it to {MAX_NOTE}")
    return {
        "ranks": list(dense_ranks(answer.ranks, where)),
        "order": list(order),
        "seconds": answer.seconds,
        "note": answer.note,
        "instructions_id": instructions_id,
    }


def ranking_of(event: int, annotator: str, created: float, payload: Mapping[str, Any], question: Question) -> Ranking:
    """The record that training reads.  Its id names question and event, so it leads back to the row."""
    order = payload["order"]
    return Ranking(
        id=f"{question.id}:{event}",
        prompt=question.prompt,
        completion_ids=tuple(question.completion_ids[i] for i in order),
        texts=tuple(question.texts[i] for i in order),
        ranks=tuple(payload["ranks"]),
        annotator=annotator,
        criterion=question.criterion,
        seconds=payload["seconds"],
        created=created,
        note=payload["note"],
    )
