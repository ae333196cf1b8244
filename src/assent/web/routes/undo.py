"""Take back one's last answer, and ask its question again with that answer filled in."""

from fastapi import APIRouter, Request, Response

from assent.web.session import Annotator, PostedForm, described, field
from assent.web.site import TheSite

router = APIRouter()


@router.post("/undo", name="undo", openapi_extra=described(event="The answer's event."))
def undo(request: Request, person: Annotator, form: PostedForm, site: TheSite) -> Response:
    """The form names the answer it means, so that a double click takes back one and not two."""
    last = site.store.last_answer(person.name)
    if last is None or field(form, "event") != str(last):
        return site.go(request, "next")
    stored = site.store.answer(last)
    site.store.undo(last, person.name)
    if stored is None:
        return site.go(request, "next")
    site.store.work.reopen(person.name, stored.question.id)
    request.session["draft"] = last
    numbers = site.store.work.numbers_of([stored.question.id])
    return site.go(request, "question", number=numbers[stored.question.id])
