"""The store's contract over both databases, and how it opens."""

import os
import re
import sqlite3
import uuid
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, make_url, text

from assent.errors import StoreError
from assent.feedback.opening import open_engine
from assent.feedback.store import FeedbackStore
from assent.feedback.tables import VERSION_TABLE, metadata
from assent.testing.feedback_store import FeedbackStoreTests, make_question

SERVER = os.environ.get("ASSENT_TEST_POSTGRES", "postgresql+psycopg://postgres@127.0.0.1:5432/postgres")


@pytest.fixture
def postgres_url():
    """A database of its own, dropped afterwards."""
    name = f"assent_test_{uuid.uuid4().hex[:12]}"
    server = create_engine(SERVER, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield make_url(SERVER).set(database=name).render_as_string(hide_password=False)
    with server.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    server.dispose()


class TestSqlite(FeedbackStoreTests):
    @pytest.fixture
    def store_factory(self, tmp_path):
        return lambda: FeedbackStore.open(tmp_path / "feedback.sqlite")


@pytest.mark.postgres
class TestPostgres(FeedbackStoreTests):
    @pytest.fixture
    def store_factory(self, postgres_url):
        return lambda: FeedbackStore.open(postgres_url)


def check_schema(url):
    engine = open_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


@pytest.mark.postgres
def test_short_postgres_address_beside_other_tables(postgres_url):
    with create_engine(postgres_url).begin() as connection:
        connection.execute(text("CREATE TABLE accounts (id integer)"))
    with FeedbackStore.open(postgres_url.replace("+psycopg", "")) as store:
        assert store.add_questions([make_question()]) == 1


def test_acknowledged_means_on_the_disk(tmp_path):
    engine = open_engine(tmp_path / "feedback.sqlite")
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    engine.dispose()


def test_erased_words_are_gone_from_the_files(tmp_path):
    with FeedbackStore.open(tmp_path / "feedback.sqlite") as store:
        store.add_questions([make_question()])
        store.add_ranking("q0", "Zebedee Quux", [1, 2, 3], note="unmistakable words")
        on_disk = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        assert b"unmistakable" in on_disk
        assert b"Zebedee" in on_disk
        store.erase_annotator("Zebedee Quux")
        on_disk = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        assert b"unmistakable" not in on_disk
        assert b"Zebedee" not in on_disk


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("sqlite://", "outlive"),
        (":memory:", "outlive"),
        ("mysql://root@127.0.0.1/x", "SQLite file or postgresql"),
        ("postgresql://postgres:hunter2@127.0.0.1:1/nowhere", "cannot be opened"),
        ("no/such/folder/feedback.sqlite", "does not exist"),
        ("not a url://", "no database address"),
    ],
)
def test_bad_addresses_are_explained(address, message):
    with pytest.raises(StoreError, match=message) as caught:
        FeedbackStore.open(address)
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_folder_is_no_store(tmp_path):
    with pytest.raises(StoreError, match="is a folder"):
        FeedbackStore.open(tmp_path)


def test_text_file_is_no_store(tmp_path: Path):
    path = tmp_path / "notes.txt"
    path.write_text("these are not the tables you are looking for\n" * 100)
    with pytest.raises(StoreError, match=re.escape(str(path)) + ".*not a database"):
        FeedbackStore.open(path)
    assert path.read_text().startswith("these are"), "left as it was"


def test_other_database_is_no_store(tmp_path):
    path = tmp_path / "places.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE bookmarks (id INTEGER)")
    connection.close()
    with pytest.raises(StoreError, match="some other database"):
        FeedbackStore.open(path)
    with sqlite3.connect(path) as connection:
        assert [row[0] for row in connection.execute("SELECT name FROM sqlite_master")] == ["bookmarks"]
    connection.close()


def test_newer_schema_is_not_touched(tmp_path):
    path = tmp_path / "feedback.sqlite"
    FeedbackStore.open(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    connection.close()
    with pytest.raises(StoreError, match=r"newer assent.*9999"):
        FeedbackStore.open(path)
