"""Who answers what next: priorities, overlap, leases, gold questions, progress."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Row, Select, delete, exists, func, insert, or_, select, update

from assent.errors import StoreError
from assent.feedback.database import Database, append_event, count
from assent.feedback.projects import ProjectSettings, load_settings
from assent.feedback.questions import DEFAULT_PROJECT, Question
from assent.feedback.responses import Response, checked, fields_of
from assent.feedback.rows import load_questions, question_of, question_rows
from assent.feedback.tables import answered, events, golds, leases, projects, questions

Nothing = Literal["finished", "qualification", "budget"]
"""Why there is no question: all are answered, the gold questions were answered too badly, or the budget is spent."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """A question that is one person's to answer."""

    number: int
    """Of the question, in addresses: it says nothing of what the question holds."""
    question: Question
    taken: float
    """When it was first opened; seconds since the epoch, UTC."""
    expires: float
    """When others may be given it, where its overlap leaves no room for both."""


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
        now = time.time() if now is None else now
        with self._database.reading() as connection:
            held = self._held(connection, annotator, project, now)
            if held is not None:
                return held
        with self._database.noting() as connection:
            held = self._held(connection, annotator, project, now)
            if held is not None:
                return held
            if connection.execute(select(projects.c.name).where(projects.c.name == project)).first() is None:
                return "finished"
            settings = load_settings(connection, project)
            chosen = self._choose(connection, annotator, project, queues, settings, now)
            if isinstance(chosen, str):
                return chosen
            connection.execute(delete(leases).where(leases.c.annotator == annotator))
            expires = now + settings.lease_minutes * 60
            connection.execute(
                insert(leases).values(question_id=chosen.id, annotator=annotator, taken=now, expires=expires)
            )
            return Assignment(chosen.event_id, question_of(chosen), now, expires)

    def holds(self, annotator: str, number: int) -> Assignment | None:
        """The question of this number if this annotator was given it last, even where the lease is over."""
        query = self._leased(annotator).where(questions.c.event_id == number)
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
            return None if row is None else Assignment(row.event_id, question_of(row), row.taken, row.expires)

    def release(self, annotator: str) -> None:
        """Give back what this annotator holds."""
        with self._database.noting() as connection:
            connection.execute(delete(leases).where(leases.c.annotator == annotator))

    def reopen(self, annotator: str, question_id: str, now: float | None = None) -> None:
        """Lease a question to an annotator who took their answer back, whatever its overlap."""
        now = time.time() if now is None else now
        with self._database.noting() as connection:
            connection.execute(delete(leases).where(leases.c.annotator == annotator))
            lease = {"question_id": question_id, "annotator": annotator, "taken": now, "expires": now + 1800}
            connection.execute(insert(leases).values(**lease))

    def question_id(self, number: int) -> str | None:
        """The id of the question of this number; ``None`` where there is none."""
        with self._database.reading() as connection:
            found = select(questions.c.id).where(questions.c.event_id == number)
            return connection.execute(found).scalar_one_or_none()

    def number_of(self, question_id: str) -> int:
        """What :class:`Assignment` calls a question's number."""
        with self._database.reading() as connection:
            found = select(questions.c.event_id).where(questions.c.id == question_id)
            return connection.execute(found).scalar_one()

    def set_priorities(self, priorities: Mapping[str, float]) -> None:
        """Change the priorities of questions, each as an event."""
        if not all(math.isfinite(value) for value in priorities.values()):
            raise StoreError("a priority is not finite; give a number for each question")
        if not priorities:
            return
        with self._database.writing() as connection:
            load_questions(connection, priorities)
            moment = time.time()
            connection.execute(
                insert(events),
                [
                    {"kind": "priority", "created": moment, "question_id": name, "payload": {"priority": value}}
                    for name, value in priorities.items()
                ],
            )
            for name, value in priorities.items():
                where = questions.c.id == name
                connection.execute(update(questions).where(where).values(priority=value, turn=-value))

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
            connection.execute(update(questions).where(questions.c.id == question_id).values(state="gold"))

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
        mine = (
            select(answered.c.kind, func.count())
            .join(questions, questions.c.id == answered.c.question_id)
            .where(answered.c.annotator == annotator, questions.c.project == project, questions.c.state != "gold")
            .group_by(answered.c.kind)
        )
        recent = select(events.c.id).where(
            events.c.annotator == annotator, events.c.created > time.time() - 3600, events.c.kind != "undo"
        )
        with self._database.reading() as connection:
            by_kind: dict[str, int] = {row[0]: row[1] for row in connection.execute(mine)}
            skipped = by_kind.pop("skip", 0)
            return Progress(sum(by_kind.values()), skipped, size, count(connection, recent.subquery()))

    def coverage(self, project: str = DEFAULT_PROJECT) -> Coverage:
        """How many questions of a project have answers, and what is left of its budget."""
        query = select(
            questions.c.state, func.count(), func.sum(questions.c.given), func.sum((questions.c.given == 0).cast(_INT))
        )
        with self._database.reading() as connection:
            settings = load_settings(connection, project)
            rows = connection.execute(query.where(questions.c.project == project).group_by(questions.c.state)).all()
        regular = [row for row in rows if row[0] != "gold"]
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

    # Inside

    @staticmethod
    def _leased(annotator: str) -> Select[Any]:
        query = question_rows().add_columns(leases.c.taken, leases.c.expires)
        return query.join(leases, leases.c.question_id == questions.c.id).where(leases.c.annotator == annotator)

    def _held(self, connection: Connection, annotator: str, project: str, now: float) -> Assignment | None:
        query = self._leased(annotator).where(leases.c.expires > now, questions.c.project == project)
        row = connection.execute(query.limit(1)).one_or_none()
        return None if row is None else Assignment(row.event_id, question_of(row), row.taken, row.expires)

    def _choose(
        self,
        connection: Connection,
        annotator: str,
        project: str,
        queues: Collection[str],
        settings: ProjectSettings,
        now: float,
    ) -> Row[Any] | Nothing:
        """A row of ``question_rows``, or why there is none."""
        scores: Sequence[float] = ()
        if settings.qualification or settings.gold_every:
            scores = self._scores(connection, annotator, project)
        if settings.qualification and len(scores) < settings.qualification:
            gold = self._first(connection, annotator, project, queues, now, "gold")
            if gold is not None:
                return gold
        first = scores[: settings.qualification]
        if first and sum(first) / len(first) < settings.qualification_pass:
            return "qualification"
        if settings.budget is not None:
            spent = select(func.sum(questions.c.given)).where(
                questions.c.project == project, questions.c.state.in_(("open", "closed"))
            )
            if int(connection.execute(spent).scalar_one() or 0) >= settings.budget:
                return "budget"
        if settings.gold_every and self._is_golds_turn(connection, annotator, project, len(scores), settings):
            gold = self._first(connection, annotator, project, queues, now, "gold")
            if gold is not None:
                return gold
        return self._first(connection, annotator, project, queues, now, "open") or "finished"

    @staticmethod
    def _scores(connection: Connection, annotator: str, project: str) -> Sequence[float]:
        query = (
            select(answered.c.gold_score)
            .join(questions, questions.c.id == answered.c.question_id)
            .where(
                answered.c.annotator == annotator,
                answered.c.gold_score.is_not(None),
                questions.c.project == project,
            )
            .order_by(answered.c.event_id)
        )
        return connection.execute(query).scalars().all()

    @staticmethod
    def _is_golds_turn(
        connection: Connection, annotator: str, project: str, gold: int, settings: ProjectSettings
    ) -> bool:
        mine = (
            select(answered.c.event_id)
            .join(questions, questions.c.id == answered.c.question_id)
            .where(answered.c.annotator == annotator, questions.c.project == project, questions.c.state != "gold")
        )
        # One gold question after each gold_every - 1 others; those of the qualification are not among them.
        due = count(connection, mine.subquery()) // max(1, settings.gold_every - 1)
        return gold - settings.qualification < due

    @staticmethod
    def _first(
        connection: Connection, annotator: str, project: str, queues: Collection[str], now: float, state: str
    ) -> Row[Any] | None:
        mine = exists().where(answered.c.annotator == annotator, answered.c.question_id == questions.c.id)
        query = question_rows().where(questions.c.project == project, questions.c.state == state, ~mine)
        if queues:
            query = query.where(questions.c.queue.in_(["", *queues]))
        if state == "open":
            held = (
                select(func.count())
                .where(leases.c.question_id == questions.c.id, leases.c.annotator != annotator, leases.c.expires > now)
                .correlate(questions)
                .scalar_subquery()
            )
            of_project = select(projects.c.overlap).where(projects.c.name == project).scalar_subquery()
            overlap = func.coalesce(questions.c.overlap, of_project)
            query = query.where(or_(overlap.is_(None), questions.c.given + held < overlap))
        return connection.execute(query.order_by(questions.c.turn, questions.c.event_id).limit(1)).one_or_none()


_INT = questions.c.given.type
