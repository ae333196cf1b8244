"""What a person can say to a question, one record a kind of task, and what may be wrong with it.

A response is in the order shown: position 0 is the first answer on the page.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from assent.errors import DataError, StoreError
from assent.feedback.questions import Question, dense_ranks

MAX_TEXT = 1_000_000
"""Characters of a rewrite or a demonstration."""
MAX_REASON = 1_000
SKIP = "skip"
STRONGEST = 3
"""A preference is slight (1), clear (2) or strong (3)."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """A rank for each answer."""

    kind: ClassVar[str] = "ranking"
    ranks: tuple[int | None, ...]
    """[K], 1 is best, equal ranks tie, ``None`` is failed; gaps are closed by the store."""


@dataclass(frozen=True, slots=True)
class Preference:
    """Which of two answers is better, and by how much."""

    kind: ClassVar[str] = "pairwise"
    strength: int
    """-3 to 3: below 0 the first is better, above 0 the second, 0 is a tie."""
    failed: tuple[bool, bool] = (False, False)


@dataclass(frozen=True, slots=True)
class Best:
    """The best of K answers; nothing is said of the others among themselves, but which failed."""

    kind: ClassVar[str] = "best"
    best: int | None
    """Its position; ``None``: all failed."""
    failed: tuple[bool, ...] = ()
    """[K], or empty where none did."""


@dataclass(frozen=True, slots=True)
class Ratings:
    """A number on each criterion for each answer."""

    kind: ClassVar[str] = "rating"
    scores: tuple[Mapping[str, int] | None, ...]
    """[K] criterion to number; ``None``: the answer failed and was not rated."""


@dataclass(frozen=True, slots=True)
class Labels:
    """A label for each answer."""

    kind: ClassVar[str] = "label"
    labels: tuple[int | None, ...]
    """[K] indices into the question's labels; ``None``: the answer failed and was not labelled."""


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A better text for one of the answers."""

    kind: ClassVar[str] = "rewrite"
    text: str
    position: int = 0
    """Of the answer that was rewritten."""


@dataclass(frozen=True, slots=True)
class Written:
    """The annotator's own answer to the prompt."""

    kind: ClassVar[str] = "demonstration"
    text: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """No judgement, and why; the question is not asked of this person again."""

    kind: ClassVar[str] = SKIP
    reason: str


Response = Ranks | Preference | Best | Ratings | Labels | Rewritten | Written | Skipped
RESPONSES: dict[str, type[Any]] = {
    cls.kind: cls for cls in (Ranks, Preference, Best, Ratings, Labels, Rewritten, Written, Skipped)
}
ANSWER_KINDS = tuple(RESPONSES)
"""Events of these kinds are answers."""


def response_of(kind: str, payload: Mapping[str, Any]) -> Response:
    """The record of an answer event."""
    cls = RESPONSES[kind]
    given = {field.name: payload[field.name] for field in dataclasses.fields(cls) if field.name in payload}
    return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in given.items()})


def fields_of(response: Response) -> dict[str, Any]:
    """The part of an event's payload that :func:`response_of` reads."""
    return {
        field.name: list(value) if isinstance(value := getattr(response, field.name), tuple) else value
        for field in dataclasses.fields(response)
    }


def checked(response: Response, question: Question, where: str) -> Response:
    """The response as it is kept, or a :class:`StoreError` that says why it does not fit its question."""
    if not isinstance(response, Skipped) and response.kind != question.task:
        raise StoreError(f"{where}: an answer of kind '{response.kind}' to a question of kind '{question.task}'")
    try:
        return _CHECKS[response.kind](response, question, where)
    except DataError as error:
        raise StoreError(str(error)) from None


