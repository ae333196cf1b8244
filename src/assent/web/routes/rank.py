"""The ranking page: one prompt, K answers, a rank for each.

The page knows answers by letter only.  Completion ids, and with them the models, stay in the store.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import RedirectResponse

from assent.errors import StoreError
from assent.feedback.answers import MAX_NOTE
from assent.feedback.questions import Question, display_order
from assent.web.session import Annotator, PostedForm
from assent.web.site import Site, site_of

router = APIRouter()
TheSite = Annotated[Site, Depends(site_of)]

LETTERS = "ABCDEGHIJKLMOPQRSTUVWXYZ"
"""Without F and N, which are keys for failed and note."""


@dataclass(frozen=True)
class ShownAnswer:
    """One answer as the page has it."""

    letter: str
    text: str
    rank: str
    """What is filled in: "1" to "K", "F" for failed, "" for nothing yet."""


@router.get("/", name="home")
@router.get("/rank", name="next")
def go_on(request: Request, annotator: Annotator, site: TheSite) -> Response:
    """To the next question, or to the end."""
    turn = site.store.work.take(annotator)
    if isinstance(turn, str):
        return RedirectResponse(site.path(request, "done"), status_code=303)
    return RedirectResponse(site.path(request, "rank", question_id=turn.question.id), status_code=303)


@router.get("/rank/{question_id:path}", name="rank")
def show(request: Request, question_id: str, annotator: Annotator, site: TheSite) -> Response:
    """One question, unless this annotator has answered it."""
    question = _question(site, question_id)
    if site.store.last_answer(annotator, question_id) is not None:
        return RedirectResponse(site.path(request, "next"), status_code=303)
    shown = request.session.get("shown")
    if not shown or shown[0] != question_id:
        # A reload does not set the clock back.
        request.session["shown"] = [question_id, time.time()]
    ranks, note = _draft(request, site, question, annotator)
    return _page(request, site, question, annotator, ranks, note)


@router.post("/rank/{question_id:path}")
def keep(request: Request, question_id: str, annotator: Annotator, form: PostedForm, site: TheSite) -> Response:
    """Keep the answer and go on; with something missing, say what and show the page again as it was filled in."""
    question = _question(site, question_id)
    if site.store.last_answer(annotator, question_id) is not None:
        # Sent twice (a double click, or back and again): the first one counts, and Undo is one click away.
        return RedirectResponse(site.path(request, "next"), status_code=303)
    filled = {letter: str(form.get(f"rank-{letter}", "")) for letter in letters(len(question.texts))}
    note = str(form.get("note", "")).replace("\r\n", "\n").strip()
    problem = _problem(filled, note)
    if problem:
        return _page(request, site, question, annotator, filled, note, problem)
    shown = request.session.pop("shown", None)
    request.session.pop("draft", None)
    site.store.add_ranking(
        question_id,
        annotator,
        [None if rank == "F" else int(rank) for rank in filled.values()],
        order=display_order(question, annotator),
        seconds=max(0.0, time.time() - shown[1]) if shown and shown[0] == question_id else None,
        note=note,
        instructions=question.instructions or site.instructions,
    )
    return RedirectResponse(site.path(request, "next"), status_code=303)


def letters(count: int) -> list[str]:
    """Names of the answers in the order shown: A, B, C, D, E, G; past the alphabet A2, B2."""
    return [LETTERS[i % len(LETTERS)] + (str(i // len(LETTERS) + 1) if i >= len(LETTERS) else "") for i in range(count)]


def _question(site: Site, question_id: str) -> Question:
    try:
        return site.store.question(question_id)
    except StoreError:
        raise HTTPException(404, "There is no such question.") from None


def _problem(filled: Mapping[str, str], note: str) -> str | None:
    allowed = {str(rank) for rank in range(1, len(filled) + 1)} | {"F"}
    missing = [letter for letter, rank in filled.items() if rank not in allowed]
    if missing:
        return f"Give answer {', '.join(missing)} a rank from 1 to {len(filled)}, or F."
    if len(note) > MAX_NOTE:
        return f"The note has {len(note)} characters; shorten it to {MAX_NOTE}."
    return None


def _draft(request: Request, site: Site, question: Question, annotator: str) -> tuple[dict[str, str], str]:
    """What the annotator had answered before they took it back, if that is why they are here."""
    event = request.session.get("draft")
    stored = site.store.answer(event) if isinstance(event, int) else None
    ranking = None if stored is None else stored.ranking()
    if stored is None or ranking is None or stored.question.id != question.id or stored.annotator != annotator:
        return {}, ""
    by_index = dict(zip(stored.order, ranking.ranks, strict=True))
    ranks = [by_index[i] for i in display_order(question, annotator)]
    given = ["F" if rank is None else str(rank) for rank in ranks]
    return dict(zip(letters(len(given)), given, strict=True)), stored.note


def _page(
    request: Request,
    site: Site,
    question: Question,
    annotator: str,
    filled: Mapping[str, str],
    note: str,
    problem: str | None = None,
) -> Response:
    order = display_order(question, annotator)
    names = letters(len(order))
    answers = [ShownAnswer(name, question.texts[i], filled.get(name, "")) for name, i in zip(names, order, strict=True)]
    prompt = question.prompt
    return site.render(
        request,
        "rank.html",
        status=422 if problem else 200,
        question_id=question.id,
        turns=[("prompt", prompt.text)] if prompt.messages is None else [(m.role, m.content) for m in prompt.messages],
        criterion=question.criterion,
        answers=answers,
        note=note,
        max_note=MAX_NOTE,
        problem=problem,
        instructions=question.instructions or site.instructions,
    )
