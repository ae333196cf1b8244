"""Tasks of every kind, projects, people, leases, gold questions and the audit log."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def _event_id() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("events", sa.Column("key", sa.String(80)))
    op.drop_index("ix_events_annotator", "events")
    op.create_index("ix_events_annotator_created", "events", ["annotator", "created"])
    op.create_index("ix_events_annotator_key", "events", ["annotator", "key"], unique=True)
    _questions()
    _work()
    _people()
    _fill()


def _questions() -> None:
    op.drop_index("ix_questions_turn", "questions")
    for column in (
        sa.Column("task", sa.String(16), nullable=False, server_default="ranking"),
        sa.Column("project", sa.String(80), nullable=False, server_default="default"),
        sa.Column("queue", sa.String(80), nullable=False, server_default=""),
        sa.Column("overlap", sa.Integer()),
        sa.Column("given", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("state", sa.String(8), nullable=False, server_default="open"),
        sa.Column("turn", sa.Float(53), nullable=False, server_default="0"),
    ):
        op.add_column("questions", column)
    op.create_index("ix_questions_turn", "questions", ["project", "state", "turn", "event_id"])


def _work() -> None:
    op.create_table(
        "golds",
        sa.Column("question_id", sa.String(200), sa.ForeignKey("questions.id"), primary_key=True),
        sa.Column("event_id", _event_id(), sa.ForeignKey("events.id"), nullable=False),
    )
    op.create_table(
        "answered",
        sa.Column("question_id", sa.String(200), sa.ForeignKey("questions.id"), primary_key=True),
        sa.Column("annotator", sa.String(200), primary_key=True),
        sa.Column("event_id", _event_id(), sa.ForeignKey("events.id"), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("gold_score", sa.Float(53)),
    )
    op.create_index("ix_answered_annotator", "answered", ["annotator", "event_id"])
    op.create_index("ix_answered_event", "answered", ["event_id"])
    op.create_table(
        "leases",
        sa.Column("question_id", sa.String(200), sa.ForeignKey("questions.id"), primary_key=True),
        sa.Column("annotator", sa.String(200), primary_key=True),
        sa.Column("taken", sa.Float(53), nullable=False),
        sa.Column("expires", sa.Float(53), nullable=False),
    )
    op.create_index("ix_leases_annotator", "leases", ["annotator"])
    op.create_table(
        "projects",
        sa.Column("name", sa.String(80), primary_key=True),
        sa.Column("created", sa.Float(53), nullable=False),
        sa.Column("overlap", sa.Integer()),
        sa.Column("settings", sa.JSON(), nullable=False),
    )
    op.create_table(
        "instruction_versions",
        sa.Column("project", sa.String(80), sa.ForeignKey("projects.name"), primary_key=True),
        sa.Column("version", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("instructions_id", sa.String(16), sa.ForeignKey("instructions.id"), nullable=False),
        sa.Column("created", sa.Float(53), nullable=False),
        sa.Column("author", sa.String(200), nullable=False),
    )


def _people() -> None:
    op.create_table(
        "annotators",
        sa.Column("name", sa.String(200), primary_key=True),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("created", sa.Float(53), nullable=False),
        sa.Column("secret_hash", sa.String(200)),
        sa.Column("about", sa.JSON(), nullable=False),
        sa.Column("queues", sa.JSON(), nullable=False),
    )
    op.create_table(
        "invitations",
        sa.Column("token_hash", sa.String(64), primary_key=True),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("annotator", sa.String(200)),
        sa.Column("queues", sa.JSON(), nullable=False),
        sa.Column("created", sa.Float(53), nullable=False),
        sa.Column("author", sa.String(200), nullable=False),
        sa.Column("expires", sa.Float(53), nullable=False),
        sa.Column("used_by", sa.String(200)),
        sa.Column("used", sa.Float(53)),
    )
    op.create_table(
        "sessions",
        sa.Column("token_hash", sa.String(64), primary_key=True),
        sa.Column("annotator", sa.String(200), sa.ForeignKey("annotators.name"), nullable=False),
        sa.Column("created", sa.Float(53), nullable=False),
        sa.Column("expires", sa.Float(53), nullable=False),
    )
    op.create_index("ix_sessions_annotator", "sessions", ["annotator"])
    op.create_table(
        "audit",
        sa.Column("id", _event_id(), primary_key=True, autoincrement=True),
        sa.Column("created", sa.Float(53), nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_audit_actor", "audit", ["actor"])


def _fill() -> None:
    """What the new tables say of the old rows.  People known by name alone come in again by an invitation."""
    run = op.get_bind().exec_driver_sql
    run("INSERT INTO projects (name, created, settings) VALUES ('default', 0, '{}')")
    run("UPDATE questions SET turn = -priority")
    run(
        "INSERT INTO answered (question_id, annotator, event_id, kind) SELECT question_id, annotator, id, kind "
        "FROM events WHERE kind = 'ranking' AND payload IS NOT NULL "
        "AND NOT EXISTS (SELECT 1 FROM events later WHERE later.supersedes = events.id)"
    )
    run("UPDATE questions SET given = (SELECT count(*) FROM answered WHERE answered.question_id = questions.id)")
    # A percent sign would be a parameter to one of the two drivers; substr serves both.
    run(
        "INSERT INTO annotators (name, role, active, created, about, queues) "
        "SELECT annotator, 'annotator', TRUE, min(created), '{}', '[]' FROM events WHERE annotator IS NOT NULL "
        "AND substr(annotator, 1, 10) <> 'simulated:' AND substr(annotator, 1, 7) <> 'erased:' GROUP BY annotator"
    )


def downgrade() -> None:
    for table in (
        "audit", "sessions", "invitations", "annotators", "instruction_versions", "projects", "leases", "answered",
        "golds",
    ):  # fmt: skip
        op.drop_table(table)
    op.drop_index("ix_questions_turn", "questions")
    for name in ("turn", "state", "given", "overlap", "queue", "project", "task"):
        op.drop_column("questions", name)
    op.create_index("ix_questions_turn", "questions", ["priority", "event_id"])
    op.drop_index("ix_events_annotator_key", "events")
    op.drop_index("ix_events_annotator_created", "events")
    op.drop_column("events", "key")
    op.create_index("ix_events_annotator", "events", ["annotator"])
