"""Come in for the first time: by an invitation's link, or, where registration is open, by oneself."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Request, Response
from starlette.datastructures import FormData

from assent.errors import StoreError
from assent.feedback.people import About, Invitation
from assent.web.limiting import Limits
from assent.web.session import PostedForm, clean_name, described, field, sign_in_as
from assent.web.site import Site, TheSite

router = APIRouter()
Token = Annotated[str, Path(max_length=100)]
FIELDS = described(
    name="Who.", secret="To sign in again.", languages="Own words.", field="Own words.", group="Own words."
)


@router.get("/join/{token}", name="join")
def show(request: Request, token: Token, site: TheSite) -> Response:
    """The form.  Opening the link does not use it up: programs that preview links open it too."""
    invitation = _good(request, site, token)
    return _page(request, site, invitation, token)


@router.post("/join/{token}", openapi_extra=FIELDS)
async def accept(request: Request, token: Token, site: TheSite, form: PostedForm) -> Response:
    """Use the invitation up and sign in."""
    limits: Limits = request.app.state.limits
    return await limits.hashing(_accept, request, token, site, form)


def _accept(request: Request, token: str, site: Site, form: FormData) -> Response:
    invitation = _good(request, site, token)
    try:
        name = invitation.annotator or clean_name(field(form, "name"))
        # An invitation for one name is a way back in for that person; the secret may be left as it is.
        secret = field(form, "secret") or (None if invitation.annotator else "")
        site.store.people.accept(token, name, secret, about_from(form))
    except StoreError as error:
        return _page(request, site, invitation, token, str(error), form)
    sign_in_as(request, name)
    return site.go(request, "home")


@router.get("/register", name="register")
def register(request: Request, site: TheSite) -> Response:
    """The same form, where anyone may come in."""
    _check_open(site)
    return _page(request, site, None, "")


@router.post("/register", openapi_extra=FIELDS)
async def enter(request: Request, site: TheSite, form: PostedForm) -> Response:
    """Make a new annotator and sign in."""
    limits: Limits = request.app.state.limits
    return await limits.hashing(_enter, request, site, form)


def _enter(request: Request, site: Site, form: FormData) -> Response:
    _check_open(site)
    _count(request)
    try:
        name = clean_name(field(form, "name"))
        site.store.people.add(name, "annotator", field(form, "secret"), about_from(form))
    except StoreError as error:
        return _page(request, site, None, "", str(error), form)
    sign_in_as(request, name)
    return site.go(request, "home")


def about_from(form: FormData) -> About:
    """What a form says of its author."""
    return About(*(" ".join(field(form, name).split()) for name in ("languages", "field", "group")))


def _good(request: Request, site: Site, token: str) -> Invitation:
    invitation = site.store.people.invitation(token)
    if invitation is None:
        _count(request)
        raise HTTPException(404, "This invitation was used, withdrawn or has expired. Ask for a new one.")
    return invitation


def _check_open(site: Site) -> None:
    if not site.open_registration:
        raise HTTPException(404, "Registration is not open here. Ask an administrator for an invitation.")


def _count(request: Request) -> None:
    limits: Limits = request.app.state.limits
    limits.attempt("address " + (request.client.host if request.client else ""))


def _page(
    request: Request,
    site: Site,
    invitation: Invitation | None,
    token: str,
    problem: str | None = None,
    form: FormData | None = None,
) -> Response:
    given = {name: field(form, name) for name in ("name", "languages", "field", "group")} if form else {}
    action = site.path(request, "join", token=token) if invitation else site.path(request, "register")
    return site.render(
        request,
        "join.html",
        status=422 if problem else 200,
        invitation=invitation,
        action=action,
        given=given,
        problem=problem,
        about=About(),
    )
