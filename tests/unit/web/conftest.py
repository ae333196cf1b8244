"""The labelling app over HTTP: a store with a question of each task, and people of each role."""

import re

import pytest
from argon2 import PasswordHasher
from fastapi.testclient import TestClient

from assent.feedback import FeedbackStore
from assent.feedback.questions import TASKS, Question
from assent.types import Message, Prompt
from assent.web.app import create_app
from assent.web.forms import letters

EVIL = "<script>alert('x')</script> & <b>bold</b>"


def question(number, task="ranking", answers=4, **more):
    answers = {"pairwise": 2, "demonstration": 0}.get(task, answers)
    return Question(
        id=f"secret-question-{number}",
        prompt=Prompt(f"secret-prompt-{number}", messages=(Message("user", f"Question {number}? {EVIL}"),)),
        completion_ids=tuple(f"secret-model@7-{number}-{i}" for i in range(answers)),
        texts=tuple(f"text {i} of {number} {EVIL}" for i in range(answers)),
        task=task,
        **more,
    )


@pytest.fixture(autouse=True)
def _quick_hashes(monkeypatch):
    """Secrets are hashed as ever, but by the cheapest argon2id there is."""
    monkeypatch.setattr("assent.feedback.people._hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


class Visitor:
    """A browser: follows redirects, and sends forms as their page would."""

    def __init__(self, client):
        self.http = client

    def __getattr__(self, name):
        return getattr(self.http, name)

    def csrf(self):
        page = self.http.get("/me")
        return re.search(r'name="csrf" value="([^"]+)"', page.text)[1]

    def join(self, store, name, role="annotator"):
        path = f"/join/{store.people.invite(role, 'a test', annotator=name)}"
        token = re.search(r'name="csrf" value="([^"]+)"', self.http.get(path).text)[1]
        assert self.http.post(path, data={"csrf": token}).status_code == 200
        return self

    def send(self, page, *ranks, **fields):
        """The form of a question's page, with ranks in the order shown."""
        hidden = dict(re.findall(r'<input type="hidden" name="(csrf|key|supersedes)" value="([^"]+)"', page.text))
        hidden.pop("event", None)
        given = {f"rank-{name}": rank for name, rank in zip(letters(len(ranks)), ranks, strict=True)}
        return self.http.post(page.url.path, data={**hidden, **given, **fields})


@pytest.fixture
def store(tmp_path):
    with FeedbackStore.open(tmp_path / "feedback.sqlite") as opened:
        opened.add_questions([question(0), question(1)])
        yield opened


@pytest.fixture
def tasks(tmp_path):
    """A store with a question of each task, of the same numbers as the tasks have places."""
    with FeedbackStore.open(tmp_path / "tasks.sqlite") as opened:
        opened.add_questions([question(n, task) for n, task in enumerate(TASKS)])
        yield opened


@pytest.fixture
def visit():
    """Makes visitors of a store's app: ``visit(store, "Ann", "viewer")``; signed in where a name is given."""
    opened = []

    def make(store, name=None, role="annotator", app=None, **options):
        client = TestClient(app or create_app(store, **options), raise_server_exceptions=False)
        opened.append(client)
        visitor = Visitor(client)
        return visitor.join(store, name, role) if name else visitor

    yield make
    for client in opened:
        client.close()
