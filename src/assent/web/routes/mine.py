"""One's own answers, each of which may be opened and corrected."""

from fastapi import APIRouter, Request, Response

from assent.web.session import Annotator
from assent.web.site import TheSite

router = APIRouter()
SHOWN = 50


@router.get("/mine", name="mine")
def show(request: Request, person: Annotator, site: TheSite) -> Response:
    """The newest first; nobody else's."""
    with site.store.one_transaction():
        answers = site.store.answers(annotator=person.name, last=SHOWN)[::-1]
        numbers = site.store.work.numbers_of({answer.question.id for answer in answers})
        rows = [(numbers[answer.question.id], answer) for answer in answers]
        return site.render(request, "mine.html", rows=rows, shown=SHOWN)
