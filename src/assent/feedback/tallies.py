"""How many questions each person answered and skipped in each project, kept as answers come and go."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, bindparam, func, insert, select, update

from assent.feedback.tables import tallies

Change = tuple[int, int]
"""Answers and skips to add."""
_OF = select(tallies.c.answers, tallies.c.skips).where(
    tallies.c.annotator == bindparam("annotator"), tallies.c.project == bindparam("project")
)
_ADD = (
    update(tallies)
    .where(tallies.c.annotator == bindparam("whose"), tallies.c.project == bindparam("of_project"))
    .values(answers=tallies.c.answers + bindparam("more_answers"), skips=tallies.c.skips + bindparam("more_skips"))
)
_SPENT = select(func.coalesce(func.sum(tallies.c.answers), 0)).where(tallies.c.project == bindparam("project"))


def tally_of(connection: Connection, annotator: str, project: str) -> tuple[int, int]:
    """Answers and skips of one person in one project, gold questions apart."""
    row = connection.execute(_OF, {"annotator": annotator, "project": project}).one_or_none()
    return (0, 0) if row is None else (row.answers, row.skips)


def answers_in(connection: Connection, project: str) -> int:
    """Standing answers of all in one project, skips and gold questions apart."""
    return int(connection.execute(_SPENT, {"project": project}).scalar_one())


def add_to_tallies(connection: Connection, changes: Mapping[tuple[str, str], Change]) -> None:
    """``changes``: by annotator and project.  Within a transaction that no other writer runs beside."""
    for (annotator, project), (answers, skips) in changes.items():
        values = {"whose": annotator, "of_project": project, "more_answers": answers, "more_skips": skips}
        if not connection.execute(_ADD, values).rowcount:
            row = {"annotator": annotator, "project": project, "answers": answers, "skips": skips}
            connection.execute(insert(tallies).values(**row))
