"""The instructions as a page of their own, for browsers without scripts and for printing."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from assent.web.site import Site, site_of

router = APIRouter()


@router.get("/instructions", name="instructions")
def show(request: Request, site: Annotated[Site, Depends(site_of)]) -> Response:
    """Anyone may read them before signing in."""
    return site.render(request, "instructions.html")
