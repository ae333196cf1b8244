"""The feedback store: questions in, people's answers out, nothing overwritten.

Append-only.  Each question, answer, undo and erasure is one event with an id that only grows; a correction is a new
event that supersedes an older one.  What the store held at event N can be read for ever with ``upto=N``, so that work
that reads a growing store stays repeatable.  The one exception is :meth:`FeedbackStore.erase_annotator`.

An answer is acknowledged (the call returns) only when it is on the disk.  Any number of threads and processes may use
one store: writers take turns, readers wait for nobody.

``store.work`` hands questions out, ``store.projects`` has their settings and instructions, ``store.people`` those who
may sign in, ``store.lessons`` what a model that learns meanwhile has made of the answers.
"""

from __future__ import annotations

import secrets as random_secrets
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from sqlalchemy import Connection, Engine, bindparam, func, insert, null, select, update

from assent.errors import StoreError
from assent.feedback.answers import ERASED, Answer, StoredAnswer
from assent.feedback.database import Database, append_event, count
from assent.feedback.handing import Assignment, Nothing, Seeking, hand_out
from assent.feedback.keeping import keep_answers, take_back
from assent.feedback.lessons import Lessons
from assent.feedback.people import People, forget
from assent.feedback.projects import Projects
from assent.feedback.questions import DEFAULT_PROJECT, Question
from assent.feedback.responses import ANSWER_KINDS, Ranks
from assent.feedback.rows import (
    answer_of,
    find_questions,
    insert_questions,
    load_questions,
    question_of,
    question_rows,
    standing,
    standing_answers,
)
from assent.feedback.streaming import stream_answered, stream_answers, stream_questions
from assent.feedback.tables import answered, events, instructions, questions, secrets
from assent.feedback.together import Together
from assent.feedback.work import Work
from assent.types import Demonstration, Judgement, Ranking

_Job = tuple[Answer, Seeking | None]
"""An answer to keep, and who wants a question after it."""


