"""Sign in by name and secret; sign out."""

from fastapi import APIRouter, Request, Response
from starlette.datastructures import FormData

from assent.errors import StoreAwayError, StoreError
from assent.web.limiting import Limits
from assent.web.session import PostedForm, clean_name, described, field, person_of, sign_in_as, sign_out
from assent.web.site import Site, TheSite

router = APIRouter()


@router.get("/sign-in", name="sign_in")
def show(request: Request, site: TheSite) -> Response:
    """The form."""
    return site.go(request, "home") if person_of(request) else site.render(request, "sign_in.html", typed="")


@router.post("/sign-in", openapi_extra=described(name="Who.", secret="Their secret."))
async def enter(request: Request, site: TheSite, form: PostedForm) -> Response:
    """A right secret opens a fresh session; a wrong one is not told apart from a name that is not known."""
    limits: Limits = request.app.state.limits
    return await limits.hashing(_enter, request, site, form)


def _enter(request: Request, site: Site, form: FormData) -> Response:
    limits: Limits = request.app.state.limits
    typed = field(form, "name")
    limits.attempt("address " + (request.client.host if request.client else ""), "name " + typed[:200])
    try:
        person = site.store.people.check_secret(clean_name(typed), field(form, "secret"))
    except StoreAwayError:
        raise
    except StoreError:
        person = None
    if person is None:
        problem = "This name and secret do not belong together."
        return site.render(request, "sign_in.html", status=403, problem=problem, typed=typed)
    sign_in_as(request, person.name)
    return site.go(request, "home")


@router.post("/sign-out", name="sign_out", openapi_extra=described())
def leave(request: Request, site: TheSite, form: PostedForm) -> Response:
    """End the session."""
    sign_out(request)
    return site.go(request, "sign_in")
