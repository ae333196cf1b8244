"""What a reward model that learns while people answer has made of their answers: told by the trainer, shown by the app.

The store is where the two meet; they may be on different machines.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import func, insert, select

from assent.feedback.database import Database
from assent.feedback.rows import chunks
from assent.feedback.tables import lessons


@dataclass(frozen=True, slots=True)
class Lesson:
    """One answer that a saved reward model has learned."""

    event: int
    """Of the answer."""
    accuracy: float | None
    """Share of the answer's decided comparisons that the reward model ordered rightly before it learned them; ``None``
    where all are ties."""
    policy: int
    """The newest policy when it was learned; 0 is the one that the run began with."""


@dataclass(frozen=True, slots=True)
class Learning:
    """How far a run is."""

    learned: int
    policy: int
    policy_since: float
    """Seconds since the epoch, UTC."""
    recent: tuple[Lesson, ...]
    """The newest lessons, oldest first."""


class Lessons:
    """The lessons of every run over a store, in the order in which they were learned."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, run: str, new: Iterable[Lesson]) -> None:
        """Note what ``run`` (of up to 16 characters) learned; what it noted before is left as it is."""
        given = {one.event: one for one in new}
        if not given:
            return
        with self._database.writing() as connection:
            there: set[int] = set()
            for some in chunks(given):
                known = select(lessons.c.event_id).where(lessons.c.run == run, lessons.c.event_id.in_(some))
                there.update(connection.execute(known).scalars())
            now = time.time()
            rows = [
                {"run": run, "created": now, "event_id": one.event, "accuracy": one.accuracy, "policy": one.policy}
                for one in given.values()
                if one.event not in there
            ]
            if rows:
                connection.execute(insert(lessons), rows)

    def add_policy(self, run: str, policy: int) -> None:
        """Note that ``run`` has made this policy, unless that was noted before.  A run begins by noting policy 0."""
        this = (lessons.c.run == run, lessons.c.event_id.is_(None), lessons.c.policy == policy)
        with self._database.writing() as connection:
            if connection.execute(select(lessons.c.id).where(*this)).first() is None:
                connection.execute(insert(lessons).values(run=run, created=time.time(), policy=policy))

    def exist(self) -> bool:
        """Whether any run told something."""
        with self._database.reading() as connection:
            return connection.execute(select(lessons.c.id).limit(1)).first() is not None

    def newest(self, most: int = 1000) -> Learning | None:
        """How far the run is that told something last, with ``most`` of its lessons; ``None`` before any did."""
        with self._database.reading() as connection:
            run = connection.execute(select(lessons.c.run).order_by(lessons.c.id.desc()).limit(1)).scalar_one_or_none()
            if run is None:
                return None
            mine, learned = lessons.c.run == run, lessons.c.event_id.is_not(None)
            count = connection.execute(select(func.count()).where(mine, learned)).scalar_one()
            recent = connection.execute(
                select(lessons).where(mine, learned).order_by(lessons.c.id.desc()).limit(most)
            ).all()
            made = select(lessons.c.policy, lessons.c.created).where(mine, ~learned)
            policy = connection.execute(made.order_by(lessons.c.policy.desc()).limit(1)).one()
        found = tuple(Lesson(row.event_id, row.accuracy, row.policy) for row in reversed(recent))
        return Learning(count, policy.policy, policy.created, found)
