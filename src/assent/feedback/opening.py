"""From an address to a database at the newest schema, or to one clear :class:`StoreError`."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, insert, inspect, make_url, select, text
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError

from assent.errors import StoreError
from assent.feedback.questions import DEFAULT_PROJECT
from assent.feedback.tables import NEWEST, VERSION_TABLE, metadata, projects, version

BUSY_SECONDS = 30.0
"""How long a writer waits for another one before giving up."""
GONE_SECONDS = 30.0
"""How long a store that was there is waited for when its server, or the disk that it lies on, does not answer."""
POOL = 20
"""Connections that stay open, each made when it is first needed; a server's threads use as many at once."""
_GONE = re.compile("connection refused|could not connect|connection failed|timeout|unable to open database file", re.I)
_SCHEMA_LOCK = 0x617373656E74  # any fixed number will do for PostgreSQL's advisory lock; this one spells "assent"
_NOT_A_STORE = "is not a feedback store but some other database; give the address of a store, or of a new one to make"
_LOCK_EVENTS = "LOCK TABLE events IN SHARE ROW EXCLUSIVE MODE"
_LOCK_NOTES = f"; SELECT pg_advisory_xact_lock({0x6E6F7465})"


def open_engine(url_or_path: str | Path) -> Engine:
    """An engine on an existing or new store, migrated to the newest schema."""
    url = _store_url(url_or_path)
    shown = shown_address(url)
    try:
        engine = create_engine(
            url, pool_pre_ping=url.get_backend_name() == "postgresql", pool_size=POOL, max_overflow=POOL
        )
    except ModuleNotFoundError:
        raise StoreError(f"{shown}: PostgreSQL needs the driver psycopg; install 'assent[postgres]'") from None
    try:
        if url.get_backend_name() == "sqlite":
            _configure_sqlite(engine)
            _switch_to_wal(engine)
        revision = _revision(engine)
        if revision != NEWEST and not (revision is None and _make(engine, shown)):
            # Loaded for the few stores that need it: it takes as long as all the rest.
            import_module("assent.feedback.upgrading").upgrade(engine, shown)
    except DBAPIError as error:
        engine.dispose()
        raise StoreError(_reason(error, shown)) from None
    except BaseException:
        engine.dispose()
        raise
    return engine


