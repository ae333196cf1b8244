"""A store's questions and answers page by page, so that a large one is read in constant memory."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import null

from assent.feedback.answers import StoredAnswer
from assent.feedback.database import Database
from assent.feedback.questions import Question
from assent.feedback.rows import CHUNK, answer_of, find_questions, question_of, question_rows, standing_answers
from assent.feedback.tables import events, questions


def stream_questions(database: Database, upto: int, project: str | None) -> Iterator[Question]:
    """See :meth:`FeedbackStore.stream_questions`."""
    for page in _pages(database, upto, project):
        yield from page


def stream_answered(
    database: Database, upto: int, project: str | None
) -> Iterator[tuple[Question, list[StoredAnswer]]]:
    """See :meth:`FeedbackStore.stream_answered`."""
    for page in _pages(database, upto, project):
        said: dict[str, list[StoredAnswer]] = {question.id: [] for question in page}
        asked = {question.id: question for question in page}
        query = standing_answers(upto).where(events.c.payload.is_not(null()), events.c.question_id.in_(said))
        with database.reading() as connection:
            for row in connection.execute(query.order_by(events.c.id)):
                said[row.question_id].append(answer_of(row, asked[row.question_id]))
        for question in page:
            yield question, said[question.id]


def stream_answers(database: Database, upto: int, project: str | None) -> Iterator[StoredAnswer]:
    """See :meth:`FeedbackStore.stream_answers`."""
    query = standing_answers(upto).where(events.c.payload.is_not(null())).order_by(events.c.id).limit(CHUNK)
    if project is not None:
        query = query.join(questions, questions.c.id == events.c.question_id).where(questions.c.project == project)
    after = 0
    while True:
        with database.reading() as connection:
            rows = connection.execute(query.where(events.c.id > after)).all()
            known = find_questions(connection, {row.question_id for row in rows})
        if not rows:
            return
        for row in rows:
            yield answer_of(row, known[row.question_id])
        after = rows[-1].id


def _pages(database: Database, upto: int, project: str | None) -> Iterator[list[Question]]:
    number = questions.c.event_id
    query = question_rows().where(number <= upto).order_by(number).limit(CHUNK)
    if project is not None:
        query = query.where(questions.c.project == project)
    after = 0
    while True:
        with database.reading() as connection:
            rows = connection.execute(query.where(number > after)).all()
        if not rows:
            return
        yield [question_of(row) for row in rows]
        after = rows[-1].event_id
