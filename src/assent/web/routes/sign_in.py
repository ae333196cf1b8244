"""Sign in by typing a name; sign out."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse

from assent.web.session import PostedForm, annotator_of, clean_name
from assent.web.site import Site, site_of

router = APIRouter()
TheSite = Annotated[Site, Depends(site_of)]


@router.get("/sign-in", name="sign_in")
def show(request: Request, site: TheSite) -> Response:
    """The form, over the instructions."""
    if annotator_of(request):
        return RedirectResponse(site.path(request, "next"), status_code=303)
    return site.render(request, "sign_in.html")


@router.post("/sign-in")
def sign_in(request: Request, site: TheSite, form: PostedForm) -> Response:
    """Take the name, in a fresh session."""
    typed = str(form.get("name", ""))
    try:
        name = clean_name(typed)
    except ValueError as error:
        return site.render(request, "sign_in.html", status=422, problem=str(error), typed=typed)
    request.session.clear()
    request.session["annotator"] = name
    return RedirectResponse(site.path(request, "next"), status_code=303)


@router.post("/sign-out", name="sign_out")
def sign_out(request: Request, site: TheSite, form: PostedForm) -> Response:
    """Forget the name."""
    request.session.clear()
    return RedirectResponse(site.path(request, "sign_in"), status_code=303)
