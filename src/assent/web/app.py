"""The labelling app as one ASGI application over a feedback store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware.sessions import SessionMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from assent.errors import UserError
from assent.feedback.store import FeedbackStore
from assent.types import short_id
from assent.web.routes import ALL_ROUTES
from assent.web.session import SignInRequired
from assent.web.site import HERE, Site

SECURITY_HEADERS = {
    # Nothing from elsewhere, nothing inline: an answer that slipped through escaping could still run no script.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def create_app(
    store: FeedbackStore,
    instructions: str | None = None,
    title: str = "assent",
    root_path: str = "",
    https: bool = False,
) -> FastAPI:
    """The app.  The store stays the caller's to close.

    ``instructions`` is Markdown for questions that bring none of their own; ``None`` takes the built-in rules.
    ``root_path`` is the prefix under which a proxy serves the app (``/label``).  ``https``: people reach it through
    HTTPS only, so its cookie may be marked secure.
    """
    app = FastAPI(title=title, openapi_url=None, docs_url=None, redoc_url=None)
    app.state.site = Site(store, default_instructions() if instructions is None else instructions, title)
    secret = store.secret()
    app.add_middleware(
        SessionMiddleware,
        secret_key=secret,
        # Browsers share cookies between the ports of a host: two stores labelled side by side need two names.
        session_cookie="assent_" + short_id("cookie", secret),
        same_site="strict",
        https_only=https,
    )
    app.middleware("http")(_secure)
    app.add_middleware(UnderPrefix, root_path=root_path.rstrip("/"))
    for router in ALL_ROUTES:
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    app.add_exception_handler(SignInRequired, _to_sign_in)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(UserError, _user_error)
    return app


class UnderPrefix:
    """Lets the app be reached under a prefix, whether or not the proxy in front cuts it off.

    The server's own setting for this holds only for proxies that do.
    """

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self.app, self.root_path = app, root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on, with ``root_path`` set and part of the path, as ASGI has it."""
        if self.root_path and scope["type"] == "http":
            path: str = scope["path"]
            inside = path == self.root_path or path.startswith(self.root_path + "/")
            scope = {**scope, "root_path": self.root_path, "path": path if inside else self.root_path + path}
        await self.app(scope, receive, send)


def default_instructions() -> str:
    """The built-in annotation rules, Markdown."""
    return (HERE / "instructions.md").read_text(encoding="utf-8")


async def _secure(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await call_next(request)
    response.headers.update(SECURITY_HEADERS)
    # Pages show one person's work; only the static files may be kept, and are asked for again.
    static = request.url.path.startswith(request.scope.get("root_path", "") + "/static/")
    response.headers["Cache-Control"] = "no-cache" if static else "no-store"
    return response


def _to_sign_in(request: Request, _: Exception) -> Response:
    site: Site = request.app.state.site
    return RedirectResponse(site.path(request, "sign_in"), status_code=303)


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = "There is no such page." if error.status_code == 404 and error.detail == "Not Found" else error.detail
    site: Site = request.app.state.site
    return site.render(request, "error.html", status=error.status_code, message=message)


def _user_error(request: Request, error: Exception) -> Response:
    site: Site = request.app.state.site
    return site.render(request, "error.html", status=409, message=str(error))
