"""Writing answers: the event, and what it changes in the tables that say how things stand now."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from assent.errors import StoreError
from assent.feedback.answers import Answer, check_annotator, payload_of
from assent.feedback.database import append_event
from assent.feedback.gold import gold_score
from assent.feedback.questions import Question
from assent.feedback.responses import Response, in_store_order, response_of
from assent.feedback.rows import add_instructions, chunks, load_questions, refresh_given
from assent.feedback.tables import answered, events, golds, leases, questions

Key = tuple[str, str]
"""Question id and annotator."""


def keep_answers(connection: Connection, given: Sequence[Answer]) -> list[int]:
    """See :meth:`FeedbackStore.add_answers`."""
    sent = _sent_before(connection, given)
    made = [None if answer.key is None else sent.get((answer.annotator, answer.key)) for answer in given]
    fresh = [answer for answer, event in zip(given, made, strict=True) if event is None]
    if fresh:
        numbers = iter(_keep(connection, fresh))
        made = [next(numbers) if event is None else event for event in made]
    return [event for event in made if event is not None]


def take_back(connection: Connection, event_id: int, annotator: str) -> int:
    """See :meth:`FeedbackStore.undo`."""
    mine = select(answered.c.question_id).where(answered.c.event_id == event_id, answered.c.annotator == annotator)
    question_id = connection.execute(mine).scalar_one_or_none()
    if question_id is None:
        raise StoreError(f"event {event_id} is no standing answer of '{annotator}'; only one's own can be undone")
    connection.execute(delete(answered).where(answered.c.question_id == question_id, answered.c.annotator == annotator))
    refresh_given(connection, questions.c.id == question_id)
    return append_event(connection, "undo", annotator=annotator, question_id=question_id, supersedes=event_id)


def _sent_before(connection: Connection, given: Sequence[Answer]) -> dict[tuple[str, str], int]:
    """Annotator and key to the event, of the keys that were used before."""
    keys: dict[str, set[str]] = {}
    for answer in given:
        if answer.key is not None:
            keys.setdefault(answer.annotator, set()).add(answer.key)
    found: dict[tuple[str, str], int] = {}
    for annotator, named in keys.items():  # the index begins with the annotator
        for some in chunks(named):
            query = select(events.c.id, events.c.key).where(events.c.annotator == annotator, events.c.key.in_(some))
            found.update(((annotator, row.key), row.id) for row in connection.execute(query))
    return found


def _keep(connection: Connection, fresh: Sequence[Answer]) -> list[int]:
    asked = load_questions(connection, {answer.question_id for answer in fresh})
    before = _standing(connection, set(asked))
    replaced = set(before)
    for answer in fresh:
        key = (answer.question_id, answer.annotator)
        _check_turn(answer, before.get(key))
        # 0 is no event: a second answer to the same question in this batch finds its match taken.
        before[key] = 0
    seen = {asked[a.question_id].instructions if a.instructions is None else a.instructions for a in fresh}
    texts = {text: add_instructions(connection, text) for text in seen}
    rows = [_event_row(answer, asked[answer.question_id], texts) for answer in fresh]
    made = connection.execute(insert(events).returning(events.c.id, sort_by_parameter_order=True), rows)
    numbers = [int(number) for number in made.scalars()]
    expected = _expected(connection, asked)
    leased = _leased(connection, set(asked))
    for answer in fresh:
        key = (answer.question_id, answer.annotator)
        if key in replaced:
            connection.execute(_of(answered, key))
        if key in leased:
            connection.execute(_of(leases, key))
    connection.execute(
        insert(answered),
        [
            {
                "question_id": row["question_id"],
                "annotator": row["annotator"],
                "event_id": number,
                "kind": row["kind"],
                "gold_score": _score(expected.get(row["question_id"]), row),
            }
            for row, number in zip(rows, numbers, strict=True)
        ],
    )
    for some in chunks(set(asked)):
        refresh_given(connection, questions.c.id.in_(some))
    return numbers


def _of(table: Any, key: Key) -> Any:
    return delete(table).where(table.c.question_id == key[0], table.c.annotator == key[1])


def _standing(connection: Connection, asked: Collection[str]) -> dict[Key, int]:
    found: dict[Key, int] = {}
    for some in chunks(asked):
        query = select(answered.c.question_id, answered.c.annotator, answered.c.event_id)
        for row in connection.execute(query.where(answered.c.question_id.in_(some))):
            found[row.question_id, row.annotator] = row.event_id
    return found


def _leased(connection: Connection, asked: Collection[str]) -> set[Key]:
    found: set[Key] = set()
    for some in chunks(asked):
        query = select(leases.c.question_id, leases.c.annotator).where(leases.c.question_id.in_(some))
        found.update((row.question_id, row.annotator) for row in connection.execute(query))
    return found


def _check_turn(answer: Answer, before: int | None) -> None:
    where = f"question {answer.question_id}, annotator '{check_annotator(answer.annotator)}'"
    if answer.supersedes is None and before is not None:
        raise StoreError(f"{where}: answered before; give supersedes={before} to correct that answer, or undo it")
    if answer.supersedes is not None and answer.supersedes != before:
        raise StoreError(f"{where}: event {answer.supersedes} is not their standing answer, so it cannot be corrected")


def _event_row(answer: Answer, question: Question, texts: dict[str, str]) -> dict[str, Any]:
    seen = question.instructions if answer.instructions is None else answer.instructions
    return {
        "kind": answer.response.kind,
        "created": time.time() if answer.created is None else answer.created,
        "annotator": answer.annotator,
        "question_id": question.id,
        "supersedes": answer.supersedes,
        "payload": payload_of(answer, question, texts[seen]),
        "key": answer.key,
    }


def _expected(connection: Connection, asked: Collection[str]) -> dict[str, Response]:
    found: dict[str, Response] = {}
    for some in chunks(asked):
        query = (
            select(golds.c.question_id, events.c.payload)
            .join(events, golds.c.event_id == events.c.id)
            .where(golds.c.question_id.in_(some))
        )
        for row in connection.execute(query):
            found[row.question_id] = response_of(row.payload["kind"], row.payload)
    return found


def _score(expected: Response | None, row: dict[str, Any]) -> float | None:
    if expected is None or row["kind"] == "skip":
        return None
    return gold_score(expected, in_store_order(response_of(row["kind"], row["payload"]), row["payload"]["order"]))
