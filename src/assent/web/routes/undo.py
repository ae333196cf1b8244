"""Take back one's last answer, and ask its question again with that answer filled in."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse

from assent.web.session import Annotator, PostedForm
from assent.web.site import Site, site_of

router = APIRouter()


@router.post("/undo", name="undo")
def undo(request: Request, annotator: Annotator, form: PostedForm, site: Annotated[Site, Depends(site_of)]) -> Response:
    """The form names the answer it means, so that a double click takes back one and not two."""
    last = site.store.last_answer(annotator)
    if last is None or str(form.get("event")) != str(last):
        return RedirectResponse(site.path(request, "next"), status_code=303)
    stored = site.store.answer(last)
    site.store.undo(last, annotator)
    if stored is None:
        return RedirectResponse(site.path(request, "next"), status_code=303)
    request.session["draft"] = last
    return RedirectResponse(site.path(request, "rank", question_id=stored.question.id), status_code=303)
