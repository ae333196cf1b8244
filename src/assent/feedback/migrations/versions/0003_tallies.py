"""Answers counted by person and project, and an index of gold answers, so that no page counts what someone did."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tallies",
        sa.Column("annotator", sa.String(200), primary_key=True),
        sa.Column("project", sa.String(80), primary_key=True),
        sa.Column("answers", sa.Integer(), nullable=False),
        sa.Column("skips", sa.Integer(), nullable=False),
    )
    op.create_index("ix_tallies_project", "tallies", ["project"])
    only = sa.text("gold_score IS NOT NULL")
    op.create_index("ix_answered_gold", "answered", ["annotator", "event_id"], sqlite_where=only, postgresql_where=only)
    op.get_bind().exec_driver_sql(
        "INSERT INTO tallies (annotator, project, answers, skips) "
        "SELECT annotator, project, sum(CASE WHEN kind = 'skip' THEN 0 ELSE 1 END), "
        "sum(CASE WHEN kind = 'skip' THEN 1 ELSE 0 END) "
        "FROM answered JOIN questions ON questions.id = answered.question_id "
        "WHERE state <> 'gold' GROUP BY annotator, project"
    )


def downgrade() -> None:
    op.drop_index("ix_answered_gold", "answered")
    op.drop_table("tallies")
