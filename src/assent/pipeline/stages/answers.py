"""Answers of the feedback store as the files that training reads; shared by the stages that ask for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from assent.data.jsonl import write_jsonl
from assent.feedback.answers import StoredAnswer, Who, kind_of
from assent.feedback.questions import Question, subject_of
from assent.feedback.responses import Skipped
from assent.feedback.store import FeedbackStore
from assent.types import Ranking


def answers_of(
    store: FeedbackStore, questions: Sequence[Question], who: Who, upto: int | None = None
) -> list[StoredAnswer]:
    """The standing answers to these questions by annotators of one kind, without those skipped."""
    asked = {content(question) for question in questions}
    return [
        answer
        for answer in store.answers(upto)
        if content(answer.question) in asked
        and kind_of(answer.annotator) == who
        and not isinstance(answer.response, Skipped)
    ]


def content(question: Question) -> tuple[str, frozenset[tuple[str, str]], str, str]:
    """What makes two questions the same, whatever the instructions."""
    on = subject_of(question.prompt.id, question.completion_ids, question.texts, question.criterion)
    return *on, question.task


def write_answers(
    answers: Sequence[StoredAnswer], folder: Path, before: Sequence[Ranking] = ()
) -> dict[str, float | int]:
    """The answers as the records that training reads; a file for each kind that was asked for, and the rankings'.

    ``before``: rankings that are not answers of the store; they come first.
    """
    rankings = [*before, *(ranking for answer in answers if (ranking := answer.ranking()))]
    judgements = [judgement for answer in answers for judgement in answer.judgements()]
    demonstrations = [made for answer in answers if (made := answer.demonstration())]
    write_jsonl(folder / "rankings.jsonl", rankings)
    out: dict[str, float | int] = {"rankings": len(rankings)}
    for name, records in (("judgements", judgements), ("demonstrations", demonstrations)):
        if records:
            out[name] = write_jsonl(folder / f"{name}.jsonl", records)
    ranks = [rank for ranking in rankings for rank in ranking.ranks]
    out["annotators"] = len({answer.annotator for answer in answers} | {ranking.annotator for ranking in before})
    return {**out, "failed_share": sum(rank is None for rank in ranks) / max(1, len(ranks))}