def in_store_order(response: Response, order: Sequence[int]) -> Response:
    """The same with positions that count the question's answers as the store has them, not as they were shown."""
    where = {shown: position for position, shown in enumerate(order)}
    back = [where[i] for i in range(len(order))]
    match response:
        case Ranks(ranks):
            return Ranks(tuple(ranks[i] for i in back))
        case Preference(strength, failed):
            return response if back == [0, 1] else Preference(-strength, (failed[1], failed[0]))
        case Best(best, failed):
            return Best(None if best is None else order[best], tuple(failed[i] for i in back) if failed else ())
        case Ratings(scores):
            return Ratings(tuple(scores[i] for i in back))
        case Labels(labels):
            return Labels(tuple(labels[i] for i in back))
        case Rewritten(text, position):
            return Rewritten(text, order[position])
        case _:
            return response


def _ranks(response: Ranks, question: Question, where: str) -> Response:
    _count("ranks", len(response.ranks), question, where, "rank every answer, or give it None")
    return Ranks(dense_ranks(response.ranks, where))


def _preference(response: Preference, question: Question, where: str) -> Response:
    if not _whole(response.strength) or abs(response.strength) > STRONGEST:
        raise StoreError(
            f"{where}: strength {response.strength!r}; give a whole number from -{STRONGEST} to {STRONGEST}"
        )
    _count("marks of failure", len(response.failed), question, where, "give one for each")
    return response


def _best(response: Best, question: Question, where: str) -> Response:
    failed = response.failed or (False,) * len(question.texts)
    _count("marks of failure", len(failed), question, where, "give one for each, or none at all")
    if response.best is None:
        return Best(None, (True,) * len(failed))
    if not _whole(response.best) or not 0 <= response.best < len(failed) or failed[response.best]:
        raise StoreError(f"{where}: best {response.best!r}; give the position of an answer that did not fail")
    return Best(response.best, tuple(map(bool, failed)))


def _ratings(response: Ratings, question: Question, where: str) -> Response:
    _count("ratings", len(response.scores), question, where, "rate every answer, or give it None")
    names = {criterion.name: criterion for criterion in question.criteria}
    for scores in response.scores:
        if scores is None:
            continue
        if set(scores) != set(names):
            raise StoreError(f"{where}: rated {sorted(scores)}; give a number for each of {sorted(names)}")
        for name, value in scores.items():
            low, high = names[name].low, names[name].high
            if not _whole(value) or not low <= value <= high:
                raise StoreError(f"{where}: {name} {value!r}; give a whole number from {low} to {high}")
    return response


def _labels(response: Labels, question: Question, where: str) -> Response:
    _count("labels", len(response.labels), question, where, "label every answer, or give it None")
    for label in response.labels:
        if label is not None and (not _whole(label) or not 0 <= label < len(question.labels)):
            raise StoreError(f"{where}: label {label!r}; give an index into {list(question.labels)}")
    return response


def _rewritten(response: Rewritten, question: Question, where: str) -> Response:
    if not _whole(response.position) or not 0 <= response.position < len(question.texts):
        raise StoreError(f"{where}: position {response.position!r}; give that of the answer that was rewritten")
    if response.text.strip() in {text.strip() for text in question.texts}:
        raise StoreError(f"{where}: the rewrite is the answer itself; change it, or skip the question")
    return _text(response, question, where)


def _text(response: Rewritten | Written, question: Question, where: str) -> Response:
    if not response.text.strip():
        raise StoreError(f"{where}: the text is empty; write one, or skip the question")
    if len(response.text) > MAX_TEXT:
        raise StoreError(f"{where}: a text of {len(response.text)} characters; shorten it to {MAX_TEXT}")
    return response


def _skipped(response: Skipped, question: Question, where: str) -> Response:
    if not response.reason.strip() or len(response.reason) > MAX_REASON:
        raise StoreError(f"{where}: give a reason for skipping, of at most {MAX_REASON} characters")
    return response


_CHECKS: dict[str, Any] = {
    "ranking": _ranks,
    "pairwise": _preference,
    "best": _best,
    "rating": _ratings,
    "label": _labels,
    "rewrite": _rewritten,
    "demonstration": _text,
    SKIP: _skipped,
}


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _count(what: str, given: int, question: Question, where: str, advice: str) -> None:
    if given != len(question.texts):
        raise StoreError(f"{where}: {given} {what} for {len(question.texts)} answers; {advice}")
