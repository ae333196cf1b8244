"""The instructions as a page of their own, for browsers without scripts and for printing."""

from fastapi import APIRouter, Request, Response

from assent.web.session import Anyone
from assent.web.site import TheSite

router = APIRouter()


@router.get("/instructions", name="instructions")
def show(request: Request, person: Anyone, site: TheSite) -> Response:
    """Those of the project that one works in, as they are now."""
    return site.render(request, "instructions.html", instructions=site.instructions(site.project(request)))
