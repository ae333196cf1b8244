"""The event log, the questions, the instructions shown, and the store's own secrets."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _event_id() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "instructions",
        sa.Column("id", sa.String(16), primary_key=True),
        sa.Column("text", sa.Text(), nullable=False),
    )
    op.create_table(
        "secrets",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("value", sa.String(128), nullable=False),
    )
    op.create_table(
        "questions",
        sa.Column("event_id", _event_id(), primary_key=True, autoincrement=False),
        sa.Column("id", sa.String(200), nullable=False, unique=True),
        sa.Column("priority", sa.Float(53), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("instructions_id", sa.String(16), sa.ForeignKey("instructions.id"), nullable=False),
    )
    op.create_index("ix_questions_turn", "questions", ["priority", "event_id"])
    op.create_table(
        "events",
        sa.Column("id", _event_id(), primary_key=True, autoincrement=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("created", sa.Float(53), nullable=False),
        sa.Column("annotator", sa.String(200)),
        sa.Column("question_id", sa.String(200), sa.ForeignKey("questions.id")),
        sa.Column("supersedes", _event_id(), sa.ForeignKey("events.id"), unique=True),
        sa.Column("payload", sa.JSON()),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_question_annotator", "events", ["question_id", "annotator"])
    op.create_index("ix_events_annotator", "events", ["annotator"])


def downgrade() -> None:
    for table in ("events", "questions", "secrets", "instructions"):
        op.drop_table(table)
