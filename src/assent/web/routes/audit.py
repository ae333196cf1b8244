"""The audit log, for administrators."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from assent.web.session import Admin
from assent.web.site import TheSite

router = APIRouter()
SHOWN = 100


@router.get("/audit", name="audit")
def show(
    request: Request, person: Admin, site: TheSite, before: Annotated[int | None, Query(ge=1, le=2**53)] = None
) -> Response:
    """The newest first, a page at a time."""
    entries = site.store.people.audit(before, SHOWN)
    return site.render(request, "audit.html", entries=entries, older=entries[-1].id if len(entries) == SHOWN else None)
