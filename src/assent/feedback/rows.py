"""Queries that the store is made of, and rows to records."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, insert, select

from assent.errors import StoreError
from assent.feedback.questions import Question
from assent.feedback.tables import events, instructions, questions
from assent.types import Prompt, from_json, short_id, to_json

_CHUNK = 500  # ids in one IN (...): databases limit the parameters of a statement


def standing(upto: int | None = None) -> ColumnElement[bool]:
    """True of an event that no other one (up to ``upto``) supersedes."""
    later = events.alias("later")
    supersedes = select(later.c.id).where(later.c.supersedes == events.c.id)
    if upto is not None:
        supersedes = supersedes.where(later.c.id <= upto)
    return ~supersedes.exists()


def standing_answers(upto: int | None = None) -> Select[Any]:
    """Events that are answers neither corrected nor undone."""
    query = select(events).where(events.c.kind == "ranking", standing(upto))
    return query if upto is None else query.where(events.c.id <= upto)


def question_rows() -> Select[Any]:
    """Questions with the text of their instructions, for :func:`question_of`."""
    return select(questions, instructions.c.text.label("instructions")).join(instructions)


def by_turn(query: Select[Any]) -> Select[Any]:
    """Highest priority first, then the oldest."""
    return query.order_by(questions.c.priority.desc(), questions.c.event_id)


def question_of(row: Row[Any]) -> Question:
    """The record of one of :func:`question_rows`."""
    return Question(
        id=row.id,
        prompt=from_json(Prompt, row.payload["prompt"]),
        completion_ids=tuple(row.payload["completion_ids"]),
        texts=tuple(row.payload["texts"]),
        criterion=row.payload["criterion"],
        instructions=row.instructions,
        priority=row.priority,
    )


def find_questions(connection: Connection, ids: Collection[str]) -> dict[str, Question]:
    """Those of the questions that exist, by id."""
    found: dict[str, Question] = {}
    for start in range(0, len(ids), _CHUNK):
        some = list(ids)[start : start + _CHUNK]
        rows = connection.execute(question_rows().where(questions.c.id.in_(some)))
        found.update((row.id, question_of(row)) for row in rows)
    return found


def load_questions(connection: Connection, ids: Collection[str]) -> dict[str, Question]:
    """The questions by id, or :class:`StoreError` when one does not exist."""
    found = find_questions(connection, ids)
    for missing in set(ids) - set(found):
        raise StoreError(f"no question '{missing}' in this store; add it before it is answered")
    return found


def add_instructions(connection: Connection, text: str) -> str:
    """Keep a text, once, and return its id."""
    number = short_id("instructions", text)
    if connection.execute(select(instructions.c.id).where(instructions.c.id == number)).first() is None:
        connection.execute(insert(instructions).values(id=number, text=text))
    return number


def insert_questions(connection: Connection, new: Sequence[Question], now: float) -> int:
    """Add the questions that are not there yet, each with its event; how many there were."""
    known = find_questions(connection, {question.id for question in new})
    fresh: dict[str, Question] = {}
    for question in new:
        if not question.id or len(question.id) > 200 or not question.id.isprintable():
            raise StoreError(f"question id {question.id[:200]!r}: give 1 to 200 printable characters")
        earlier = known.get(question.id) or fresh.setdefault(question.id, question)
        if _content(earlier) != _content(question):
            raise StoreError(f"question {question.id} is in the store with other content; give the new one a new id")
    if not fresh:
        return 0
    log = [{"kind": "question", "created": now} for _ in fresh]
    numbers = connection.execute(insert(events).returning(events.c.id, sort_by_parameter_order=True), log).scalars()
    rows = [_row(connection, event, question) for event, question in zip(numbers, fresh.values(), strict=True)]
    connection.execute(insert(questions), rows)
    return len(fresh)


def _row(connection: Connection, event: int, question: Question) -> dict[str, Any]:
    return {
        "event_id": event,
        "id": question.id,
        "priority": question.priority,
        "payload": _content(question)[0],
        "instructions_id": add_instructions(connection, question.instructions),
    }


def _content(question: Question) -> tuple[dict[str, Any], str]:
    """All that may not change under one id: everything but the priority."""
    payload = {
        "prompt": to_json(question.prompt),
        "completion_ids": list(question.completion_ids),
        "texts": list(question.texts),
        "criterion": question.criterion,
    }
    return payload, question.instructions
