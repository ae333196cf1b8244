"""A feedback store whose database goes away, or is held by another, for ten seconds."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from assent.errors import StoreError
from assent.feedback.answers import Answer
from assent.feedback.questions import Question
from assent.feedback.responses import Preference
from assent.feedback.store import FeedbackStore
from assent.types import Prompt

Tell = Callable[[str], None]
SERVER = os.environ.get("ASSENT_TEST_POSTGRES", "postgresql+psycopg://postgres@127.0.0.1:5432/postgres")
SECONDS = 10.0


class Proxy:
    """A port that leads to the server, and can be cut: connections break, and new ones are refused."""

    def __init__(self, host: str, port: int) -> None:
        self.target = host, port
        self.pairs: list[socket.socket] = []
        self.listener = self._listen(0)
        self.port = self.listener.getsockname()[1]

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return listener

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
                far = socket.create_connection(self.target)
            except OSError:
                return
            self.pairs += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    @staticmethod
    def _pump(one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(65536):
                other.sendall(data)
        except OSError:
            pass
        for end in (one, other):  # a close alone would leave the other thread in recv, and the connection open
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)  # a close alone leaves a thread in accept, and the port open
        self.listener.close()
        for end in self.pairs:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self.pairs = []

    def mend(self) -> None:
        self.listener = self._listen(self.port)


@pytest.fixture
def proxied() -> Iterator[tuple[Proxy, str]]:
    """A proxy before a database of its own, and the address through it."""
    url, name = make_url(SERVER), f"assent_test_{uuid.uuid4().hex[:12]}"
    server = create_engine(SERVER, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    proxy = Proxy(url.host or "127.0.0.1", url.port or 5432)
    yield proxy, url.set(host="127.0.0.1", port=proxy.port, database=name).render_as_string(hide_password=False)
    with server.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    server.dispose()


def ask(store: FeedbackStore, count: int) -> None:
    store.add_questions(
        Question(f"q{i}", Prompt(f"p{i}", text="a"), ("x", "y"), ("b", "c"), task="pairwise") for i in range(count)
    )


def answer(number: int) -> Answer:
    return Answer(f"q{number}", "ann", Preference(1))


def answered(store: FeedbackStore) -> list[str]:
    return [item.question.id for item in store.answers()]


def cut_while_writing(store: FeedbackStore, proxy: Proxy) -> None:
    with store._database.writing() as connection:
        connection.execute(text("SELECT 1"))
        proxy.cut()
        connection.execute(text("SELECT 1"))


def waited(store: FeedbackStore, number: int) -> float:
    begun = time.monotonic()
    store.add_answers([answer(number)])
    return time.monotonic() - begun


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.fault("the database (PostgreSQL) is gone for ten seconds")
def test_gone(proxied: tuple[Proxy, str], happened: Tell) -> None:
    proxy, address = proxied
    with FeedbackStore.open(address) as store:
        ask(store, 3)
        store.add_answers([answer(0)])
        proxy.cut()
        threading.Timer(SECONDS, proxy.mend).start()
        assert waited(store, 1) >= SECONDS - 1

        with pytest.raises(StoreError) as caught:
            cut_while_writing(store, proxy)
        proxy.mend()
        assert answered(store) == ["q0", "q1"]
        store.add_answers([answer(2)])
        assert answered(store) == ["q0", "q1", "q2"]
    said = re.sub(r"^\S+: ", "", re.sub(r" \(.*\)", "", str(caught.value)))
    happened(
        f"an answer waited, and was kept once when it was back; one in the middle of being written: “assent: {said}”, "
        "and could be given again"
    )


@pytest.mark.slow
@pytest.mark.fault("the feedback store (SQLite) is locked by another program for ten seconds")
def test_locked(tmp_path: Path, happened: Tell) -> None:
    with FeedbackStore.open(tmp_path / "f.db") as store:
        ask(store, 2)
        store.add_answers([answer(0)])
        other = sqlite3.connect(tmp_path / "f.db", isolation_level=None, check_same_thread=False)
        other.execute("BEGIN EXCLUSIVE")
        threading.Timer(SECONDS, lambda: other.execute("ROLLBACK")).start()
        assert answered(store) == ["q0"], "readers do not wait"
        assert waited(store, 1) >= SECONDS - 1
        assert answered(store) == ["q0", "q1"]
        other.close()
    happened("reading went on; an answer waited, and was kept when the lock was gone")
