"""The labelling app as one ASGI application over a feedback store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import to_thread
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware.sessions import SessionMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from assent import __version__
from assent.errors import StoreAwayError, UserError
from assent.feedback.store import FeedbackStore
from assent.types import short_id
from assent.web.limiting import Limits
from assent.web.routes import ALL_ROUTES
from assent.web.session import SignInRequired
from assent.web.site import HERE, Site, wants_json

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

THREADS = 16


def create_app(
    store: FeedbackStore,
    title: str = "assent",
    root_path: str = "",
    https: bool = False,
    open_registration: bool = False,
) -> FastAPI:
    """The app.  The store stays the caller's to close.

    ``root_path`` is the prefix under which a proxy serves the app (``/label``).  ``https``: people reach it through
    HTTPS only, so its cookie may be marked secure.  ``open_registration``: whoever reaches it may become an annotator;
    else only by an invitation.
    """
    app = FastAPI(
        title=title, version=__version__, openapi_url=None, docs_url=None, redoc_url=None, lifespan=_few_threads
    )
    app.state.site = Site(store, title, open_registration)
    app.state.limits = Limits()
    secret = store.secret()
    app.add_middleware(
        SessionMiddleware,
        secret_key=secret,
        # Browsers share cookies between the ports of a host: two stores labelled side by side need two names.
        session_cookie="assent_" + short_id("cookie", secret),
        same_site="strict",
        https_only=https,
        max_age=30 * 86400,
    )
    app.add_middleware(Secured)
    app.add_middleware(UnderPrefix, root_path=root_path.rstrip("/"))
    for router in ALL_ROUTES:
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    app.add_exception_handler(SignInRequired, _to_sign_in)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _not_valid)
    app.add_exception_handler(UserError, _user_error)
    app.add_exception_handler(StoreAwayError, _away)
    return app


@asynccontextmanager
async def _few_threads(_: FastAPI) -> AsyncIterator[None]:
    # Pages are made in threads that wait for each other: more of them make each slower, and none sooner.
    to_thread.current_default_thread_limiter().total_tokens = THREADS
    yield


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


class Secured:
    """Puts the security headers on every reply."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on, and the reply back with its headers."""
        # Pages show one person's work; only the static files may be kept, and are asked for again.
        static = scope["type"] == "http" and scope["path"].startswith(scope.get("root_path", "") + "/static/")

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers[name] = value
                headers["Cache-Control"] = "no-cache" if static else "no-store"
            await send(message)

        await self.app(scope, receive, with_headers)


def _to_sign_in(request: Request, _: Exception) -> Response:
    site: Site = request.app.state.site
    if wants_json(request):
        return JSONResponse({"problem": "You are signed out. Sign in in another tab, then send again."}, 401)
    return site.go(request, "sign_in")


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = "There is no such page." if error.status_code == 404 and error.detail == "Not Found" else error.detail
    return _problem(request, error.status_code, message, error.headers)


def _not_valid(request: Request, _: Exception) -> Response:
    return _problem(request, 422, "This address or form is not one of ours.")


def _user_error(request: Request, error: Exception) -> Response:
    return _problem(request, 409, str(error))


def _away(request: Request, error: Exception) -> Response:
    # A page that is told so sends its answer again by itself.
    return _problem(request, 503, str(error), {"Retry-After": "5"})


def _problem(request: Request, status: int, message: str, headers: object = None) -> Response:
    site: Site = request.app.state.site
    if wants_json(request):
        response: Response = JSONResponse({"problem": message}, status)
    else:
        response = site.render(request, "error.html", status=status, message=message)
    if isinstance(headers, dict):
        response.headers.update(headers)
    return response
