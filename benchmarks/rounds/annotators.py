"""Annotators that are programs, at the labelling app through HTTP, as people are through their browsers."""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Callable

import httpx

from assent.feedback.people import Role
from assent.feedback.questions import Question, display_order
from assent.feedback.store import FeedbackStore

HIDDEN = re.compile(r'<input type="hidden" name="(csrf|key)" value="([^"]+)"')
JSON = {"accept": "application/json"}
Prefer = Callable[[Question, tuple[int, ...]], int]
"""Of a question and the order shown: the strength of the preference, -3 (the first) to 3 (the second)."""


class Annotator(threading.Thread):
    """Joins, answers what it is given, and sends again what was not acknowledged, until it is told to stop."""

    def __init__(self, base: str, store: str, name: str, prefer: Prefer, think: float, most: float = math.inf) -> None:
        """``base`` is the app's address, ``store`` its store's; ``think`` seconds pass between two answers, and there
        are at ``most`` so many."""
        super().__init__(daemon=True)
        self.base, self.address, self.annotator, self.prefer, self.think = base, store, name, prefer, think
        self.most = most
        self.acknowledged: list[float] = []
        """Moments (``time.monotonic``) at which an answer was acknowledged."""
        self.stop = threading.Event()

    def run(self) -> None:
        with FeedbackStore.open(self.address) as store, httpx.Client(base_url=self.base, timeout=30.0) as client:
            client.follow_redirects = True
            join(client, self.address, self.annotator, "annotator")
            while len(self.acknowledged) < self.most and not self.stop.is_set():
                self._answer(client, store)

    def _answer(self, client: httpx.Client, store: FeedbackStore) -> None:
        page = sent(client, "GET", "/next")
        fields = dict(HIDDEN.findall(page.text))
        held = store.work.holds(self.annotator, int(page.url.path.rsplit("/", 1)[1])) if "key" in fields else None
        if held is None:
            self.stop.wait(0.2)  # there is no question yet
            return
        strength = self.prefer(held.question, display_order(held.question, self.annotator))
        if not self.stop.wait(self.think):
            sent(client, "POST", page.url.path, {**fields, "strength": str(strength)})
            self.acknowledged.append(time.monotonic())


def join(client: httpx.Client, store: str, name: str, role: Role) -> None:
    """Sign in by an invitation."""
    with FeedbackStore.open(store) as opened:
        path = f"/join/{opened.people.invite(role, 'a program', annotator=name)}"
    sent(client, "POST", path, dict(HIDDEN.findall(sent(client, "GET", path).text)))


def sent(client: httpx.Client, method: str, path: str, data: dict[str, str] | None = None) -> httpx.Response:
    """The reply, asked for again while the app is away; an answer that carries a key is kept once."""
    while True:
        try:
            headers = JSON if data and "key" in data else {}
            return client.request(method, path, data=data, headers=headers).raise_for_status()
        except httpx.TransportError:
            time.sleep(0.2)
