"""What all pages share: the store, the words, the templates."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Depends, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi.templating import Jinja2Templates

from assent import __version__
from assent.errors import StoreAwayError
from assent.feedback.people import Person
from assent.feedback.projects import InstructionVersion
from assent.feedback.questions import DEFAULT_PROJECT, Question
from assent.feedback.store import FeedbackStore
from assent.web import shown
from assent.web.session import csrf_token, person_of

HERE = Path(__file__).parent
_templates = Jinja2Templates(directory=HERE / "templates")
_templates.env.filters["markdown"] = shown.markdown
_templates.env.filters["plain"] = shown.plain
_templates.env.filters["readable"] = shown.readable
_templates.env.filters["day"] = lambda moment: time.strftime("%Y-%m-%d %H:%M", time.gmtime(moment))
_templates.env.tests["folded"] = shown.folded


class Kept:
    """One value that takes long to make: made when it is first asked for, and anew when it has become old.

    It is made in a thread of its own; while it is made anew, all have the old one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._value: Any = None
        self._made = False
        self._until = 0.0
        self._making: Future[None] | None = None

    def get(self, seconds: float, make: Callable[[], Any], wait: float | None = None) -> Any:
        """What ``make`` returned, if that is not more than so many seconds ago, or else what it returned last.

        The first is waited for, ``wait`` seconds at most: ``None`` where it was not ready by then.  What it raises goes
        to those who wait, and whoever asks next has it tried again.
        """
        with self._lock:
            if self._making is None and time.monotonic() >= self._until:
                self._making = Future()
                threading.Thread(target=self._make, args=(self._making, seconds, make), daemon=True).start()
            if self._made:
                return self._value
            making = self._making
        if making is not None:
            try:
                making.result(wait)
            except TimeoutError:
                return None
        return self._value

    def _make(self, making: Future[None], seconds: float, make: Callable[[], Any]) -> None:
        try:
            value = make()
        except BaseException as error:
            with self._lock:
                self._making = None
                unheard = self._made and not isinstance(error, StoreAwayError)
            making.set_exception(error)
            if unheard:
                raise
        else:
            with self._lock:
                self._value, self._made, self._making = value, True, None
                self._until = time.monotonic() + seconds
            making.set_result(None)


class Site:
    """One labelling app: where answers go, what is written over its pages, and who may come in."""

    def __init__(self, store: FeedbackStore, title: str, open_registration: bool) -> None:
        self.store, self.title, self.open_registration = store, title, open_registration
        self._secret = store.secret().encode()
        self._kept: dict[str, Kept] = {}
        self._paths: dict[str, str] = {}

    def path(self, request: Request, name: str, **parameters: Any) -> str:
        """The path of a route, below the proxy's prefix if there is one."""
        if parameters:
            quoted = {key: quote(str(value), safe="") for key, value in parameters.items()}
            path = str(request.app.url_path_for(name, **quoted))
        else:  # a page has a dozen of these, and each is looked for among all routes
            path = self._paths.get(name) or self._paths.setdefault(name, str(request.app.url_path_for(name)))
        return request.scope.get("root_path", "").rstrip("/") + path

    def go(self, request: Request, name: str, **parameters: Any) -> Response:
        """On to another page; a script that asked is told where."""
        path = self.path(request, name, **parameters)
        return JSONResponse({"next": path}) if wants_json(request) else RedirectResponse(path, status_code=303)

    def render(self, request: Request, template: str, status: int = 200, **context: Any) -> Response:
        """A page from a template.  Every template has ``path``, ``csrf`` and who is signed in."""
        with self.store.one_transaction() if template != "error.html" else nullcontext():
            return self._render(request, template, status, context)

    def _render(self, request: Request, template: str, status: int, context: dict[str, Any]) -> Response:
        # The error page must come even when the store does not answer.
        person = person_of(request) if template != "error.html" else getattr(request.state, "person", None)
        working = person is not None and person.role != "viewer" and template != "error.html"
        context = {
            "site": self,
            "version": __version__,
            "path": lambda name, **parameters: self.path(request, name, **parameters),
            "static": lambda file: (
                self.path(request, "health").removesuffix("healthz") + f"static/{file}?{__version__}"
            ),
            "csrf": csrf_token(request),
            "person": person,
            "progress": self.progress(request, person) if working and person else None,
            "last_answer": self.store.last_answer(person.name) if working and person else None,
            "learning": person is not None and template != "error.html" and self.store.lessons.exist(),
            "problem": None,
            **context,
        }
        return _templates.TemplateResponse(request, template, context, status_code=status)

    def project(self, request: Request) -> str:
        """The project that this session works in."""
        chosen = request.session.get("project")
        return chosen if isinstance(chosen, str) else DEFAULT_PROJECT

    def progress(self, request: Request, person: Person) -> Any:
        """How far someone is, with a number of questions that may be seconds old."""
        project = self.project(request)
        size = self.kept(f"size {project}", 5.0, lambda: self.store.work.size(project))
        return self.store.work.progress(person.name, project, size)

    def instructions(self, project: str) -> InstructionVersion:
        """The project's own, or version 0: the built-in rules."""
        found = self.store.projects.instructions(project)
        return found or InstructionVersion(0, default_instructions(), 0.0, "")

    def instructions_for(self, question: Question) -> InstructionVersion:
        """Those that this question brings, else the project's."""
        if question.instructions:
            return InstructionVersion(0, question.instructions, 0.0, "")
        return self.instructions(question.project)

    def kept(self, name: str, seconds: float, make: Callable[[], Any], wait: float | None = None) -> Any:
        """See :meth:`Kept.get`; values are told apart by their names."""
        return self._kept.setdefault(name, Kept()).get(seconds, make, wait)

    def new_key(self, annotator: str, number: int) -> str:
        """Names one answer before it is given: proof that this person was shown this question, and sent once however
        often it is sent."""
        nonce = secrets.token_hex(12)
        return f"{nonce}{self._signature(annotator, number, nonce)}"

    def is_key(self, key: str, annotator: str, number: int) -> bool:
        """True of what :meth:`new_key` made for the same."""
        nonce = key[:24]
        return hmac.compare_digest(key[24:].encode(), self._signature(annotator, number, nonce).encode())

    def _signature(self, annotator: str, number: int, nonce: str) -> str:
        return hmac.new(self._secret, f"{nonce}\n{number}\n{annotator}".encode(), hashlib.sha256).hexdigest()[:40]


def default_instructions() -> str:
    """The built-in annotation rules, Markdown."""
    return (HERE / "instructions.md").read_text(encoding="utf-8")


def wants_json(request: Request) -> bool:
    """True of a request by one of our scripts."""
    return "application/json" in request.headers.get("accept", "")


async def site_of(request: Request) -> Site:
    """The site that this request is for; a FastAPI dependency, of those that need no thread."""
    return request.app.state.site


TheSite = Annotated[Site, Depends(site_of)]
