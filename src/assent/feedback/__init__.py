"""Human feedback: questions, the store that keeps people's answers, and what becomes of them.  Loads without torch."""

from assent.feedback.adjudication import adjudicate
from assent.feedback.agreement import agreement
from assent.feedback.comparisons import comparisons_from_rankings
from assent.feedback.questions import Question, display_order, questions_from_completions
from assent.feedback.reliability import reliability
from assent.feedback.simulate import SimulatedAnnotator
from assent.feedback.store import Answer, FeedbackStore, StoredAnswer

__all__ = [
    "Answer",
    "FeedbackStore",
    "Question",
    "SimulatedAnnotator",
    "StoredAnswer",
    "adjudicate",
    "agreement",
    "comparisons_from_rankings",
    "display_order",
    "questions_from_completions",
    "reliability",
]
