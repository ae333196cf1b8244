"""Human feedback: questions, the store that keeps people's answers, and what becomes of them.  Loads without torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from assent.feedback.adjudication import adjudicate
    from assent.feedback.answers import Answer, StoredAnswer
    from assent.feedback.comparisons import comparisons_from_rankings
    from assent.feedback.questions import Criterion, Question, display_order, questions_from_completions
    from assent.feedback.responses import Best, Labels, Preference, Ranks, Ratings, Rewritten, Skipped, Written
    from assent.feedback.simulate import SimulatedAnnotator
    from assent.feedback.store import FeedbackStore

# Loaded when first asked for: the statistics need scipy, which takes longer to load than the labelling app.
_LAZY = {
    "Answer": "answers",
    "Best": "responses",
    "Criterion": "questions",
    "FeedbackStore": "store",
    "Labels": "responses",
    "Preference": "responses",
    "Question": "questions",
    "Ranks": "responses",
    "Ratings": "responses",
    "Rewritten": "responses",
    "SimulatedAnnotator": "simulate",
    "Skipped": "responses",
    "StoredAnswer": "answers",
    "Written": "responses",
    "adjudicate": "adjudication",
    "comparisons_from_rankings": "comparisons",
    "display_order": "questions",
    "questions_from_completions": "questions",
}

__all__ = [
    "Answer",
    "Best",
    "Criterion",
    "FeedbackStore",
    "Labels",
    "Preference",
    "Question",
    "Ranks",
    "Ratings",
    "Rewritten",
    "SimulatedAnnotator",
    "Skipped",
    "StoredAnswer",
    "Written",
    "adjudicate",
    "comparisons_from_rankings",
    "display_order",
    "questions_from_completions",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
