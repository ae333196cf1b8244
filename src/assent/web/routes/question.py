"""A question, whatever its task: a prompt, K answers under letters, a form.

The page knows answers by letter only, and the question by a number.  Ids, and with them the models, stay in the store.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Request, Response

from assent.errors import StoreAwayError, StoreError
from assent.feedback.answers import MAX_NOTE, Answer, StoredAnswer
from assent.feedback.people import Person
from assent.feedback.questions import Question, display_order
from assent.feedback.responses import MAX_TEXT
from assent.web.forms import SKIP_REASONS, Fields, Incomplete, fields_from, filled_in, letters, response_from
from assent.web.session import Annotator, PostedForm, described, field
from assent.web.site import Site, TheSite

router = APIRouter()
Number = Annotated[int, Path(ge=1, le=2**53)]
TITLES = {
    "ranking": "Rank the answers",
    "pairwise": "Which answer is better?",
    "best": "Choose the best answer",
    "rating": "Rate the answers",
    "label": "Label the answers",
    "rewrite": "Write a better answer",
    "demonstration": "Write the answer",
}


@dataclass(frozen=True)
class Open:
    """A question that someone may answer, and what they see of it."""

    number: int
    question: Question
    order: tuple[int, ...]
    taken: float | None
    """``None`` when an answer is edited, or comes after its lease was given away."""
    before: StoredAnswer | None
    """Their standing answer, which a new one supersedes."""


@router.get("/questions/{number}", name="question")
def show(request: Request, number: Number, person: Annotator, site: TheSite) -> Response:
    """The question of this number, if it was given to this annotator; their own answer filled in, if they gave one."""
    with site.store.one_transaction():
        found = _open(site, person, number)
        if found is None:
            return site.go(request, "next")
        fields: Fields = {}
        earlier = found.before or _draft(request, site, found, person)
        if earlier is not None:
            fields = {**fields_from(earlier.response, found.question), "note": earlier.note}
        return _page(request, site, found, person, fields)


@router.post(
    "/questions/{number}",
    openapi_extra=described(
        key="Names the answer, so that one sent twice is kept once.",
        note="Free text.",
        skip="Anything: no answer is given, for the reason in `reason`.",
        reason="Why it is skipped.",
        text="What was written.",
        strength="-3 to 3.",
        best="A letter, or none.",
        supersedes="The event of the answer that this one corrects.",
        **{"rank-A": "1 to K, or F.", "label-A": "An index, or F.", "score-A-0": "A number.", "failed-A": "Anything."},
    ),
)
def keep(request: Request, number: Number, person: Annotator, form: PostedForm, site: TheSite) -> Response:
    """Keep the answer and go on; with something missing, say what and show the page again as it was filled in."""
    key = field(form, "key")
    with site.store.one_transaction():
        found = _open(site, person, number, shown_before=site.is_key(key, person.name, number))
        if found is None:
            raise HTTPException(409, "This question was not given to you. Go on to the next one.")
        instructions = site.instructions_for(found.question).text
    note = field(form, "note").replace("\r\n", "\n").strip()
    try:
        if len(note) > MAX_NOTE:
            raise Incomplete(f"The note has {len(note)} characters; shorten it to {MAX_NOTE}.")
        response = response_from(form, found.question)
        _, turn = site.store.answer_and_take(
            Answer(
                question_id=found.question.id,
                annotator=person.name,
                response=response,
                order=found.order,
                seconds=_seconds(found),
                note=note,
                instructions=instructions,
                supersedes=_supersedes(field(form, "supersedes")),
                key=key if site.is_key(key, person.name, number) else None,
            ),
            site.project(request),
            person.queues,
        )
    except StoreAwayError:
        raise
    except Incomplete as error:
        return _page(request, site, found, person, filled_in(form), str(error))
    except StoreError as error:
        if found.before is not None and not field(form, "supersedes"):
            # Sent from two pages: the first one counts, and can be edited or undone.
            return site.go(request, "next")
        return _page(request, site, found, person, filled_in(form), str(error))
    request.session.pop("draft", None)
    return site.go(request, "next") if isinstance(turn, str) else site.go(request, "question", number=turn.number)


def _open(site: Site, person: Person, number: int, shown_before: bool = False) -> Open | None:
    turn = site.store.work.holds(person.name, number)
    if turn is not None:
        return Open(number, turn.question, display_order(turn.question, person.name), turn.taken, None)
    question_id = site.store.work.question_id(number)
    if question_id is None:
        raise HTTPException(404, "There is no such question.")
    event = site.store.last_answer(person.name, question_id)
    before = None if event is None else site.store.answer(event)
    if before is not None:
        return Open(number, before.question, before.order, None, before)
    if not shown_before:
        return None
    question = site.store.question(question_id)
    return Open(number, question, display_order(question, person.name), None, None)


def _supersedes(given: str) -> int | None:
    if not given:
        return None
    if not (given.isascii() and given.isdigit() and len(given) < 16):
        raise Incomplete("This page is not one of ours. Reload it.")
    return int(given)


def _seconds(found: Open) -> float | None:
    if found.taken is None:
        return None if found.before is None else found.before.seconds
    return max(0.0, time.time() - found.taken)


def _draft(request: Request, site: Site, found: Open, person: Person) -> StoredAnswer | None:
    """What the annotator had answered before they took it back, if that is why they are here."""
    event = request.session.get("draft")
    stored = site.store.answer(event) if isinstance(event, int) else None
    same = stored is not None and stored.annotator == person.name and stored.question.id == found.question.id
    return stored if same and stored is not None and stored.order == found.order else None


def _page(
    request: Request,
    site: Site,
    found: Open,
    person: Person,
    fields: Mapping[str, str],
    problem: str | None = None,
) -> Response:
    question = found.question
    prompt = question.prompt
    names = letters(len(found.order))
    instructions = site.instructions_for(question)
    return site.render(
        request,
        "question.html",
        status=422 if problem else 200,
        number=found.number,
        question=question,
        heading=TITLES[question.task],
        turns=[("prompt", prompt.text)] if prompt.messages is None else [(m.role, m.content) for m in prompt.messages],
        answers=[(name, question.texts[i]) for name, i in zip(names, found.order, strict=True)],
        fields=fields,
        key=fields.get("key") or site.new_key(person.name, found.number),
        before=found.before,
        problem=problem,
        instructions=instructions,
        reasons=SKIP_REASONS,
        max_note=MAX_NOTE,
        max_text=MAX_TEXT,
    )
