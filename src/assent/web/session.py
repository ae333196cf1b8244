"""Who is signed in, and that a form came from our own page.

The cookie is signed with a key that the store keeps, and scripts cannot read it.  It holds a random token; who it
stands for is asked of the store at every request, so that signing out, a changed secret or a withdrawn right hold at
once.
"""

from __future__ import annotations

import secrets
import unicodedata
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, HTTPException, Request
from starlette.datastructures import FormData
from starlette.requests import ClientDisconnect

from assent.errors import StoreError
from assent.feedback.people import Person, Role
from assent.feedback.responses import MAX_TEXT
from assent.web.limiting import Limits

MAX_NAME = 80


class SignInRequired(Exception):
    """The page needs someone, and nobody is signed in."""


def person_of(request: Request) -> Person | None:
    """Who is signed in, or ``None``; asked of the store once a request."""
    state = request.state
    if not hasattr(state, "person"):
        token = request.session.get("token")
        state.person = request.app.state.site.store.people.session(token) if isinstance(token, str) else None
    return state.person


def sign_in_as(request: Request, name: str) -> None:
    """A fresh session: what was in the old one, the token against forgery included, is gone."""
    request.session.clear()
    request.session["token"] = request.app.state.site.store.people.open_session(name)


def sign_out(request: Request) -> None:
    """End the session here and in the store."""
    token = request.session.get("token")
    if isinstance(token, str):
        request.app.state.site.store.people.close_session(token)
    request.session.clear()


def one_of(*roles: Role) -> Callable[[Request], Person]:
    """A FastAPI dependency: who is signed in, if in one of these roles; else status 403."""

    def check(request: Request) -> Person:
        person = person_of(request)
        if person is None:
            raise SignInRequired
        if person.role not in roles:
            raise HTTPException(403, "This page is not for you. Ask an administrator if it should be.")
        return person

    return check


def clean_name(typed: str) -> str:
    """A name as it is kept: one form for what looks the same.  Raises :class:`StoreError` saying what is wrong."""
    name = " ".join(unicodedata.normalize("NFKC", typed).split())
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise StoreError(f"Use a name of 1 to {MAX_NAME} printable characters.")
    return name


def csrf_token(request: Request) -> str:
    """The token that every form of this session carries."""
    return request.session.setdefault("csrf", secrets.token_urlsafe(24))


async def checked_form(request: Request) -> FormData:
    """The posted form, if it carries this session's token, in itself or in a header.  A FastAPI dependency."""
    if int(request.headers.get("content-length") or 0) > 12 * MAX_TEXT:
        raise HTTPException(413, "This is too long. Shorten it and send it again.")
    limits: Limits = request.app.state.limits
    # Asked before, by the page's own dependency and in a thread; here it would hold up every other request.
    person: Person | None = getattr(request.state, "person", None)
    if person is not None:
        limits.change(person.name)
    try:
        form = await request.form(max_files=0, max_fields=1000, max_part_size=4 * MAX_TEXT)
    except ClientDisconnect:
        raise HTTPException(400, "The connection ended before the form was here.") from None
    given = request.headers.get("x-csrf-token") or form.get("csrf")
    expected = request.session.get("csrf")
    if not isinstance(given, str) or not expected or not secrets.compare_digest(given.encode(), expected.encode()):
        raise HTTPException(
            403, "This page was open for too long, or in another session. Go back, reload it, and send it again."
        )
    return form


def field(form: FormData, name: str) -> str:
    """A field of a form as text; empty where it is missing."""
    value = form.get(name)
    return value if isinstance(value, str) else ""


def described(**fields: str) -> dict[str, Any]:
    """For ``openapi_extra``: the fields of a form, by name what they hold."""
    properties = {name: {"type": "string", "description": text} for name, text in fields.items()}
    schema = {"type": "object", "properties": properties}
    return {"requestBody": {"content": {"application/x-www-form-urlencoded": {"schema": schema}}}}


Anyone = Annotated[Person, Depends(one_of("admin", "annotator", "viewer"))]
Annotator = Annotated[Person, Depends(one_of("admin", "annotator"))]
Viewer = Annotated[Person, Depends(one_of("admin", "viewer"))]
Admin = Annotated[Person, Depends(one_of("admin"))]
PostedForm = Annotated[FormData, Depends(checked_form)]
