"""Is the app up, and does its store answer."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from assent.errors import StoreError
from assent.web.site import Site, site_of

router = APIRouter()


@router.get("/healthz", name="health")
def health(site: Annotated[Site, Depends(site_of)], response: Response) -> dict[str, str]:
    """``{"status": "ok"}`` when the store can be read; otherwise status 503, and what is wrong."""
    try:
        site.store.last_event()
    except StoreError as error:
        response.status_code = 503
        return {"status": str(error)}
    return {"status": "ok"}
