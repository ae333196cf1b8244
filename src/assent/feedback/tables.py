"""The tables of a feedback store, the same on SQLite and PostgreSQL.

``events`` is the log, and only ever grows: a question added, an answer given, an answer taken back, a priority or a
gold answer set, a person erased.  What holds at event N is a function of the rows up to N.  The one write to an old
row is the erasure of a person, which takes out the payload and the name and leaves the row as a tombstone.

``answered``, ``tallies``, ``golds`` and the columns of ``questions`` that may change (priority, given, state) say what
the log says now, kept in the same transaction as the event, so that a page need not read the log.  People, projects,
leases and the audit log stand beside it.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

# SQLite numbers rows by itself only for a column of type INTEGER.
EventId = BigInteger().with_variant(Integer(), "sqlite")
Moment = Float(53)
"""Seconds since the epoch, UTC."""

VERSION_TABLE = "assent_schema"
"""Of one row: the revision of the schema that a database has."""
NEWEST = "0004"
"""The revision that these tables are, the newest of ``migrations/``."""

version = Table(VERSION_TABLE, MetaData(), Column("version_num", String(32), primary_key=True))

metadata = MetaData()

events = Table(
    "events",
    metadata,
    Column("id", EventId, primary_key=True, autoincrement=True),
    Column("kind", String(16), nullable=False),
    Column("created", Moment, nullable=False),
    Column("annotator", String(200)),
    Column("question_id", String(200), ForeignKey("questions.id")),
    Column("supersedes", EventId, ForeignKey("events.id"), unique=True),
    Column("payload", JSON(none_as_null=True)),
    Column("key", String(80)),
    Index("ix_events_question_annotator", "question_id", "annotator"),
    Index("ix_events_annotator_created", "annotator", "created"),
    Index("ix_events_annotator_key", "annotator", "key", unique=True),
    # Without this SQLite may give a new row the id of a deleted one; ids here are for ever.
    sqlite_autoincrement=True,
)
"""``kind``: question, priority, overlap, gold, undo, erasure, or that of an answer (:mod:`assent.feedback.responses`).
``key``: what the sender named an answer, so that one sent twice is kept once."""

questions = Table(
    "questions",
    metadata,
    Column("event_id", EventId, primary_key=True, autoincrement=False),
    Column("id", String(200), nullable=False, unique=True),
    Column("priority", Float(53), nullable=False),
    Column("payload", JSON, nullable=False),
    Column("instructions_id", String(16), ForeignKey("instructions.id"), nullable=False),
    Column("task", String(16), nullable=False),
    Column("project", String(80), nullable=False),
    Column("queue", String(80), nullable=False),
    Column("overlap", Integer),
    Column("given", Integer, nullable=False),
    Column("state", String(8), nullable=False),
    # Ascending both ways: SQLite walks an index of mixed directions only where each column says so.
    Column("turn", Float(53), nullable=False),
    Index("ix_questions_turn", "project", "state", "turn", "event_id"),
)
"""``event_id`` is the event that added the question: its place in the queue among equal priorities, and its number in
the labelling app.  ``given``: standing answers, without skips.  ``state``: open, closed (``given`` reached the overlap)
or gold.  ``turn``: the priority, negated."""

golds = Table(
    "golds",
    metadata,
    Column("question_id", String(200), ForeignKey("questions.id"), primary_key=True),
    Column("event_id", EventId, ForeignKey("events.id"), nullable=False),
)
"""The event whose payload holds the answer expected of a gold question."""

_SCORED = text("gold_score IS NOT NULL")
answered = Table(
    "answered",
    metadata,
    Column("question_id", String(200), ForeignKey("questions.id"), primary_key=True),
    Column("annotator", String(200), primary_key=True),
    Column("event_id", EventId, ForeignKey("events.id"), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("gold_score", Float(53)),
    Index("ix_answered_annotator", "annotator", "event_id"),
    Index("ix_answered_event", "event_id"),
    Index("ix_answered_gold", "annotator", "event_id", sqlite_where=_SCORED, postgresql_where=_SCORED),
)
"""Each person's standing answer to each question.  ``gold_score``: 0 to 1, of gold questions."""

