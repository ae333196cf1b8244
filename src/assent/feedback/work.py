"""Who answers what next: priorities, overlap, leases, gold questions, progress."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from assent.errors import StoreError
from assent.feedback.database import Database, append_event, count
from assent.feedback.handing import Assignment, Nothing, Seeking, drop_leases, given_last, hand_out, held
from assent.feedback.projects import load_settings
from assent.feedback.questions import DEFAULT_PROJECT, Question
from assent.feedback.responses import SKIP, Response, checked, fields_of
from assent.feedback.rows import GOLD, chunks, load_questions, refresh_given
from assent.feedback.tables import answered, events, golds, leases, questions
from assent.feedback.tallies import add_to_tallies, tally_of


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one annotator is in one project."""

    answered: int
    skipped: int
    questions: int
    """Questions of the project, gold ones apart."""
    last_hour: int
    """Answers in the last hour."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """How far one project is."""

    questions: int
    """Gold ones apart."""
    untouched: int
    """Without any answer."""
    closed: int
    """With as many answers as their overlap asks for."""
    answers: int
    budget: int | None
    budget_left: int | None


class Work:
    """Hands the questions of a store out to people."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(
        self,
        annotator: str,
        project: str = DEFAULT_PROJECT,
        queues: Collection[str] = (),
        now: float | None = None,
    ) -> Assignment | Nothing:
        """The question this annotator should answer next, leased to them, or why there is none.

        Highest priority first, then the oldest; never one that they answered or skipped; one that they hold already
        before any other.  Of a question with an overlap, no more people hold or have answered it than that.
        ``queues``: those they work in, and the questions of no queue; empty: all.  Gold questions come in between, and
        first for those who must qualify, as the project's settings say.
        """
        who = Seeking(annotator, project, tuple(queues), time.time() if now is None else now)
        with self._database.reading() as connection:
            before = held(connection, who)
            if before is not None:
                return before
        with self._database.noting() as connection:
            return hand_out(connection, who)

    def holds(self, annotator: str, number: int) -> Assignment | None:
        """The question of this number if this annotator was given it last, even where the lease is over."""
        with self._database.reading() as connection:
            return given_last(connection, annotator, number)

    def release(self, annotator: str) -> None:
        """Give back what this annotator holds."""
        with self._database.noting() as connection:
            drop_leases(connection, annotator)

    def reopen(self, annotator: str, question_id: str, now: float | None = None) -> None:
        """Lease a question to an annotator who took their answer back, whatever its overlap."""
        now = time.time() if now is None else now
        with self._database.noting() as connection:
            drop_leases(connection, annotator)
            lease = {"question_id": question_id, "annotator": annotator, "taken": now, "expires": now + 1800}
            connection.execute(insert(leases).values(**lease))

    def question_id(self, number: int) -> str | None:
        """The id of the question of this number; ``None`` where there is none."""
        with self._database.reading() as connection:
            found = select(questions.c.id).where(questions.c.event_id == number)
            return connection.execute(found).scalar_one_or_none()

    def numbers_of(self, ids: Collection[str]) -> dict[str, int]:
        """What :class:`Assignment` calls the questions' numbers, by id."""
        found: dict[str, int] = {}
        with self._database.reading() as connection:
            for some in chunks(set(ids)):
                query = select(questions.c.id, questions.c.event_id).where(questions.c.id.in_(some))
                found.update((row.id, row.event_id) for row in connection.execute(query))
        return found

    def set_priorities(self, priorities: Mapping[str, float]) -> None:
        """Change the priorities of questions, each as an event."""
        if not all(math.isfinite(value) for value in priorities.values()):
            raise StoreError("a priority is not finite; give a number for each question")
        if not priorities:
            return
        with self._database.writing() as connection:
            _record(connection, "priority", priorities)
            for name, value in priorities.items():
                where = questions.c.id == name
                connection.execute(update(questions).where(where).values(priority=value, turn=-value))

    def set_overlaps(self, overlaps: Mapping[str, int]) -> None:
        """Change how many people answer each of these questions, each as an event; they open or close by it."""
        if any(people < 1 for people in overlaps.values()):
            raise StoreError("an overlap is below 1; give how many people answer each question")
        if not overlaps:
            return
        with self._database.writing() as connection:
            _record(connection, "overlap", overlaps)
            for name, people in overlaps.items():
                connection.execute(update(questions).where(questions.c.id == name).values(overlap=people))
                refresh_given(connection, questions.c.id == name)

    def set_gold(self, question_id: str, expected: Response, explanation: str = "") -> None:
        """Make a question gold: it is asked to see whether people read, and its answer is known.

        ``expected`` is in the store's order of answers.  Answers given before are not scored.
        """
        with self._database.writing() as connection:
            question = load_questions(connection, [question_id])[question_id]
            if question.task in ("rewrite", "demonstration"):
                raise StoreError(f"question {question_id}: no answer of a {question.task} can be known before")
            response = checked(expected, question, f"question {question_id}, gold")
            payload = {"kind": response.kind, **fields_of(response), "explanation": explanation}
            number = append_event(connection, "gold", question_id=question_id, payload=payload)
            connection.execute(delete(golds).where(golds.c.question_id == question_id))
            connection.execute(insert(golds).values(question_id=question_id, event_id=number))
            if not _is_gold(connection, question_id):
                _leave_tallies(connection, question)
            connection.execute(update(questions).where(questions.c.id == question_id).values(state=GOLD))

    def gold_scores(self, annotator: str | None = None) -> dict[str, tuple[float, int]]:
        """By annotator, the mean score on gold questions and how many were answered."""
        query = (
            select(answered.c.annotator, func.avg(answered.c.gold_score), func.count())
            .where(answered.c.gold_score.is_not(None))
            .group_by(answered.c.annotator)
        )
        if annotator is not None:
            query = query.where(answered.c.annotator == annotator)
        with self._database.reading() as connection:
            return {name: (float(mean), int(many)) for name, mean, many in connection.execute(query)}

    def size(self, project: str = DEFAULT_PROJECT) -> int:
        """Questions of a project, gold ones apart."""
        every = select(questions.c.event_id).where(
            questions.c.project == project, questions.c.state.in_(("open", "closed"))
        )
        with self._database.reading() as connection:
            return count(connection, every.subquery())

    def progress(self, annotator: str, project: str = DEFAULT_PROJECT, size: int | None = None) -> Progress:
        """How many questions this annotator answered and skipped, of how many.

        ``size`` is taken for the number of questions, which is then not counted again.
        """
        size = self.size(project) if size is None else size
        with self._database.reading() as connection:
            answers, skips = tally_of(connection, annotator, project)
            since = {"annotator": annotator, "since": time.time() - 3600}
            return Progress(answers, skips, size, connection.execute(_RECENT, since).scalar_one())

    def coverage(self, project: str = DEFAULT_PROJECT) -> Coverage:
        """How many questions of a project have answers, and what is left of its budget."""
        query = select(
            questions.c.state, func.count(), func.sum(questions.c.given), func.sum((questions.c.given == 0).cast(_INT))
        )
        with self._database.reading() as connection:
            settings = load_settings(connection, project)
            rows = connection.execute(query.where(questions.c.project == project).group_by(questions.c.state)).all()
        regular = [row for row in rows if row[0] != GOLD]
        answers = sum(int(row[2] or 0) for row in regular)
        left = None if settings.budget is None else max(0, settings.budget - answers)
        return Coverage(
            questions=sum(row[1] for row in regular),
            untouched=sum(int(row[3] or 0) for row in regular),
            closed=sum(row[1] for row in regular if row[0] == "closed"),
            answers=answers,
            budget=settings.budget,
            budget_left=left,
        )


_RECENT = select(func.count()).where(
    events.c.annotator == bindparam("annotator"), events.c.created > bindparam("since"), events.c.kind != "undo"
)
_INT = questions.c.given.type


def _is_gold(connection: Connection, question_id: str) -> bool:
    return connection.execute(select(questions.c.state).where(questions.c.id == question_id)).scalar_one() == GOLD


def _leave_tallies(connection: Connection, question: Question) -> None:
    """Take what people said to a question off their tallies."""
    rows = connection.execute(
        select(answered.c.annotator, answered.c.kind).where(answered.c.question_id == question.id)
    )
    add_to_tallies(
        connection,
        {(row.annotator, question.project): (0, -1) if row.kind == SKIP else (-1, 0) for row in rows},
    )


def _record(connection: Connection, kind: str, values: Mapping[str, float]) -> None:
    """An event for each question whose ``kind`` changes.  Raises :class:`StoreError` for one that is not there."""
    load_questions(connection, values)
    moment = time.time()
    connection.execute(
        insert(events),
        [
            {"kind": kind, "created": moment, "question_id": name, "payload": {kind: value}}
            for name, value in values.items()
        ],
    )
