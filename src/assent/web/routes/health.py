"""Is the app up, and does its store answer."""

from typing import Annotated

from fastapi import APIRouter, Depends

from assent.web.site import Site, site_of

router = APIRouter()


@router.get("/healthz", name="health")
def health(site: Annotated[Site, Depends(site_of)]) -> dict[str, str]:
    """``{"status": "ok"}`` when the store can be read; an error status otherwise."""
    site.store.last_event()
    return {"status": "ok"}