def shown_address(url: URL) -> str:
    """The address as an error message may print it: without the password."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return url.render_as_string(hide_password=True)


def connected(engine: Engine) -> Connection:
    """A connection to a store that was there before; while it does not answer it is asked again, ever less often."""
    deadline, pause = time.monotonic() + GONE_SECONDS, 0.1
    while True:
        try:
            return engine.connect()
        except OperationalError as error:
            state = getattr(error.orig, "sqlstate", None)  # 57P..: PostgreSQL is stopping or starting
            gone = state.startswith("57P") if state else _GONE.search(str(error.orig))
            if not gone or time.monotonic() + pause > deadline:
                raise
        time.sleep(pause)
        pause = min(2.0, 2 * pause)


@contextmanager
def write_transaction(engine: Engine, durable: bool = True, notes: bool = False) -> Iterator[Connection]:
    """One transaction that no other writer runs beside, in this process or another.

    So a check and the write that relies on it are one step, and event ids are committed in their order: a reader that
    has seen event N will never see a smaller one appear.  One that is not ``durable`` writes no event; it is seen by
    all at its end, and may be lost when the machine dies.  On PostgreSQL a durable one and one that is not may run
    beside each other, unless the durable one ``notes`` too.
    """
    with connected(engine) as connection:
        connection = connection.execution_options(assent_write=True, assent_durable=durable)
        with connection.begin():
            if engine.dialect.name == "postgresql":
                # One statement each: every one is a way to the server and back, with others waiting for the lock.
                first = _LOCK_EVENTS if durable else "SET LOCAL synchronous_commit = off"
                connection.exec_driver_sql(first + (_LOCK_NOTES if notes or not durable else ""))
            yield connection


def _store_url(url_or_path: str | Path) -> URL:
    text_form = str(url_or_path)
    if "://" not in text_form:
        url = URL.create("sqlite", database=text_form)
    else:
        try:
            url = make_url(text_form)
        except ArgumentError:
            raise StoreError(
                f"'{text_form}' is no database address; give a file, or postgresql://USER@HOST/NAME"
            ) from None
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg")
    if url.drivername not in ("sqlite", "postgresql+psycopg"):
        raise StoreError(f"'{url.drivername}': a feedback store is a SQLite file or postgresql://USER@HOST/NAME")
    if url.drivername == "sqlite":
        _check_file(url.database)
    return url


def _check_file(database: str | None) -> None:
    if not database or database == ":memory:":
        raise StoreError("a feedback store must outlive its process; give a file, such as feedback.sqlite")
    path = Path(database)
    if path.is_dir():
        raise StoreError(f"{path} is a folder; give a file for the feedback store, such as {path / 'feedback.sqlite'}")
    if not path.absolute().parent.is_dir():
        raise StoreError(f"{path}: the folder {path.absolute().parent} does not exist; make it first, or mend the path")


def _configure_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def _(connection: Any, _record: Any) -> None:
        # The driver's own transaction control would begin late and never IMMEDIATE; it is switched off, see below.
        connection.isolation_level = None
        for pragma in (
            f"busy_timeout = {int(BUSY_SECONDS * 1000)}",
            "foreign_keys = ON",
            "secure_delete = ON",  # what is erased is overwritten in the file, not only unlinked
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _(connection: Connection) -> None:
        # A writer takes its lock at once; one that began by reading could find at its first write that it may not.
        options = connection.get_execution_options()
        if options.get("assent_write", False):
            # FULL: an acknowledged answer is on the disk; WAL's default may lose the last ones.
            connection.exec_driver_sql(
                f"PRAGMA synchronous = {'FULL' if options.get('assent_durable', True) else 'NORMAL'}"
            )
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.exec_driver_sql("BEGIN")


def _switch_to_wal(engine: Engine) -> None:
    """Let readers and a writer work side by side.  The mode stays with the file."""
    deadline = time.monotonic() + BUSY_SECONDS
    path = engine.url.database
    while True:
        try:
            raw = engine.raw_connection()
            try:
                raw.cursor().execute("PRAGMA journal_mode = WAL")
            finally:
                raw.close()
            return
        except sqlite3.OperationalError as error:
            # SQLite does not wait here by itself when another process opens the same new file.
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise StoreError(
                    f"{path}: cannot be opened for writing ({error}); check that you may write there"
                ) from None
            time.sleep(0.02)
        except sqlite3.DatabaseError as error:
            raise StoreError(f"{path}: {error}; give another file, or a new name to start a store") from None


def _revision(engine: Engine) -> str | None:
    with engine.connect() as connection:
        if not inspect(connection).has_table(VERSION_TABLE):
            return None
        return connection.execute(select(version.c.version_num)).scalar_one_or_none()


def _make(engine: Engine, shown: str) -> bool:
    """The tables of a new store at the newest schema; ``False`` where another one was there first."""
    with making(engine) as connection:
        there = set(inspect(connection).get_table_names())
        if VERSION_TABLE in there:
            return False
        # A PostgreSQL database is often shared with others; a SQLite file is not.
        if there & set(metadata.tables) or (there and engine.dialect.name == "sqlite"):
            raise StoreError(f"{shown} {_NOT_A_STORE}")
        metadata.create_all(connection)
        connection.execute(insert(projects).values(name=DEFAULT_PROJECT, created=time.time(), settings={}))
        version.create(connection)
        connection.execute(insert(version).values(version_num=NEWEST))
        return True


@contextmanager
def making(engine: Engine) -> Iterator[Connection]:
    """A transaction that changes the schema, one at a time."""
    with engine.connect() as connection:
        connection = connection.execution_options(assent_write=True)
        with connection.begin():
            if engine.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _SCHEMA_LOCK})
            yield connection


def _reason(error: DBAPIError, shown: str) -> str:
    first = str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else type(error.orig).__name__
    return f"{shown}: the feedback store cannot be opened ({first}); check the address, and that you may write there"