tallies = Table(
    "tallies",
    metadata,
    Column("annotator", String(200), primary_key=True),
    Column("project", String(80), primary_key=True),
    Column("answers", Integer, nullable=False),
    Column("skips", Integer, nullable=False),
    Index("ix_tallies_project", "project"),
)
"""How many rows of ``answered`` each person has in each project, gold questions apart: a page shows it, and need not
count."""

leases = Table(
    "leases",
    metadata,
    Column("question_id", String(200), ForeignKey("questions.id"), primary_key=True),
    Column("annotator", String(200), primary_key=True),
    Column("taken", Moment, nullable=False),
    Column("expires", Moment, nullable=False),
    Index("ix_leases_annotator", "annotator"),
)
"""Who looks at which question now; others are not given it meanwhile, where its overlap leaves no room."""

instructions = Table(
    "instructions",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("text", Text, nullable=False),
)
"""Every instructions text that was ever shown, kept once under its digest."""

projects = Table(
    "projects",
    metadata,
    Column("name", String(80), primary_key=True),
    Column("created", Moment, nullable=False),
    Column("overlap", Integer),
    Column("settings", JSON, nullable=False),
)
"""``overlap``: how many people answer each question that does not say it itself; null: everybody."""

instruction_versions = Table(
    "instruction_versions",
    metadata,
    Column("project", String(80), ForeignKey("projects.name"), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("instructions_id", String(16), ForeignKey("instructions.id"), nullable=False),
    Column("created", Moment, nullable=False),
    Column("author", String(200), nullable=False),
)
"""The instructions of a project: version 1, 2, 3; the last one holds."""

annotators = Table(
    "annotators",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("role", String(16), nullable=False),
    Column("active", Boolean, nullable=False),
    Column("created", Moment, nullable=False),
    Column("secret_hash", String(200)),
    Column("about", JSON, nullable=False),
    Column("queues", JSON, nullable=False),
)
"""People who may sign in.  ``about``: how they describe themselves.  ``queues``: theirs; empty means all."""

invitations = Table(
    "invitations",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("role", String(16), nullable=False),
    Column("annotator", String(200)),
    Column("queues", JSON, nullable=False),
    Column("created", Moment, nullable=False),
    Column("author", String(200), nullable=False),
    Column("expires", Moment, nullable=False),
    Column("used_by", String(200)),
    Column("used", Moment),
)
"""``annotator``: the only person who may use it; null: a new one.  The token itself is never kept."""

sessions = Table(
    "sessions",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("annotator", String(200), ForeignKey("annotators.name"), nullable=False),
    Column("created", Moment, nullable=False),
    Column("expires", Moment, nullable=False),
    Index("ix_sessions_annotator", "annotator"),
)

audit = Table(
    "audit",
    metadata,
    Column("id", EventId, primary_key=True, autoincrement=True),
    Column("created", Moment, nullable=False),
    Column("actor", String(200), nullable=False),
    Column("action", String(32), nullable=False),
    Column("subject", String(200), nullable=False),
    Column("detail", Text, nullable=False),
    Index("ix_audit_actor", "actor"),
    sqlite_autoincrement=True,
)
"""Who did what to whom in the labelling app, answers apart, which are events.  Only ever grows."""

secrets = Table(
    "secrets",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", String(128), nullable=False),
)
"""Keys that belong to this store, such as the one that signs the labelling app's cookies."""

lessons = Table(
    "lessons",
    metadata,
    Column("id", EventId, primary_key=True, autoincrement=True),
    Column("run", String(16), nullable=False),
    Column("created", Moment, nullable=False),
    Column("event_id", EventId, ForeignKey("events.id")),
    Column("accuracy", Float(53)),
    Column("policy", Integer, nullable=False),
    UniqueConstraint("run", "event_id", name="uq_lessons_run_event"),
    sqlite_autoincrement=True,
)
"""What a run that learns while people answer told of itself (:mod:`assent.feedback.lessons`): a row for each answer
learned, and one without ``event_id`` for each new ``policy``.  Only ever grows."""
