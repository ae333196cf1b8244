"""What is learned of the answers while they are given.  For everybody: annotators see the effect of their work."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from assent.feedback.lessons import Learning
from assent.web.pictures import Mark, curve
from assent.web.session import Anyone
from assent.web.site import TheSite, wants_json

if TYPE_CHECKING:
    from assent.feedback.figures import LearningPoint

router = APIRouter()


@router.get("/live", name="live")
def show(request: Request, person: Anyone, site: TheSite) -> Response:
    """How far the reward model is, how well it foresaw the answers, and which policy they are about.

    A program is told the same in JSON.
    """
    learning = site.store.lessons.newest()
    points = _points(learning)
    if wants_json(request):
        latest = points[-1].accuracy.value if points else None
        learned, policy = (learning.learned, learning.policy) if learning else (0, 0)
        return JSONResponse({"learned": learned, "policy": policy, "accuracy": latest})
    marks = [Mark(str(point.last), point.accuracy.value, point.accuracy.low, point.accuracy.high) for point in points]
    picture = curve(marks, "Share of comparisons foreseen, by answers learned")
    return site.render(request, "live.html", learning=learning, points=points, picture=picture)


def _points(learning: Learning | None) -> list[LearningPoint]:
    if learning is None:
        return []
    # Loaded when it is first looked at: its statistics take longer to load than the app.
    figures = import_module("assent.feedback.figures")
    return figures.learning_curve(learning.recent, learning.learned)
