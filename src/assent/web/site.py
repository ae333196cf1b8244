"""What all pages share: the store, the words, the templates."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.templating import Jinja2Templates
from markdown_it import MarkdownIt
from markupsafe import Markup

from assent import __version__
from assent.feedback.store import FeedbackStore
from assent.web.session import annotator_of, csrf_token

HERE = Path(__file__).parent
_templates = Jinja2Templates(directory=HERE / "templates")  # escapes everything in .html
_markdown = MarkdownIt("commonmark", {"html": False}).enable("table")


@dataclass(frozen=True)
class Site:
    """One labelling app: where answers go, and what is written over its pages."""

    store: FeedbackStore
    instructions: str
    """Markdown, for questions that bring no instructions of their own."""
    title: str

    def path(self, request: Request, name: str, **parameters: Any) -> str:
        """The path of a route, below the proxy's prefix if there is one."""
        quoted = {key: quote(str(value), safe="") for key, value in parameters.items()}
        return request.scope.get("root_path", "").rstrip("/") + str(request.app.url_path_for(name, **quoted))

    def render(self, request: Request, template: str, status: int = 200, **context: Any) -> Response:
        """A page from a template.  Every template has ``path``, ``markdown``, ``csrf`` and who is signed in."""
        annotator = annotator_of(request)
        # The error page must come even when the store does not answer.
        asking = annotator if template != "error.html" else None
        context = {
            "site": self,
            "version": __version__,
            "path": lambda name, **parameters: self.path(request, name, **parameters),
            "static": lambda file: (
                self.path(request, "health").removesuffix("healthz") + f"static/{file}?{__version__}"
            ),
            "markdown": markdown,
            "csrf": csrf_token(request),
            "annotator": annotator,
            "progress": _progress(self.store, asking) if asking else None,
            "last_answer": self.store.last_answer(asking) if asking else None,
            "instructions": self.instructions,
            **context,
        }
        return _templates.TemplateResponse(request, template, context, status_code=status)


def _progress(store: FeedbackStore, annotator: str) -> tuple[int, int]:
    progress = store.work.progress(annotator)
    return progress.answered, progress.questions


def markdown(text: str) -> Markup:
    """CommonMark to HTML; raw HTML in the text is shown as text."""
    return Markup(_markdown.render(text))


def site_of(request: Request) -> Site:
    """The site that this request is for; a FastAPI dependency."""
    return request.app.state.site
