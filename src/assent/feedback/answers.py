"""One annotator's answer to a question, on its way into the store and out of it as records that training reads."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from assent.errors import StoreError
from assent.feedback.questions import Question, display_order
from assent.feedback.responses import (
    Best,
    Labels,
    Preference,
    Ranks,
    Ratings,
    Response,
    Rewritten,
    Written,
    checked,
    fields_of,
)
from assent.types import Demonstration, Judgement, Ranking, RankingKind

ERASED = "erased:"
"""Begins the pseudonym that an erased person's tombstones keep."""
SIMULATED = "simulated:"
"""Begins the name of every simulated annotator, and of nobody else."""
JUDGE = "judge:"
"""Begins the name of a language model that was asked; its answers fill no question's overlap."""
FAILED = "failed"
"""The criterion of the judgement that an answer failed, where it was to be rated or labelled."""
Who = Literal["people", "simulated", "judge"]
MAX_NAME = 200
MAX_NOTE = 10_000
MAX_KEY = 80


@dataclass(frozen=True, slots=True)
class Answer:
    """What one person says to one question."""

    question_id: str
    annotator: str
    response: Response
    order: tuple[int, ...] | None = None
    """[K] indices into the question's answers as shown; ``None``: as :func:`display_order` says."""
    seconds: float | None = None
    """From question shown to answer given; ``None`` where that was not measured."""
    note: str = ""
    instructions: str | None = None
    """The text the annotator could read, Markdown; ``None``: the question's own."""
    supersedes: int | None = None
    """The event of this annotator's standing answer that this one corrects; ``None`` for a first answer."""
    created: float | None = None
    """Seconds since the epoch, UTC; ``None``: now."""
    key: str | None = None
    """What the sender named it: the same annotator's answer of the same key is kept once, however often it is sent."""


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """An answer as the store keeps it."""

    event: int
    question: Question
    annotator: str
    response: Response
    order: tuple[int, ...]
    """[K] indices into the question's answers, as they were shown."""
    seconds: float | None
    note: str
    created: float
    instructions_id: str
    """Of what the annotator could read; :meth:`FeedbackStore.instructions_text` has the text."""
    standing: bool = True
    """False once it was corrected or undone."""

    def ranking(self) -> Ranking | None:
        """The order it puts answers in; ``None`` where it puts none.

        A preference ranks its two answers 1 and 2.  The best of K has rank 1 and the rest rank 2, which says nothing of
        the rest among themselves: such a ranking is of kind "best".
        """
        match self.response:
            case Ranks(ranks):
                return self._ranking(ranks, "ranking")
            case Preference(strength, failed):
                ranks = (1, 1) if strength == 0 else (1, 2) if strength < 0 else (2, 1)
                return self._ranking(_without(ranks, failed), "pairwise", float(abs(strength)))
            case Best(best, failed):
                ranks = tuple(1 if position == best else 2 for position in range(len(self.order)))
                return self._ranking(_without(ranks, failed or (False,) * len(ranks)), "best")
            case _:
                return None

    def judgements(self) -> list[Judgement]:
        """A record for each criterion and answer that was rated, for each label, and for each that failed."""
        match self.response:
            case Ratings(scores):
                given = [scores_of or {FAILED: 1} for scores_of in scores]
            case Labels(labels):
                given = [{FAILED: 1} if label is None else {self.question.criterion: label} for label in labels]
            case _:
                return []
        return [
            Judgement(
                id=f"{self.question.id}:{self.event}.{position}.{criterion}",
                prompt=self.question.prompt,
                response=self.question.texts[self.order[position]],
                label=float(label),
                criterion=criterion,
                annotator=self.annotator,
                created=self.created,
                completion_id=self.question.completion_ids[self.order[position]],
            )
            for position, labels_of in enumerate(given)
            for criterion, label in labels_of.items()
        ]

    def demonstration(self) -> Demonstration | None:
        """The text that was written or rewritten, if that was the task."""
        match self.response:
            case Written(text):
                return Demonstration(self.question.prompt, text, self.annotator)
            case Rewritten(text, position):
                return Demonstration(
                    self.question.prompt, text, self.annotator, self.question.completion_ids[self.order[position]]
                )
            case _:
                return None

    def _ranking(self, ranks: tuple[int | None, ...], kind: RankingKind, strength: float | None = None) -> Ranking:
        return Ranking(
            # Question and event: the id leads back to the row.
            id=f"{self.question.id}:{self.event}",
            prompt=self.question.prompt,
            completion_ids=tuple(self.question.completion_ids[i] for i in self.order),
            texts=tuple(self.question.texts[i] for i in self.order),
            ranks=ranks,
            annotator=self.annotator,
            criterion=self.question.criterion,
            seconds=self.seconds,
            created=self.created,
            note=self.note,
            kind=kind,
            strength=strength,
        )


def kind_of(annotator: str) -> Who:
    """What an annotator of this name is: nobody signs in under the name of a program."""
    if annotator.startswith(SIMULATED):
        return "simulated"
    return "judge" if annotator.startswith(JUDGE) else "people"


def check_annotator(name: str) -> str:
    """The name, or a :class:`StoreError` that says why it cannot be one."""
    if not name.strip() or name != name.strip() or len(name) > MAX_NAME or not name.isprintable():
        raise StoreError(
            f"annotator {name[:MAX_NAME]!r}: give a name of 1 to {MAX_NAME} printable characters, no space around it"
        )
    if name.startswith(ERASED):
        raise StoreError(
            f"annotator '{name}': names that begin with '{ERASED}' stand for erased people; choose another"
        )
    return name


def payload_of(answer: Answer, question: Question, instructions_id: str) -> dict[str, Any]:
    """What the event row keeps: everything about the answer that erasing its author takes out."""
    where = f"question {question.id}, annotator '{answer.annotator}'"
    count = len(question.texts)
    order = display_order(question, answer.annotator) if answer.order is None else tuple(answer.order)
    if sorted(order) != list(range(count)):
        raise StoreError(f"{where}: order {list(order)}; expected each of 0 to {count - 1} once")
    response = checked(answer.response, question, where)
    if answer.seconds is not None and not (math.isfinite(answer.seconds) and answer.seconds >= 0):
        raise StoreError(f"{where}: seconds {answer.seconds}; give a finite number from 0, or None")
    if len(answer.note) > MAX_NOTE:
        raise StoreError(f"{where}: a note of {len(answer.note)} characters; shorten it to {MAX_NOTE}")
    if answer.key is not None and not (0 < len(answer.key) <= MAX_KEY and answer.key.isascii()):
        raise StoreError(f"{where}: a key of {len(answer.key)} characters; give 1 to {MAX_KEY} ASCII characters")
    return {
        **fields_of(response),
        "order": list(order),
        "seconds": answer.seconds,
        "note": answer.note,
        "instructions_id": instructions_id,
    }


def details_of(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a :class:`StoredAnswer` that are not the response, out of an event's payload."""
    return {
        "order": tuple(payload["order"]),
        "seconds": payload["seconds"],
        "note": payload["note"],
        "instructions_id": payload["instructions_id"],
    }


def _without(ranks: tuple[int, ...], failed: tuple[bool, ...]) -> tuple[int | None, ...]:
    kept = [rank for rank, bad in zip(ranks, failed, strict=True) if not bad]
    best = min(kept, default=1)
    return tuple(None if bad else rank - best + 1 for rank, bad in zip(ranks, failed, strict=True))
