"""Which question someone is given next: what they hold, gold questions, priorities, overlap, budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from sqlalchemy import Connection, Row, Select, bindparam, delete, func, insert, or_, select

from assent.feedback.projects import ProjectSettings, find_settings
from assent.feedback.questions import Question
from assent.feedback.rows import GOLD, question_of, question_rows
from assent.feedback.tables import answered, instructions, leases, projects, questions
from assent.feedback.tallies import answers_in, tally_of

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
class Seeking:
    """Someone who wants a question."""

    annotator: str
    project: str
    queues: tuple[str, ...]
    """Those they work in; empty: all."""
    now: float


_SLACK = 60.0
"""Seconds that the clocks of two machines, or of one that is set right, may be apart."""
_LIVE = (leases.c.expires > bindparam("now"), leases.c.taken - _SLACK < bindparam("now"))
"""What makes a lease hold: one from the future is of before the clock was set back, and would hold for as long."""

# Made once: to put a statement together takes longer than to run it.
_LEASED = (
    question_rows()
    .add_columns(leases.c.taken, leases.c.expires)
    .join(leases, leases.c.question_id == questions.c.id)
    .where(leases.c.annotator == bindparam("annotator"))
)
_HELD = _LEASED.where(*_LIVE, questions.c.project == bindparam("project")).limit(1)
_HELD_OF_NUMBER = _LEASED.where(questions.c.event_id == bindparam("number"))
_DROP = delete(leases).where(leases.c.annotator == bindparam("whose"))
_SCORES = (
    select(answered.c.gold_score)
    .join(questions, questions.c.id == answered.c.question_id)
    .where(
        answered.c.annotator == bindparam("annotator"),
        answered.c.gold_score.is_not(None),
        questions.c.project == bindparam("project"),
    )
    .order_by(answered.c.event_id)
)


def held(connection: Connection, who: Seeking) -> Assignment | None:
    """What they hold of this project."""
    values = {"annotator": who.annotator, "project": who.project, "now": who.now}
    return _assignment(connection.execute(_HELD, values).one_or_none())


def given_last(connection: Connection, annotator: str, number: int) -> Assignment | None:
    """The question of this number if they were given it last, even where the lease is over."""
    return _assignment(connection.execute(_HELD_OF_NUMBER, {"annotator": annotator, "number": number}).one_or_none())


def drop_leases(connection: Connection, annotator: str) -> None:
    """Take back what someone holds."""
    connection.execute(_DROP, {"whose": annotator})


def hand_out(connection: Connection, who: Seeking) -> Assignment | Nothing:
    """What they hold, or else the question that is theirs next, leased to them; within a transaction that notes."""
    before = held(connection, who)
    if before is not None:
        return before
    settings = find_settings(connection, who.project)
    if settings is None:
        return "finished"
    chosen = _choose(connection, who, settings)
    if isinstance(chosen, str):
        return chosen
    drop_leases(connection, who.annotator)
    expires = who.now + settings.lease_minutes * 60
    lease = {"question_id": chosen.id, "annotator": who.annotator, "taken": who.now, "expires": expires}
    connection.execute(insert(leases), lease)
    return Assignment(chosen.event_id, question_of(chosen), who.now, expires)


def _assignment(row: Row[Any] | None) -> Assignment | None:
    return None if row is None else Assignment(row.event_id, question_of(row), row.taken, row.expires)


def _choose(connection: Connection, who: Seeking, settings: ProjectSettings) -> Row[Any] | Nothing:
    """A row of ``question_rows``, or why there is none."""
    scores: Sequence[float] = ()
    if settings.qualification or settings.gold_every:
        values = {"annotator": who.annotator, "project": who.project}
        scores = connection.execute(_SCORES, values).scalars().all()
    if settings.qualification and len(scores) < settings.qualification:
        gold = _first(connection, who, GOLD)
        if gold is not None:
            return gold
    first = scores[: settings.qualification]
    if first and sum(first) / len(first) < settings.qualification_pass:
        return "qualification"
    if settings.budget is not None and answers_in(connection, who.project) >= settings.budget:
        return "budget"
    if settings.gold_every and _is_golds_turn(connection, who, len(scores), settings):
        gold = _first(connection, who, GOLD)
        if gold is not None:
            return gold
    return _first(connection, who, "open") or "finished"


def _is_golds_turn(connection: Connection, who: Seeking, gold: int, settings: ProjectSettings) -> bool:
    # One gold question after each gold_every - 1 others; those of the qualification are not among them.
    due = sum(tally_of(connection, who.annotator, who.project)) // max(1, settings.gold_every - 1)
    return gold - settings.qualification < due


def _first(connection: Connection, who: Seeking, state: str) -> Row[Any] | None:
    values: dict[str, Any] = {"annotator": who.annotator, "project": who.project, "now": who.now}
    if who.queues:
        values["queues"] = ["", *who.queues]
    query = _first_of(state, bool(who.queues))
    return connection.execute(query, values).one_or_none()


@lru_cache
def _first_of(state: str, of_queues: bool) -> Select[Any]:
    annotator = bindparam("annotator")
    # A value and not EXISTS: that PostgreSQL may turn into a join, and without statistics of the table it then reads
    # all that the person answered for each of the questions that they answered.
    mine = (
        select(answered.c.event_id)
        .where(answered.c.annotator == annotator, answered.c.question_id == questions.c.id)
        .correlate(questions)
        .scalar_subquery()
    )
    first = select(questions.c.event_id).where(
        questions.c.project == bindparam("project"), questions.c.state == state, mine.is_(None)
    )
    if of_queues:
        first = first.where(questions.c.queue.in_(bindparam("queues", expanding=True)))
    if state == "open":
        others = (
            select(func.count())
            .where(
                leases.c.question_id == questions.c.id,
                leases.c.annotator != annotator,
                *_LIVE,
            )
            .correlate(questions)
            .scalar_subquery()
        )
        of_project = select(projects.c.overlap).where(projects.c.name == bindparam("project")).scalar_subquery()
        overlap = func.coalesce(questions.c.overlap, of_project)
        first = first.where(or_(overlap.is_(None), questions.c.given + others < overlap))
    first = first.order_by(questions.c.turn, questions.c.event_id).limit(1)
    asked = questions.alias("asked")
    return (
        select(asked, instructions.c.text.label("instructions"))
        .join(instructions)
        .where(asked.c.event_id == first.scalar_subquery())
    )
