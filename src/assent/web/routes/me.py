"""Oneself: how far one is, what one says of oneself, one's secret."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from starlette.datastructures import FormData

from assent.errors import StoreError
from assent.feedback.people import Person
from assent.web.limiting import Limits
from assent.web.routes.join import about_from
from assent.web.session import Anyone, PostedForm, described, field, sign_in_as
from assent.web.site import Site, TheSite

router = APIRouter()


@router.get("/me", name="me")
def show(request: Request, person: Anyone, site: TheSite) -> Response:
    """What is known of the person signed in, and of nobody else."""
    return site.render(request, "me.html", about=person.about)


@router.post("/me", openapi_extra=described(languages="Own words.", field="Own words.", group="Own words."))
def describe(request: Request, person: Anyone, form: PostedForm, site: TheSite) -> Response:
    """Change what one says of oneself."""
    try:
        site.store.people.describe(person.name, about_from(form))
    except StoreError as error:
        return site.render(request, "me.html", status=422, about=person.about, problem=str(error))
    return site.go(request, "me")


@router.post("/me/secret", name="secret", openapi_extra=described(old="The secret until now.", secret="The new one."))
async def change(request: Request, person: Anyone, form: PostedForm, site: TheSite) -> Response:
    """Change one's secret; every other session ends."""
    limits: Limits = request.app.state.limits
    return await limits.hashing(_change, request, person, form, site)


def _change(request: Request, person: Person, form: FormData, site: Site) -> Response:
    limits: Limits = request.app.state.limits
    limits.attempt("secret " + person.name)
    known = not person.has_secret or site.store.people.check_secret(person.name, field(form, "old")) is not None
    try:
        if not known:
            raise StoreError("The secret until now is not right.")
        site.store.people.set_secret(person.name, field(form, "secret"))
    except StoreError as error:
        return site.render(request, "me.html", status=422, about=person.about, problem=str(error))
    sign_in_as(request, person.name)
    return site.go(request, "me")
