"""People and invitations, for administrators."""

from __future__ import annotations

from typing import cast

from fastapi import APIRouter, Request, Response
from starlette.datastructures import FormData

from assent.errors import StoreError
from assent.feedback.people import ROLES, Role
from assent.web.session import Admin, PostedForm, clean_name, described, field
from assent.web.site import Site, TheSite

router = APIRouter()


@router.get("/people", name="people")
def show(request: Request, person: Admin, site: TheSite) -> Response:
    """Everybody, and the invitations that are out."""
    return _page(request, site)


@router.post("/people/invite", name="invite", openapi_extra=described(role="A role.", name="Whose.", hours="How long."))
def invite(request: Request, person: Admin, form: PostedForm, site: TheSite) -> Response:
    """Make an invitation; its link is shown this once."""
    try:
        name = clean_name(field(form, "name")) if field(form, "name").strip() else None
        hours = _number(field(form, "hours") or "72")
        token = site.store.people.invite(_role(form), person.name, hours, name, _queues(form))
    except StoreError as error:
        return _page(request, site, problem=str(error))
    link = str(request.url.replace(path=site.path(request, "join", token=token), query=""))
    return _page(request, site, link=link)


@router.post("/people/withdraw", name="withdraw", openapi_extra=described(digest="Of the invitation."))
def withdraw(request: Request, person: Admin, form: PostedForm, site: TheSite) -> Response:
    """End an invitation that was not used."""
    site.store.people.withdraw(field(form, "digest"), person.name)
    return site.go(request, "people")


@router.post(
    "/people/change",
    name="change_person",
    openapi_extra=described(who="Whom.", role="A role.", active="Anything: may sign in.", queues="Commas between."),
)
def change(request: Request, person: Admin, form: PostedForm, site: TheSite) -> Response:
    """Set someone's role, queues, and whether they may sign in."""
    try:
        active = bool(form.get("active"))
        site.store.people.change(field(form, "who"), _role(form), active, _queues(form), person.name)
    except StoreError as error:
        return _page(request, site, problem=str(error))
    return site.go(request, "people")


def _page(request: Request, site: Site, link: str | None = None, problem: str | None = None) -> Response:
    return site.render(
        request,
        "people.html",
        status=422 if problem else 200,
        people=site.store.people.all(),
        invitations=[one for one in site.store.people.invitations() if one.used_by is None],
        roles=ROLES,
        link=link,
        problem=problem,
    )


def _role(form: FormData) -> Role:
    return cast("Role", field(form, "role"))  # the store checks it


def _queues(form: FormData) -> tuple[str, ...]:
    names = tuple(name.strip() for name in field(form, "queues").split(",") if name.strip())
    if len(names) > 100 or any(len(name) > 80 or not name.isprintable() for name in names):
        raise StoreError("Give at most 100 queues, each of at most 80 printable characters.")
    return names


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise StoreError(f"“{text[:40]}” is no number.") from None
