"""The form ``store``: questions and answers as the store has them, with all that belongs to them, one a line."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from assent.data.forms.base import nested
from assent.data.forms.reading import Report
from assent.data.parse import checked
from assent.data.rows import Row, read_rows, stop
from assent.errors import DataError
from assent.feedback.answers import Answer, StoredAnswer
from assent.feedback.interchange.keeping import Item, named
from assent.feedback.questions import DEFAULT_PROJECT, Question
from assent.feedback.responses import RESPONSES, fields_of, response_of
from assent.feedback.store import FeedbackStore
from assent.types import to_json

_ANSWER = frozenset({"kind", "annotator", "order", "seconds", "note", "created", "instructions"})


class Refusing:
    """What readers of whole questions share: the report, and the refusal of a row."""

    def __init__(
        self,
        source: str | Path,
        project: str = DEFAULT_PROJECT,
        *,
        strict: bool = False,
        told: Callable[[DataError], Any] | None = None,
    ) -> None:
        """``project`` holds the questions whose file names none or the default one."""
        self.source, self.project = source, project
        self._strict, self._told = strict, told
        self.report = Report(str(source), self.form)

    form = ""

    def refuse(self, error: DataError) -> None:
        """Count a row out and say so; raise where the reading is strict."""
        if self._strict:
            stop(error)
        self.report.refuse(error, self._told)

    def refuse_unread(self, error: DataError) -> None:
        """The same for a row that could not be read at all, and so is not among the report's yet."""
        self.report.rows += 1
        self.refuse(error)

    def placed(self, question: Question) -> Question:
        """The question in the project asked for."""
        if self.project == DEFAULT_PROJECT or question.project != DEFAULT_PROJECT:
            return question
        return dataclasses.replace(question, project=self.project)


class WholeReading(Refusing):
    """Items of a file that :func:`whole_row` made."""

    form = "store"

    def __iter__(self) -> Iterator[Item]:
        for row in read_rows(self.source, refuse=self.refuse_unread):
            self.report.rows += 1
            try:
                question, answers = _parts(row)
                answers = [named(answer, "st", answer.created) for answer in answers]
            except ValueError as error:
                self.refuse(row.error(str(error)))
                continue
            except DataError as error:
                self.refuse(error if error.line else row.error(str(error)))
                continue
            question = self.placed(question)
            self.report.records["question"] += 1
            self.report.records["answer"] += len(answers)

            def refuse(reason: str, row: Row = row) -> None:
                self.refuse(row.error(reason))

            yield Item(question, None, refuse)
            for answer in answers:
                yield Item(question, answer, refuse)


@dataclasses.dataclass(frozen=True, slots=True)
class Said:
    """An answer with the text of the instructions that were seen; ``None``: the question's own."""

    answer: StoredAnswer
    instructions: str | None

    def about(self) -> dict[str, Any]:
        """What other tools have no place for."""
        answer = self.answer
        own = {"order": list(answer.order), "seconds": answer.seconds, "created": answer.created}
        return own if self.instructions is None else {**own, "instructions": self.instructions}


def said_in(store: FeedbackStore, project: str | None) -> Iterator[tuple[Question, list[Said]]]:
    """Each question with what was said to it, streamed."""
    texts: dict[str, str] = {}

    def said(answer: StoredAnswer) -> Said:
        if answer.instructions_id not in texts:
            texts[answer.instructions_id] = store.instructions_text(answer.instructions_id)
        seen = texts[answer.instructions_id]
        return Said(answer, None if seen == answer.question.instructions else seen)

    for question, answers in store.stream_answered(project):
        yield question, [said(answer) for answer in answers]


def whole_row(question: Question, said: Iterable[Said]) -> dict[str, Any]:
    """A question, and its standing answers with the instructions that were seen."""
    answers = [
        {
            "kind": item.answer.response.kind,
            "annotator": item.answer.annotator,
            **fields_of(item.answer.response),
            "note": item.answer.note,
            **item.about(),
        }
        for item in said
    ]
    return {"question": to_json(question), "answers": answers}


def _parts(row: Row) -> tuple[Question, list[Answer]]:
    own = nested(row, "question")
    if not isinstance(own, Mapping):
        raise ValueError("no question in this row; the form store has {question, answers}, as an export of it makes")
    question = checked(Question, own)
    answers = nested(row, "answers")
    answers = [] if answers is None or answers == "" else answers
    if not isinstance(answers, list) or not all(isinstance(answer, Mapping) for answer in answers):
        raise ValueError("'answers': expected a list of objects")
    return question, [_answer(question, answer) for answer in answers]


def _answer(question: Question, given: Mapping[str, Any]) -> Answer:
    kind = given.get("kind")
    if not isinstance(kind, str) or kind not in RESPONSES:
        raise ValueError(f"an answer of kind {kind!r}; expected one of {', '.join(RESPONSES)}")
    fields = {item.name for item in dataclasses.fields(RESPONSES[kind])}
    if unknown := sorted(set(given) - fields - _ANSWER):
        raise ValueError(f"an answer with a field '{unknown[0]}' that is not of its kind")
    response = response_of(kind, {name: value for name, value in given.items() if name in fields})
    about = {name: value for name, value in given.items() if name in _ANSWER - {"kind"}}
    checked(type(response), fields_of(response))
    blank = Answer(question.id, "", response)
    return dataclasses.replace(checked(_About, about).onto(blank), response=response)


@dataclasses.dataclass(frozen=True, slots=True)
class _About:
    """What an answer's row says beside the response."""

    annotator: str
    order: tuple[int, ...] | None = None
    seconds: float | None = None
    note: str = ""
    created: float | None = None
    instructions: str | None = None

    def onto(self, answer: Answer) -> Answer:
        return dataclasses.replace(answer, **{item.name: getattr(self, item.name) for item in dataclasses.fields(self)})
