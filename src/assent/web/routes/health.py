"""Is the app up, and does its store answer."""

from fastapi import APIRouter, Response

from assent.errors import StoreError
from assent.web.site import TheSite

router = APIRouter()


@router.get("/healthz", name="health", responses={503: {"description": "The store does not answer."}})
def health(site: TheSite, response: Response) -> dict[str, str]:
    """``{"status": "ok"}`` when the store can be read; otherwise status 503."""
    try:
        site.store.last_event()
    except StoreError:
        response.status_code = 503
        # Anyone may ask: the address of the database is not for anyone.
        return {"status": "the store does not answer"}
    return {"status": "ok"}
