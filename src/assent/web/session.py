"""Who is signed in, and that a form came from our own page.

The session is a cookie, signed with a key that the store keeps; scripts cannot read it.  A name is all that signing in
takes: it tells annotators apart, it does not keep anyone out.  Put a proxy that asks for a password in front where that
matters.
"""

from __future__ import annotations

import secrets
import unicodedata
from typing import Annotated

from fastapi import Depends, HTTPException, Request
from starlette.datastructures import FormData

from assent.feedback.answers import ERASED
from assent.feedback.simulate import PREFIX as SIMULATED

MAX_NAME = 80


class SignInRequired(Exception):
    """The page needs a name, and nobody is signed in."""


def annotator_of(request: Request) -> str | None:
    """The name signed in, or ``None``."""
    return request.session.get("annotator")


def signed_in(request: Request) -> str:
    """The name signed in; without one the app goes to the sign-in page.  A FastAPI dependency."""
    name = annotator_of(request)
    if name is None:
        raise SignInRequired
    return name


def clean_name(typed: str) -> str:
    """A name as it is kept: one form for what looks the same.  Raises ``ValueError`` saying what is wrong with it."""
    name = " ".join(unicodedata.normalize("NFC", typed).split())
    if not name:
        raise ValueError("Type your name first.")
    if len(name) > MAX_NAME or not name.isprintable():
        raise ValueError(f"Use a name of at most {MAX_NAME} printable characters.")
    if name.lower().startswith((SIMULATED, ERASED)):
        raise ValueError(f"Names that begin with “{name.split(':')[0]}:” are not for people. Use another one.")
    return name


def csrf_token(request: Request) -> str:
    """The token that every form of this session carries."""
    return request.session.setdefault("csrf", secrets.token_urlsafe(24))


async def checked_form(request: Request) -> FormData:
    """The posted form, if it carries this session's token.  A FastAPI dependency."""
    form = await request.form(max_files=0, max_fields=1000)
    given, expected = form.get("csrf"), request.session.get("csrf")
    if not isinstance(given, str) or not expected or not secrets.compare_digest(given.encode(), expected.encode()):
        raise HTTPException(
            403, "This page was open for too long, or in another session. Go back, reload it, and send it again."
        )
    return form


Annotator = Annotated[str, Depends(signed_in)]
PostedForm = Annotated[FormData, Depends(checked_form)]
