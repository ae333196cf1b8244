"""A store of every released schema opens, and means what it meant."""

import json
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

from assent.feedback import migrations
from assent.feedback.answers import Answer
from assent.feedback.responses import Ranks, Skipped
from assent.feedback.store import FeedbackStore
from assent.feedback.tables import NEWEST, VERSION_TABLE
from assent.testing.feedback_store import make_question
from tests.contracts.test_feedback_store import check_schema, postgres_url  # noqa: F401

ROWS_OF_0001 = [
    "INSERT INTO instructions VALUES ('i1', 'Best first.')",
    "INSERT INTO secrets VALUES ('cookies', 'k')",
    "INSERT INTO events (id, kind, created) VALUES (1, 'question', 10), (2, 'question', 10)",
    "INSERT INTO questions VALUES (1, 'q0', 0, :question, 'i1'), (2, 'q1', 2.5, :question, 'i1')",
    "INSERT INTO events (id, kind, created, annotator, question_id, supersedes, payload) VALUES "
    "(3, 'ranking', 11, 'ann', 'q0', NULL, :first), (4, 'ranking', 12, 'ann', 'q0', 3, :second), "
    "(5, 'ranking', 13, 'bob', 'q0', NULL, :first), (6, 'undo', 14, 'bob', 'q0', 5, NULL), "
    "(7, 'ranking', 15, 'simulated:x', 'q1', NULL, :first), (8, 'ranking', 16, 'erased:9', 'q1', NULL, NULL), "
    "(9, 'erasure', 17, NULL, NULL, NULL, NULL)",
]
QUESTION = {"prompt": {"id": "p", "text": "Ask?"}, "completion_ids": ["a", "b"], "texts": ["A", "B"], "criterion": "x"}
ANSWER = {"order": [1, 0], "seconds": 3.5, "note": "hm", "instructions_id": "i1"}


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def address(request, tmp_path):
    if request.param == "postgres":
        return request.getfixturevalue("postgres_url")
    return f"sqlite:///{tmp_path / 'feedback.sqlite'}"


def move(address, how, revision):
    """Up or down to a revision."""
    engine = create_engine(address)
    config = Config()
    config.set_main_option("script_location", "assent.feedback:migrations")
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        config.attributes.update(connection=connection, version_table=VERSION_TABLE)
        how(config, revision)
    engine.dispose()


def make_released(address, revision):
    """A store as that release left it."""
    move(address, command.upgrade, revision)
    engine = create_engine(address)
    values = {
        "question": json.dumps(QUESTION),
        "first": json.dumps({"ranks": [1, 2], **ANSWER}),
        "second": json.dumps({"ranks": [None, 1], **ANSWER}),
    }
    with engine.begin() as connection:
        for row in ROWS_OF_0001:
            connection.execute(text(row), {name: value for name, value in values.items() if f":{name}" in row})
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT setval('events_id_seq', 9)"))
    engine.dispose()


def test_0001_keeps_its_meaning(address):
    make_released(address, "0001")
    with FeedbackStore.open(address) as store:
        assert [(r.annotator, r.ranks, r.texts, r.seconds) for r in store.rankings()] == [
            ("ann", (None, 1), ("B", "A"), 3.5),
            ("simulated:x", (1, 2), ("B", "A"), 3.5),
        ]
        assert [r.ranks for r in store.rankings(upto=3)] == [(1, 2)]
        assert store.counts() == {
            "questions": 2,
            "answered": 2,
            "answers": 2,
            "skips": 0,
            "annotators": 2,
            "events": 9,
        }
        assert store.secret() == "k"
        question = store.question("q1")
        assert (question.task, question.project, question.priority, question.criterion) == (
            "ranking",
            "default",
            2.5,
            "x",
        )
        # Whoever ranked under a name may come back under it, by an invitation and by nothing else.
        assert [(p.name, p.role, p.has_secret) for p in store.people.all()] == [
            ("ann", "annotator", False),
            ("bob", "annotator", False),
        ]
        turns = [store.work.take("ann"), store.work.take("bob")]
        assert [turn if isinstance(turn, str) else turn.question.id for turn in turns] == ["q1", "q1"]
        assert store.add_ranking("q1", "ann", [1, 2]) == 10
        last = store.work.take("ann")
        assert last == "finished", "ann answered q0 before the migration"
    check_schema(address)


def test_0002_is_counted_anew(address):
    with FeedbackStore.open(address) as store:
        store.add_questions([make_question(n) for n in range(4)])
        ranks = Ranks((1, 2, 3))
        store.work.set_gold("q3", ranks)
        store.add_answers([Answer(f"q{n}", name, ranks) for n in (0, 1, 3) for name in ("ann", "bob")])
        store.add_answer(Answer("q2", "ann", Skipped("why not")))
        before = [store.work.progress(name) for name in ("ann", "bob", "cat")]
    move(address, command.downgrade, "0002")
    with FeedbackStore.open(address) as store:
        assert [store.work.progress(name) for name in ("ann", "bob", "cat")] == before
        assert [(one.answered, one.skipped) for one in before] == [(2, 1), (2, 0), (0, 0)]
        store.undo(store.last_answer("bob", "q0"), "bob")
        assert store.work.progress("bob").answered == 1
    check_schema(address)


def test_migrations_make_the_tables_that_the_code_uses(address):
    move(address, command.upgrade, "head")
    check_schema(address)
    with FeedbackStore.open(address) as store:
        assert store.projects.names() == ["default"]
        assert store.add_questions([make_question()]) == 1


def test_newest_revision_is_the_one_that_the_code_names():
    assert ScriptDirectory(str(Path(migrations.__file__).parent)).get_current_head() == NEWEST


def test_0001_and_back_again(address):
    make_released(address, "0001")
    FeedbackStore.open(address).close()
    move(address, command.downgrade, "0001")
    engine = create_engine(address)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM events")).scalar_one() == 9
    engine.dispose()
    with FeedbackStore.open(address) as store:
        assert len(store.rankings()) == 2
