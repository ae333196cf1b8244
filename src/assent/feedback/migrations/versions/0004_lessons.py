"""What a reward model that learns while people answer has made of their answers."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_event = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "lessons",
        sa.Column("id", _event, primary_key=True, autoincrement=True),
        sa.Column("run", sa.String(16), nullable=False),
        sa.Column("created", sa.Float(53), nullable=False),
        sa.Column("event_id", _event, sa.ForeignKey("events.id")),
        sa.Column("accuracy", sa.Float(53)),
        sa.Column("policy", sa.Integer(), nullable=False),
        sa.UniqueConstraint("run", "event_id", name="uq_lessons_run_event"),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    op.drop_table("lessons")
