"""Writing answers: the event, and what it changes in the tables that say how things stand now."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, literal, null, select, union_all

from assent.errors import StoreError
from assent.feedback.answers import Answer, check_annotator, kind_of, payload_of
from assent.feedback.database import append_event
from assent.feedback.gold import gold_score
from assent.feedback.questions import Question
from assent.feedback.responses import SKIP, Response, in_store_order, response_of
from assent.feedback.rows import GOLD, add_instructions, chunks, no_question, question_of, question_rows, refresh_given
from assent.feedback.tables import answered, events, golds, leases, questions
from assent.feedback.tallies import Change, add_to_tallies

Key = tuple[str, str]
"""Question id and annotator."""


@dataclass(frozen=True, slots=True)
class _Standing:
    event: int | None
    kind: str


_NONE = _Standing(None, "")
_INSERT_EVENTS = insert(events).returning(events.c.id, sort_by_parameter_order=True)
_QUESTIONS = question_rows().where(questions.c.id.in_(bindparam("ids", expanding=True)))
_LEASE = "lease"
_BEFORE = union_all(
    *(
        select(table.c.question_id, table.c.annotator, event.label("event_id"), kind.label("kind")).where(
            table.c.question_id.in_(bindparam("ids", expanding=True)),
            table.c.annotator.in_(bindparam("names", expanding=True)),
        )
        for table, event, kind in ((answered, answered.c.event_id, answered.c.kind), (leases, null(), literal(_LEASE)))
    )
)


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
    mine = (
        select(answered.c.question_id, answered.c.kind, questions.c.project, questions.c.state)
        .join(questions, questions.c.id == answered.c.question_id)
        .where(answered.c.event_id == event_id, answered.c.annotator == annotator)
    )
    row = connection.execute(mine).one_or_none()
    if row is None:
        raise StoreError(f"event {event_id} is no standing answer of '{annotator}'; only one's own can be undone")
    connection.execute(_of(answered, (row.question_id, annotator)))
    skip = row.kind == SKIP
    refresh_given(connection, questions.c.id == row.question_id, -int(not skip and kind_of(annotator) != "judge"))
    if row.state != GOLD:
        add_to_tallies(connection, {(annotator, row.project): (-int(not skip), -int(skip))})
    return append_event(connection, "undo", annotator=annotator, question_id=row.question_id, supersedes=event_id)


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
    asked, states = _asked(connection, {answer.question_id for answer in fresh})
    before, leased = _before(connection, fresh)
    replaced = dict(before)
    for answer in fresh:
        key = (answer.question_id, answer.annotator)
        _check_turn(answer, before.get(key, _NONE).event)
        # 0 is no event: a second answer to the same question in this batch finds its match taken.
        before[key] = _Standing(0, "")
    seen = {asked[a.question_id].instructions if a.instructions is None else a.instructions for a in fresh}
    texts = {text: add_instructions(connection, text) for text in seen}
    rows = [_event_row(answer, asked[answer.question_id], texts) for answer in fresh]
    made = connection.execute(_INSERT_EVENTS, rows)
    numbers = [int(number) for number in made.scalars()]
    expected = _expected(connection, [name for name, state in states.items() if state == GOLD])
    for key in replaced:
        connection.execute(_of(answered, key))
    for key in leased:
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
    given, tallied = _changes(fresh, asked, states, replaced)
    for more in set(given.values()) - {0}:
        for some in chunks([name for name, change in given.items() if change == more]):
            refresh_given(connection, questions.c.id.in_(some), more)
    add_to_tallies(connection, tallied)
    return numbers


def _of(table: Any, key: Key) -> Any:
    return delete(table).where(table.c.question_id == key[0], table.c.annotator == key[1])


def _asked(connection: Connection, ids: Collection[str]) -> tuple[dict[str, Question], dict[str, str]]:
    """The questions by id and the state of each, or :class:`StoreError` when one does not exist."""
    asked: dict[str, Question] = {}
    states: dict[str, str] = {}
    for some in chunks(ids):
        for row in connection.execute(_QUESTIONS, {"ids": some}):
            asked[row.id], states[row.id] = question_of(row), row.state
    for missing in set(ids) - set(asked):
        raise no_question(missing)
    return asked, states


def _before(connection: Connection, fresh: Sequence[Answer]) -> tuple[dict[Key, _Standing], set[Key]]:
    """The standing answers that these come after, by question and annotator, and which of these have a lease."""
    wanted = {(answer.question_id, answer.annotator) for answer in fresh}
    standing: dict[Key, _Standing] = {}
    leased: set[Key] = set()
    for some in chunks(wanted):
        values = {"ids": [question_id for question_id, _ in some], "names": list({name for _, name in some})}
        for row in connection.execute(_BEFORE, values):
            key = (row.question_id, row.annotator)
            if key in wanted and row.kind == _LEASE:
                leased.add(key)
            elif key in wanted:
                standing[key] = _Standing(row.event_id, row.kind)
    return standing, leased


def _changes(
    fresh: Sequence[Answer],
    asked: Mapping[str, Question],
    states: Mapping[str, str],
    replaced: Mapping[Key, _Standing],
) -> tuple[dict[str, int], dict[tuple[str, str], Change]]:
    """What they add to the answers given, by question, and to the tallies, by annotator and project.

    An answer that is corrected is taken off both.  A language model's fills no place that is a person's.
    """
    given: dict[str, int] = {}
    tallied: dict[tuple[str, str], Change] = {}
    for answer in fresh:
        was = replaced.get((answer.question_id, answer.annotator))
        skip, skipped = answer.response.kind == SKIP, was is not None and was.kind == SKIP
        answers = int(not skip) - int(was is not None and not skipped)
        filled = answers if kind_of(answer.annotator) != "judge" else 0
        given[answer.question_id] = given.get(answer.question_id, 0) + filled
        if states[answer.question_id] != GOLD:
            key = (answer.annotator, asked[answer.question_id].project)
            before = tallied.get(key, (0, 0))
            tallied[key] = (before[0] + answers, before[1] + int(skip) - int(skipped))
    return given, tallied


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
    if expected is None or row["kind"] == SKIP:
        return None
    return gold_score(expected, in_store_order(response_of(row["kind"], row["payload"]), row["payload"]["order"]))
