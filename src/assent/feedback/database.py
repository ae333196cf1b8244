"""One database and how it is read and written: transactions, and failures told in one sentence."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, func, insert, select
from sqlalchemy.exc import DBAPIError

from assent.errors import StoreAwayError
from assent.feedback.opening import connected, open_engine, shown_address, write_transaction
from assent.feedback.tables import audit, events


class Database:
    """An engine at the newest schema, shared by the parts of a store and by threads."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        # SQLite lets writers of one process poll for the lock; here they queue.
        self._turn = threading.Lock()
        self._moment = threading.local()

    @classmethod
    def open(cls, url_or_path: str | Path) -> Database:
        """See :func:`assent.feedback.opening.open_engine`."""
        return cls(open_engine(url_or_path))

    @property
    def address(self) -> str:
        """The file or database, without a password."""
        return shown_address(self.engine.url)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that reads."""
        shared: Connection | None = getattr(self._moment, "connection", None)
        if shared is not None:
            yield shared
            return
        with self._explained(), connected(self.engine) as connection:
            yield connection

    @contextmanager
    def one_transaction(self) -> Iterator[None]:
        """All that this thread reads in the block is read in one transaction: one connection, asked for once.

        What is written meanwhile may not be seen in it, this thread's own writes included.
        """
        with self.reading() as connection:
            outermost = getattr(self._moment, "connection", None) is None
            self._moment.connection = connection
            try:
                yield
            finally:
                if outermost:
                    del self._moment.connection

    @contextmanager
    def writing(self, notes: bool = False) -> Iterator[Connection]:
        """A transaction that no other writer runs beside, on the disk when it ends.

        ``notes``: nor one of :meth:`noting`, because it notes something itself.
        """
        with self._explained(), self._turn, write_transaction(self.engine, notes=notes) as connection:
            yield connection

    @contextmanager
    def noting(self) -> Iterator[Connection]:
        """The same for what may be lost when the machine dies, such as leases: it does not wait for the disk."""
        with self._explained(), self._turn, write_transaction(self.engine, durable=False) as connection:
            yield connection

    def flush(self) -> None:
        """SQLite: move the write-ahead log into the file and empty it, so that it holds no erased content either."""
        if self.engine.dialect.name == "sqlite":
            raw = self.engine.raw_connection()
            try:
                raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                raw.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise StoreAwayError(
                f"{self.address}: the database did not answer ({error.orig}); nothing was changed"
            ) from error


def count(connection: Connection, table: Any) -> int:
    """Rows of a table or subquery."""
    return connection.execute(select(func.count()).select_from(table)).scalar_one()


def append_event(connection: Connection, kind: str, **values: Any) -> int:
    """Write one event now; its id."""
    row = insert(events).values(kind=kind, created=time.time(), **values).returning(events.c.id)
    return int(connection.execute(row).scalar_one())


def append_audit(connection: Connection, actor: str, action: str, subject: str = "", detail: str = "") -> None:
    """Write one line of the audit log now."""
    connection.execute(
        insert(audit).values(
            created=time.time(), actor=actor, action=action, subject=subject[:200], detail=detail[:2000]
        )
    )
