"""The feedback store: questions in, people's answers out, nothing overwritten.

Append-only.  Each question, answer, undo and erasure is one event with an id that only grows; a correction is a new
event that supersedes an older one.  What the store held at event N can be read for ever with ``upto=N``, so that work
that reads a growing store stays repeatable.  The one exception is :meth:`FeedbackStore.erase_annotator`.

An answer is acknowledged (the call returns) only when it is on the disk.  Any number of threads and processes may use
one store: writers take turns, readers wait for nobody.
"""

from __future__ import annotations

import secrets as random_secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from sqlalchemy import Connection, Engine, Select, func, insert, null, select, update
from sqlalchemy.exc import OperationalError

from assent.errors import StoreError
from assent.feedback.answers import ERASED, Answer, StoredAnswer, check_annotator, payload_of, ranking_of
from assent.feedback.opening import open_engine, shown_address, write_transaction
from assent.feedback.questions import Question
from assent.feedback.rows import (
    add_instructions,
    by_turn,
    insert_questions,
    load_questions,
    question_of,
    question_rows,
    standing,
    standing_answers,
)
from assent.feedback.tables import events, instructions, questions, secrets
from assent.types import Ranking


class FeedbackStore:
    """See the module's docstring.  Make one with :meth:`open`; a ``with`` block closes it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    def open(cls, url_or_path: str | Path) -> FeedbackStore:
        """Open a store, or make a new one; an older schema is brought up to date first.

        A path is a SQLite file.  ``postgresql://USER@HOST/NAME`` is a PostgreSQL database.  Raises
        :class:`StoreError` when it is neither, cannot be reached, or was written by a newer version.
        """
        return cls(open_engine(url_or_path))

    def close(self) -> None:
        """Let go of the database.  Answers are safe without it."""
        self._engine.dispose()

    def __enter__(self) -> FeedbackStore:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    @property
    def address(self) -> str:
        """The file or database, without a password."""
        return shown_address(self._engine.url)

    # Questions

    def add_questions(self, new: Iterable[Question]) -> int:
        """Add those whose id is not there yet, all or none, and return how many were new.

        Raises :class:`StoreError` when an id is there already with other content: a question never changes.
        """
        with self._writing() as connection:
            return insert_questions(connection, list(new), time.time())

    def questions(self) -> list[Question]:
        """All questions, in the order they were added."""
        with self._reading() as connection:
            return [question_of(row) for row in connection.execute(question_rows().order_by(questions.c.event_id))]

    def question(self, question_id: str) -> Question:
        """One question, or :class:`StoreError` when there is none of that id."""
        with self._reading() as connection:
            return load_questions(connection, [question_id])[question_id]

    def next_question(self, annotator: str) -> Question | None:
        """The question this annotator should answer next: highest priority first, then the oldest.

        Never one that they answered (and did not undo); ``None`` when they have answered all.
        """
        answered = standing_answers().where(events.c.annotator == annotator, events.c.question_id == questions.c.id)
        query = by_turn(question_rows().where(~answered.exists())).limit(1)
        with self._reading() as connection:
            row = connection.execute(query).one_or_none()
            return None if row is None else question_of(row)

    def progress(self, annotator: str) -> tuple[int, int]:
        """How many questions this annotator has answered, and how many there are."""
        answered = standing_answers().where(events.c.annotator == annotator).subquery()
        with self._reading() as connection:
            return self._count(connection, answered), self._count(connection, questions)

    # Answers

    def add_ranking(
        self,
        question_id: str,
        annotator: str,
        ranks: Sequence[int | None],
        *,
        order: Sequence[int] | None = None,
        seconds: float | None = None,
        note: str = "",
        instructions: str | None = None,
        supersedes: int | None = None,
    ) -> int:
        """Keep one answer and return its event id; the arguments are those of :class:`Answer`.

        ``ranks`` [K] are in the order shown.  Raises :class:`StoreError` for an answer that does not fit its question,
        and for a second answer by one annotator that does not name the first in ``supersedes``.
        """
        answer = Answer(
            question_id=question_id,
            annotator=annotator,
            ranks=tuple(ranks),
            order=None if order is None else tuple(order),
            seconds=seconds,
            note=note,
            instructions=instructions,
            supersedes=supersedes,
        )
        return self.add_rankings([answer])[0]

    def add_rankings(self, answers: Iterable[Answer]) -> list[int]:
        """Keep many answers in one transaction, all or none; their event ids in the same order."""
        given = list(answers)
        if not given:
            return []
        with self._writing() as connection:
            asked = load_questions(connection, {answer.question_id for answer in given})
            before = self._standing_ids(connection, set(asked), {answer.annotator for answer in given})
            rows: list[dict[str, Any]] = []
            for answer in given:
                key = (answer.question_id, answer.annotator)
                self._check_turn(answer, before.get(key))
                before[key] = (
                    0  # 0 is no event: a second answer to the same question in this batch finds its match taken
                )
                rows.append(self._ranking_row(connection, answer, asked[answer.question_id]))
            made = connection.execute(insert(events).returning(events.c.id, sort_by_parameter_order=True), rows)
            return [int(number) for number in made.scalars()]

    def rankings(self, upto: int | None = None) -> list[Ranking]:
        """The standing answers, oldest first; as they stood at event ``upto`` when given.

        Corrected and undone answers are not among them, and those of erased people never are.
        """
        query = standing_answers(upto).where(events.c.payload.is_not(null())).order_by(events.c.id)
        with self._reading() as connection:
            rows = connection.execute(query).all()
            asked = {q.id: q for q in map(question_of, connection.execute(question_rows()))}
        return [ranking_of(row.id, row.annotator, row.created, row.payload, asked[row.question_id]) for row in rows]

    def answer(self, event_id: int) -> StoredAnswer | None:
        """One answer and what its author saw, standing or not; ``None``: no such answer, or its author was erased."""
        query = select(events, standing().label("standing")).where(
            events.c.id == event_id, events.c.kind == "ranking", events.c.payload.is_not(null())
        )
        with self._reading() as connection:
            row = connection.execute(query).one_or_none()
            if row is None:
                return None
            question = load_questions(connection, [row.question_id])[row.question_id]
            seen = select(instructions.c.text).where(instructions.c.id == row.payload["instructions_id"])
            return StoredAnswer(
                event=row.id,
                question_id=row.question_id,
                ranking=ranking_of(row.id, row.annotator, row.created, row.payload, question),
                order=tuple(row.payload["order"]),
                instructions=connection.execute(seen).scalar_one(),
                standing=bool(row.standing),
            )

    def last_answer(self, annotator: str, question_id: str | None = None) -> int | None:
        """The event of this annotator's newest standing answer, of one question when given; ``None`` without one."""
        mine = standing_answers().where(events.c.annotator == annotator)
        if question_id is not None:
            mine = mine.where(events.c.question_id == question_id)
        with self._reading() as connection:
            return connection.execute(select(func.max(mine.subquery().c.id))).scalar_one()

    def undo(self, event_id: int, annotator: str) -> int:
        """Take back one's own standing answer, so that its question is open again; returns the undo's event id."""
        with self._writing() as connection:
            mine = standing_answers().where(events.c.id == event_id, events.c.annotator == annotator)
            row = connection.execute(mine).one_or_none()
            if row is None:
                raise StoreError(
                    f"event {event_id} is no standing answer of '{annotator}'; only one's own can be undone"
                )
            return self._append(
                connection, "undo", annotator=annotator, question_id=row.question_id, supersedes=event_id
            )

    def erase_annotator(self, name: str) -> int:
        """Take a person out for good: every answer and note of theirs, and the name; returns how many events.

        The rows stay as tombstones under a pseudonym, so event ids keep their meaning, but snapshots of the past lose
        these answers too.  SQLite overwrites the content in its file; PostgreSQL does at its next vacuum.  Files that
        were exported before are not reached.
        """
        with self._writing() as connection:
            mine = events.c.annotator == name
            if name.startswith(ERASED) or not self._count(connection, select(events.c.id).where(mine).subquery()):
                raise StoreError(f"{self.address}: no annotator '{name}'; nothing was erased, check the spelling")
            marker = self._append(connection, "erasure")
            done = connection.execute(update(events).where(mine).values(annotator=f"{ERASED}{marker}", payload=null()))
            erased = int(done.rowcount)
        self._flush_log()
        return erased

    # The store as a whole

    def last_event(self) -> int:
        """The newest event id, 0 in an empty store; pass it as ``upto`` to read this moment again."""
        with self._reading() as connection:
            return connection.execute(select(func.coalesce(func.max(events.c.id), 0))).scalar_one()

    def counts(self) -> dict[str, int]:
        """``questions``, those ``answered`` by anyone, standing ``rankings``, their ``annotators``, all ``events``."""
        live = standing_answers().where(events.c.payload.is_not(null())).subquery()
        with self._reading() as connection:
            answered, annotators = connection.execute(
                select(func.count(live.c.question_id.distinct()), func.count(live.c.annotator.distinct()))
            ).one()
            return {
                "questions": self._count(connection, questions),
                "answered": answered,
                "rankings": self._count(connection, live),
                "annotators": annotators,
                "events": self._count(connection, events),
            }

    def secret(self, name: str = "cookies") -> str:
        """A random key of this store, made when first asked for and the same ever after."""
        with self._writing() as connection:
            value = connection.execute(select(secrets.c.value).where(secrets.c.name == name)).scalar_one_or_none()
            if value is None:
                value = random_secrets.token_urlsafe(32)
                connection.execute(insert(secrets).values(name=name, value=value))
            return value

    # Inside

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._explained(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._explained(), write_transaction(self._engine) as connection:
            yield connection

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OperationalError as error:
            raise StoreError(
                f"{self.address}: the database did not answer ({error.orig}); nothing was changed"
            ) from error

    @staticmethod
    def _count(connection: Connection, table: Any) -> int:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()

    @staticmethod
    def _append(connection: Connection, kind: str, **values: Any) -> int:
        row = insert(events).values(kind=kind, created=time.time(), **values).returning(events.c.id)
        return int(connection.execute(row).scalar_one())

    @staticmethod
    def _standing_ids(connection: Connection, asked: set[str], annotators: set[str]) -> dict[tuple[str, str], int]:
        query: Select[Any] = standing_answers()
        # Narrow down where that is cheap; a bulk import by many looks at all standing answers once.
        if len(asked) == 1:
            query = query.where(events.c.question_id.in_(asked))
        if len(annotators) == 1:
            query = query.where(events.c.annotator.in_(annotators))
        return {(row.question_id, row.annotator): row.id for row in connection.execute(query)}

    @staticmethod
    def _check_turn(answer: Answer, before: int | None) -> None:
        where = f"question {answer.question_id}, annotator '{check_annotator(answer.annotator)}'"
        if answer.supersedes is None and before is not None:
            raise StoreError(f"{where}: answered before; give supersedes={before} to correct that answer, or undo it")
        if answer.supersedes is not None and answer.supersedes != before:
            raise StoreError(
                f"{where}: event {answer.supersedes} is not their standing answer, so it cannot be corrected"
            )

    @staticmethod
    def _ranking_row(connection: Connection, answer: Answer, question: Question) -> dict[str, Any]:
        seen = question.instructions if answer.instructions is None else answer.instructions
        return {
            "kind": "ranking",
            "created": time.time() if answer.created is None else answer.created,
            "annotator": answer.annotator,
            "question_id": question.id,
            "supersedes": answer.supersedes,
            "payload": payload_of(answer, question, add_instructions(connection, seen)),
        }

    def _flush_log(self) -> None:
        """SQLite: move the write-ahead log into the file and empty it, so that it holds no erased content either."""
        if self._engine.dialect.name == "sqlite":
            raw = self._engine.raw_connection()
            try:
                raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                raw.close()
