"""How the work goes: coverage, agreement, people, disagreements.  For administrators and viewers."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response

from assent.feedback.answers import StoredAnswer
from assent.feedback.work import Coverage
from assent.types import Ranking
from assent.web.pictures import Mark, bars, curve, whiskers
from assent.web.session import Viewer
from assent.web.site import Site, TheSite

if TYPE_CHECKING:
    from assent.feedback.figures import AgreementPoint, AnnotatorFigures, Disagreement

router = APIRouter()
NEWEST = 5_000
"""Answers that the figures are of: more would change little and take long."""
KEPT_SECONDS = 60.0
WAIT_SECONDS = 0.05
"""How long the first one to look waits for figures; a page that says that they come is ready then."""


@dataclass(frozen=True)
class Figures:
    """All that the page shows, of one moment."""

    moment: float
    coverage: Coverage
    answers: int
    skips: list[tuple[str, int]]
    per_day: float
    agreement: list[AgreementPoint]
    people: list[AnnotatorFigures]
    gold: dict[str, tuple[float, int]]
    groups: dict[str, Any]
    disagreements: list[Disagreement]
    by_day: list[tuple[str, int]]


@router.get("/dashboard", name="dashboard")
def show(request: Request, person: Viewer, site: TheSite) -> Response:
    """The figures of the newest answers, made anew once they are a minute old."""
    project = site.project(request)
    figures: Figures | None = site.kept(
        f"dashboard {project}", KEPT_SECONDS, lambda: _figures(site, project), WAIT_SECONDS
    )
    if figures is None:
        return site.render(request, "soon.html", project=project)
    return site.render(
        request,
        "dashboard.html",
        project=project,
        figures=figures,
        newest=NEWEST,
        pictures=_pictures(figures),
        texts={ranking.id: _order(ranking) for item in figures.disagreements for ranking in item.rankings},
    )


def _figures(site: Site, project: str) -> Figures:
    answers = [answer for answer in site.store.answers(last=NEWEST) if answer.question.project == project]
    rankings = [ranking for answer in answers if (ranking := answer.ranking()) is not None]
    about = {person.name: asdict(person.about) for person in site.store.people.all()}
    now = time.time()
    # Loaded when a dashboard is first looked at: its statistics take longer to load than the app.
    figures = import_module("assent.feedback.figures")
    return Figures(
        moment=now,
        coverage=site.store.work.coverage(project),
        answers=len(answers),
        skips=_skips(answers),
        per_day=sum(now - 7 * 86400 < answer.created for answer in answers) / 7,
        agreement=figures.agreement_over_time(rankings),
        people=figures.annotator_figures(rankings),
        gold=site.store.work.gold_scores(),
        groups=figures.group_disagreement(rankings, about),
        disagreements=figures.disagreements(rankings, limit=10),
        by_day=_by_day(answers, now),
    )


def _skips(answers: list[StoredAnswer]) -> list[tuple[str, int]]:
    reasons: dict[str, int] = {}
    for answer in answers:
        if answer.response.kind == "skip":
            reason = getattr(answer.response, "reason", "")
            reasons[reason] = reasons.get(reason, 0) + 1
    return sorted(reasons.items(), key=lambda item: (-item[1], item[0]))[:10]


def _by_day(answers: list[StoredAnswer], now: float) -> list[tuple[str, int]]:
    days = [time.strftime("%m-%d", time.gmtime(now - 86400 * back)) for back in range(13, -1, -1)]
    counts = dict.fromkeys(days, 0)
    for answer in answers:
        day = time.strftime("%m-%d", time.gmtime(answer.created))
        if now - answer.created < 14 * 86400 and day in counts:
            counts[day] += 1
    return list(counts.items())


def _pictures(figures: Figures) -> dict[str, str]:
    agreed = [(point.end, point.agreement.alpha) for point in figures.agreement if point.agreement.alpha is not None]
    days = len({time.strftime("%Y-%m-%d", time.gmtime(end)) for end, _ in agreed})
    form = "%m-%d" if days > 1 else "%H:%M"
    trusted = [
        Mark(one.name, one.reliability.right.value, one.reliability.right.low, one.reliability.right.high)
        for one in figures.people
        if one.reliability is not None
    ]
    first = [
        Mark(one.name, mark.value, mark.low, mark.high)
        for one in figures.people
        if (mark := one.bias.first_shown) is not None
    ]
    longer = [
        Mark(one.name, mark.value, mark.low, mark.high)
        for one in figures.people
        if (mark := one.bias.longer) is not None
    ]
    return {
        "agreement": curve(
            [Mark(time.strftime(form, time.gmtime(end)), mark.value, mark.low, mark.high) for end, mark in agreed],
            "Krippendorff's alpha over time",
        ),
        "reliable": whiskers(trusted, 0.5, "Probability of being right of two answers, by annotator"),
        "first": whiskers(first, 0.5, "Share of pairs in which the answer shown first won, by annotator"),
        "longer": whiskers(longer, 0.5, "Share of pairs in which the longer answer won, by annotator"),
        "days": bars(figures.by_day, "Answers a day"),
    }


def _order(ranking: Ranking) -> str:
    """The answers of a ranking in words, numbered alike for all annotators: 2 > 1 = 3, F: 4."""
    names = {completion: str(index + 1) for index, completion in enumerate(sorted(ranking.completion_ids))}
    by_rank: dict[int, list[str]] = {}
    failed: list[str] = []
    for completion, rank in zip(ranking.completion_ids, ranking.ranks, strict=True):
        (failed if rank is None else by_rank.setdefault(rank, [])).append(names[completion])
    order = " > ".join(" = ".join(sorted(by_rank[rank])) for rank in sorted(by_rank))
    return order + (f"{', ' if order else ''}F: {', '.join(sorted(failed))}" if failed else "")
