"""Queries that the store is made of, and rows to records."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Row, Select, case, func, insert, select, update

from assent.errors import StoreError
from assent.feedback.answers import StoredAnswer, details_of
from assent.feedback.questions import Criterion, Question
from assent.feedback.responses import ANSWER_KINDS, response_of
from assent.feedback.tables import events, instructions, projects, questions
from assent.types import Prompt, from_json, short_id, to_json

T = TypeVar("T")
GOLD = "gold"
"""The state of a question whose answer is known."""
CHUNK = 500  # ids in one IN (...): databases limit the parameters of a statement


def standing(upto: int | None = None) -> ColumnElement[bool]:
    """True of an event that no other one (up to ``upto``) supersedes."""
    later = events.alias("later")
    supersedes = select(later.c.id).where(later.c.supersedes == events.c.id)
    if upto is not None:
        supersedes = supersedes.where(later.c.id <= upto)
    return ~supersedes.exists()


def standing_answers(upto: int | None = None) -> Select[Any]:
    """Events that are answers neither corrected nor undone."""
    query = select(events).where(events.c.kind.in_(ANSWER_KINDS), standing(upto))
    return query if upto is None else query.where(events.c.id <= upto)


def question_rows() -> Select[Any]:
    """Questions with the text of their instructions, for :func:`question_of`."""
    return select(questions, instructions.c.text.label("instructions")).join(instructions)


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
        task=row.task,
        criteria=tuple(from_json(Criterion, criterion) for criterion in row.payload.get("criteria", ())),
        labels=tuple(row.payload.get("labels", ())),
        project=row.project,
        queue=row.queue,
        overlap=row.overlap,
    )


def answer_of(row: Row[Any], question: Question, is_standing: bool = True) -> StoredAnswer:
    """The record of an answer event that was not erased."""
    return StoredAnswer(
        event=row.id,
        question=question,
        annotator=row.annotator,
        response=response_of(row.kind, row.payload),
        created=row.created,
        standing=is_standing,
        **details_of(row.payload),
    )


def find_questions(connection: Connection, ids: Collection[str]) -> dict[str, Question]:
    """Those of the questions that exist, by id."""
    found: dict[str, Question] = {}
    for some in chunks(ids):
        rows = connection.execute(question_rows().where(questions.c.id.in_(some)))
        found.update((row.id, question_of(row)) for row in rows)
    return found


def load_questions(connection: Connection, ids: Collection[str]) -> dict[str, Question]:
    """The questions by id, or :class:`StoreError` when one does not exist."""
    found = find_questions(connection, ids)
    for missing in set(ids) - set(found):
        raise no_question(missing)
    return found


def no_question(missing: str) -> StoreError:
    """What to raise for the id of no question."""
    return StoreError(f"no question '{missing}' in this store; add it before it is answered")


def chunks(ids: Collection[T]) -> list[list[T]]:
    """The ids in lists short enough for one statement."""
    every = list(ids)
    return [every[start : start + CHUNK] for start in range(0, len(every), CHUNK)]


def add_instructions(connection: Connection, text: str) -> str:
    """Keep a text, once, and return its id."""
    if "\x00" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise StoreError("the instructions hold a NUL or half a character; give them as plain UTF-8 text")
    number = short_id("instructions", text)
    if connection.execute(select(instructions.c.id).where(instructions.c.id == number)).first() is None:
        connection.execute(insert(instructions).values(id=number, text=text))
    return number


def ensure_project(connection: Connection, name: str) -> None:
    """Make the project if there is none of that name."""
    if not name.strip() or len(name) > 80 or not name.isprintable():
        raise StoreError(f"project {name[:80]!r}: give a name of 1 to 80 printable characters")
    if connection.execute(select(projects.c.name).where(projects.c.name == name)).first() is None:
        connection.execute(insert(projects).values(name=name, created=time.time(), settings={}))


def refresh_given(connection: Connection, which: ColumnElement[bool], more: int = 0) -> None:
    """Note ``more`` standing answers to these questions, and open or close them by their overlap."""
    given = questions.c.given + more
    of_project = select(projects.c.overlap).where(projects.c.name == questions.c.project).scalar_subquery()
    # NULL on the right of >= is not true: without an overlap a question stays open.
    full = given >= func.coalesce(questions.c.overlap, of_project)
    state = case((questions.c.state == GOLD, GOLD), (full, "closed"), else_="open")
    connection.execute(update(questions).where(which).values(given=given, state=state))


def insert_questions(connection: Connection, new: Sequence[Question], now: float) -> int:
    """Add the questions that are not there yet, each with its event; how many there were."""
    known = find_questions(connection, {question.id for question in new})
    fresh: dict[str, Question] = {}
    for question in new:
        _check(question)
        earlier = known.get(question.id) or fresh.setdefault(question.id, question)
        if _content(earlier) != _content(question):
            raise StoreError(f"question {question.id} is in the store with other content; give the new one a new id")
    if not fresh:
        return 0
    for project in {question.project for question in fresh.values()}:
        ensure_project(connection, project)
    texts = {text: add_instructions(connection, text) for text in {q.instructions for q in fresh.values()}}
    log = [{"kind": "question", "created": now} for _ in fresh]
    numbers = connection.execute(insert(events).returning(events.c.id, sort_by_parameter_order=True), log).scalars()
    rows = [_row(event, question, texts) for event, question in zip(numbers, fresh.values(), strict=True)]
    connection.execute(insert(questions), rows)
    return len(fresh)


def _check(question: Question) -> None:
    for what, value, least in (("id", question.id, 1), ("queue", question.queue, 0)):
        most = 200 if what == "id" else 80
        if not least <= len(value) <= most or not value.isprintable():
            raise StoreError(f"question {what} {value[:200]!r}: give {least} to {most} printable characters")
    if not math.isfinite(question.priority):
        raise StoreError(f"question {question.id}: priority {question.priority}; give a finite number")


def _row(event: int, question: Question, texts: dict[str, str]) -> dict[str, Any]:
    return {
        "event_id": event,
        "id": question.id,
        "priority": question.priority,
        "turn": -question.priority,
        "payload": _content(question)[0],
        "instructions_id": texts[question.instructions],
        "task": question.task,
        "project": question.project,
        "queue": question.queue,
        "overlap": question.overlap,
        "given": 0,
        "state": "open",
    }


def _content(question: Question) -> tuple[Any, ...]:
    """All that may not change under one id: everything but priority, queue and overlap."""
    payload = {
        "prompt": to_json(question.prompt),
        "completion_ids": list(question.completion_ids),
        "texts": list(question.texts),
        "criterion": question.criterion,
    }
    if question.criteria:
        payload["criteria"] = [to_json(criterion) for criterion in question.criteria]
    if question.labels:
        payload["labels"] = list(question.labels)
    return payload, question.instructions, question.task, question.project
