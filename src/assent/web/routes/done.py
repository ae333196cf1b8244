"""Nothing is left to answer."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from assent.web.session import Annotator
from assent.web.site import Site, site_of

router = APIRouter()


@router.get("/done", name="done")
def show(request: Request, annotator: Annotator, site: Annotated[Site, Depends(site_of)]) -> Response:
    """Thanks; or, when new questions have come in since, the way back to them."""
    return site.render(request, "done.html", more=not isinstance(site.store.work.take(annotator), str))
