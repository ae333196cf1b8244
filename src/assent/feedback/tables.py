"""The tables of a feedback store, the same on SQLite and PostgreSQL.

``events`` is the log, and only ever grows: a question added, a ranking given, a ranking undone, a person erased.  What
holds at event N is a function of the rows up to N.  The one write to an old row is the erasure of a person, which takes
out the payload and the name and leaves the row as a tombstone.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

# SQLite numbers rows by itself only for a column of type INTEGER.
EventId = BigInteger().with_variant(Integer(), "sqlite")

metadata = MetaData()

events = Table(
    "events",
    metadata,
    Column("id", EventId, primary_key=True, autoincrement=True),
    Column("kind", String(16), nullable=False),
    Column("created", Float(53), nullable=False),
    Column("annotator", String(200)),
    Column("question_id", String(200), ForeignKey("questions.id")),
    Column("supersedes", EventId, ForeignKey("events.id"), unique=True),
    Column("payload", JSON(none_as_null=True)),
    Index("ix_events_question_annotator", "question_id", "annotator"),
    Index("ix_events_annotator", "annotator"),
    # Without this SQLite may give a new row the id of a deleted one; ids here are for ever.
    sqlite_autoincrement=True,
)
"""``kind``: question, ranking, undo or erasure.  ``created``: seconds since the epoch, UTC."""

questions = Table(
    "questions",
    metadata,
    Column("event_id", EventId, primary_key=True, autoincrement=False),
    Column("id", String(200), nullable=False, unique=True),
    Column("priority", Float(53), nullable=False),
    Column("payload", JSON, nullable=False),
    Column("instructions_id", String(16), ForeignKey("instructions.id"), nullable=False),
    Index("ix_questions_turn", "priority", "event_id"),
)
"""``event_id`` is the event that added the question: its place in the queue among equal priorities."""

instructions = Table(
    "instructions",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("text", Text, nullable=False),
)
"""Every instructions text that was ever shown, kept once under its digest."""

secrets = Table(
    "secrets",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", String(128), nullable=False),
)
"""Keys that belong to this store, such as the one that signs the labelling app's cookies."""
