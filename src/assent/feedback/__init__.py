"""Human feedback: questions, the store that keeps people's answers, and what becomes of them.  Loads without torch."""

from assent.feedback.adjudication import adjudicate
from assent.feedback.agreement import agreement
from assent.feedback.answers import Answer, StoredAnswer
from assent.feedback.comparisons import comparisons_from_rankings
from assent.feedback.questions import Criterion, Question, display_order, questions_from_completions
from assent.feedback.reliability import reliability
from assent.feedback.responses import Best, Labels, Preference, Ranks, Ratings, Rewritten, Skipped, Written
from assent.feedback.simulate import SimulatedAnnotator
from assent.feedback.store import FeedbackStore

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
    "agreement",
    "comparisons_from_rankings",
    "display_order",
    "questions_from_completions",
    "reliability",
]