class FeedbackStore:
    """See the module's docstring.  Make one with :meth:`open`; a ``with`` block closes it."""

    def __init__(self, engine: Engine) -> None:
        self._database = Database(engine)
        self.work = Work(self._database)
        self.projects = Projects(self._database)
        self.people = People(self._database)
        self.lessons = Lessons(self._database)
        self._answering = Together(self._answer_together)

    @classmethod
    def open(cls, url_or_path: str | Path) -> FeedbackStore:
        """Open a store, or make a new one; an older schema is brought up to date first.

        A path is a SQLite file.  ``postgresql://USER@HOST/NAME`` is a PostgreSQL database.  Raises
        :class:`StoreError` when it is neither, cannot be reached, or was written by a newer version.
        """
        return cls(Database.open(url_or_path).engine)

    def close(self) -> None:
        """Let go of the database.  Answers are safe without it."""
        self._database.engine.dispose()

    def __enter__(self) -> FeedbackStore:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    @property
    def address(self) -> str:
        """The file or database, without a password."""
        return self._database.address

    # Questions

    def add_questions(self, new: Iterable[Question]) -> int:
        """Add those whose id is not there yet, all or none, and return how many were new.

        Raises :class:`StoreError` when an id is there already with other content: a question never changes.
        """
        with self._database.writing() as connection:
            return insert_questions(connection, list(new), time.time())

    def questions(self, project: str | None = None) -> list[Question]:
        """All questions, or those of one project, in the order they were added."""
        query = question_rows().order_by(questions.c.event_id)
        if project is not None:
            query = query.where(questions.c.project == project)
        with self._database.reading() as connection:
            return [question_of(row) for row in connection.execute(query)]

    def question(self, question_id: str) -> Question:
        """One question, or :class:`StoreError` when there is none of that id."""
        with self._database.reading() as connection:
            return load_questions(connection, [question_id])[question_id]

    def find_questions(self, ids: Collection[str]) -> dict[str, Question]:
        """Those of the questions that exist, by id."""
        with self._database.reading() as connection:
            return find_questions(connection, ids)

    # Answers in

    def add_answer(self, answer: Answer) -> int:
        """Keep one answer and return its event id.

        Raises :class:`StoreError` for an answer that does not fit its question, and for a second answer by one
        annotator that does not name the first in ``supersedes``.  An answer whose ``key`` this annotator has used is
        there already: its event id is returned and nothing is written.
        """
        return self._answering((answer, None))[0]

    def answer_and_take(
        self, answer: Answer, project: str = DEFAULT_PROJECT, queues: Collection[str] = ()
    ) -> tuple[int, Assignment | Nothing]:
        """:meth:`add_answer`, and in the same transaction what ``work.take`` would give its author next."""
        event, turn = self._answering((answer, Seeking(answer.annotator, project, tuple(queues), time.time())))
        assert turn is not None
        return event, turn

    def add_ranking(self, question_id: str, annotator: str, ranks: Sequence[int | None], **details: Any) -> int:
        """:meth:`add_answer` for ranks [K] in the order shown; ``details`` are the other fields of :class:`Answer`."""
        return self.add_answer(Answer(question_id, annotator, Ranks(tuple(ranks)), **details))

    def add_answers(self, answers: Iterable[Answer]) -> list[int]:
        """Keep many answers in one transaction, all or none; their event ids in the same order."""
        given = list(answers)
        if not given:
            return []
        with self._database.writing() as connection:
            return keep_answers(connection, given)

    def _answer_together(self, jobs: list[_Job]) -> list[tuple[int, Assignment | Nothing | None]]:
        """See :class:`Together`."""
        with self._database.writing(notes=any(who is not None for _, who in jobs)) as connection:
            kept = keep_answers(connection, [answer for answer, _ in jobs])
            turns: list[Assignment | Nothing | None] = [
                None if who is None else hand_out(connection, who) for _, who in jobs
            ]
        return list(zip(kept, turns, strict=True))

    def undo(self, event_id: int, annotator: str) -> int:
        """Take back one's own standing answer, so that its question is open again; returns the undo's event id."""
        with self._database.writing() as connection:
            return take_back(connection, event_id, annotator)

    # Answers out

    def answers(
        self, upto: int | None = None, annotator: str | None = None, last: int | None = None, after: int = 0
    ) -> list[StoredAnswer]:
        """The standing answers of every kind, skips too, oldest first; as they stood at event ``upto`` when given.

        Corrected and undone answers are not among them, and those of erased people never are.  ``annotator``: theirs
        alone.  ``last``: so many of the newest.  ``after``: those behind this event.
        """
        query = standing_answers(upto).where(events.c.payload.is_not(null()), events.c.id > after)
        query = query.order_by(events.c.id.desc())
        if annotator is not None:
            query = query.where(events.c.annotator == annotator)
        with self._database.reading() as connection:
            found = connection.execute(query.limit(last)).all()[::-1]
            known = find_questions(connection, {row.question_id for row in found})
        return [answer_of(row, known[row.question_id]) for row in found]

    def withdrawn(self, after: int, upto: int) -> set[int]:
        """The answers that were corrected, undone or erased behind event ``after`` and no later than ``upto``."""
        within = (events.c.id > after, events.c.id <= upto)
        superseded = select(events.c.supersedes).where(*within, events.c.supersedes.is_not(None))
        erasures = select(events.c.id).where(*within, events.c.kind == "erasure")
        with self._database.reading() as connection:
            gone = set(connection.execute(superseded).scalars())
            names = [f"{ERASED}{marker}" for marker in connection.execute(erasures).scalars()]
            gone.update(connection.execute(select(events.c.id).where(events.c.annotator.in_(names))).scalars())
        return gone

    def stream_questions(self, project: str | None = None) -> Iterator[Question]:
        """:meth:`questions` of this moment, in constant memory."""
        return stream_questions(self._database, self.last_event(), project)

    def stream_answers(self, project: str | None = None) -> Iterator[StoredAnswer]:
        """:meth:`answers` of this moment, of one project when given, in constant memory."""
        return stream_answers(self._database, self.last_event(), project)

    def stream_answered(self, project: str | None = None) -> Iterator[tuple[Question, list[StoredAnswer]]]:
        """Each question of this moment with its standing answers, both oldest first, in constant memory."""
        return stream_answered(self._database, self.last_event(), project)

    def rankings(self, upto: int | None = None) -> list[Ranking]:
        """What :meth:`answers` say of the order of answers: rankings, preferences between two, the best of K."""
        return [ranking for answer in self.answers(upto) if (ranking := answer.ranking()) is not None]

    def judgements(self, upto: int | None = None) -> list[Judgement]:
        """What :meth:`answers` say of single answers: ratings, labels, and which of those failed."""
        return [judgement for answer in self.answers(upto) for judgement in answer.judgements()]

    def demonstrations(self, upto: int | None = None) -> list[Demonstration]:
        """What people wrote themselves, rewrites included."""
        return [written for answer in self.answers(upto) if (written := answer.demonstration()) is not None]

    def answer(self, event_id: int) -> StoredAnswer | None:
        """One answer and what its author saw, standing or not; ``None``: no such answer, or its author was erased."""
        query = select(events, standing().label("standing")).where(
            events.c.id == event_id, events.c.kind.in_(ANSWER_KINDS), events.c.payload.is_not(null())
        )
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
            if row is None:
                return None
            question = load_questions(connection, [row.question_id])[row.question_id]
            return answer_of(row, question, bool(row.standing))

    def instructions_text(self, instructions_id: str) -> str:
        """What the annotator of a :class:`StoredAnswer` could read, Markdown."""
        with self._database.reading() as connection:
            found = select(instructions.c.text).where(instructions.c.id == instructions_id)
            return connection.execute(found).scalar_one()

    def last_answer(self, annotator: str, question_id: str | None = None) -> int | None:
        """The event of this annotator's newest standing answer, of one question when given; ``None`` without one."""
        mine = _LAST if question_id is None else _LAST.where(answered.c.question_id == question_id)
        with self._database.reading() as connection:
            return connection.execute(mine, {"annotator": annotator}).scalar_one()

    def erase_annotator(self, name: str) -> int:
        """Take a person out for good: every answer and note of theirs, and the name; returns how many events.

        The rows stay as tombstones under a pseudonym, so event ids keep their meaning, but snapshots of the past lose
        these answers too.  SQLite overwrites the content in its file; PostgreSQL does at its next vacuum.  Files that
        were exported before are not reached.
        """
        with self._database.writing() as connection:
            mine = events.c.annotator == name
            known = forget(connection, name, None) or count(connection, select(events.c.id).where(mine).subquery())
            if name.startswith(ERASED) or not known:
                raise StoreError(f"{self.address}: no annotator '{name}'; nothing was erased, check the spelling")
            marker = append_event(connection, "erasure")
            pseudonym = f"{ERASED}{marker}"
            forget(connection, name, pseudonym)
            erased = {"annotator": pseudonym, "payload": null(), "key": null()}
            done = int(connection.execute(update(events).where(mine).values(**erased)).rowcount)
        self._database.flush()
        return done

    # The store as a whole

    def one_transaction(self) -> AbstractContextManager[None]:
        """All that this thread reads of the store in a ``with`` block is read in one transaction, which is quicker.

        What is written meanwhile may not be seen in it, this thread's own writes included.
        """
        return self._database.one_transaction()

    def last_event(self) -> int:
        """The newest event id, 0 in an empty store; pass it as ``upto`` to read this moment again."""
        with self._database.reading() as connection:
            return connection.execute(select(func.coalesce(func.max(events.c.id), 0))).scalar_one()

    def counts(self) -> dict[str, int]:
        """Questions, those answered by anyone, standing answers and skips, the annotators of answers, all events."""
        erased = answered.c.annotator.startswith(ERASED)
        live = select(answered).where(answered.c.kind != "skip", ~erased).subquery()
        skipped = select(answered).where(answered.c.kind == "skip", ~erased).subquery()
        with self._database.reading() as connection:
            some, people = connection.execute(
                select(func.count(live.c.question_id.distinct()), func.count(live.c.annotator.distinct()))
            ).one()
            return {
                "questions": count(connection, questions),
                "answered": some,
                "answers": count(connection, live),
                "skips": count(connection, skipped),
                "annotators": people,
                "events": count(connection, events),
            }

    def summary(self) -> dict[str, Any]:
        """:meth:`counts`, with the answers of each of the ``annotators`` and the coverage of the ``projects``."""
        by_name = (
            select(answered.c.annotator, func.count())
            .where(answered.c.kind != "skip", ~answered.c.annotator.startswith(ERASED))
            .group_by(answered.c.annotator)
            .order_by(answered.c.annotator)
        )
        with self._database.reading() as connection:
            annotators = {row[0]: row[1] for row in connection.execute(by_name)}
        covered = {name: asdict(self.work.coverage(name)) for name in self.projects.names()}
        return {**self.counts(), "annotators": annotators, "projects": covered}

    def secret(self, name: str = "cookies") -> str:
        """A random key of this store, made when first asked for and the same ever after."""
        with self._database.writing() as connection:
            value = _secret(connection, name)
            if value is None:
                value = random_secrets.token_urlsafe(32)
                connection.execute(insert(secrets).values(name=name, value=value))
            return value


_LAST = select(func.max(answered.c.event_id)).where(answered.c.annotator == bindparam("annotator"))


def _secret(connection: Connection, name: str) -> str | None:
    return connection.execute(select(secrets.c.value).where(secrets.c.name == name)).scalar_one_or_none()
