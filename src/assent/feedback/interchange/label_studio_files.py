"""Files of Label Studio's tasks: its JSON export, and what it imports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from assent.data.rows import Row, read_rows
from assent.errors import DataError
from assent.feedback.answers import SIMULATED, kind_of
from assent.feedback.interchange.keeping import Item, named
from assent.feedback.interchange.label_studio import answer_of, order_of, question_of, task_of
from assent.feedback.interchange.whole import Refusing, Said
from assent.feedback.questions import Question


class TaskReading(Refusing):
    """Items of a file of tasks, each annotation and prediction an answer."""

    form = "label-studio"

    def __iter__(self) -> Iterator[Item]:
        for row in read_rows(self.source, refuse=self.refuse_unread):
            self.report.rows += 1

            def refuse(reason: str, row: Row = row) -> None:
                self.refuse(row.error(reason))

            try:
                question = question_of(row.values)
                order = order_of(row.values, question)
            except DataError as error:
                refuse(str(error))
                continue
            question = self.placed(question)
            self.report.records["question"] += 1
            yield Item(question, None, refuse)
            for name in ("annotations", "predictions"):
                for reason in _no_objects(row.values, name):
                    refuse(reason)
            for annotation, annotator in _said(row.values):
                try:
                    answer = answer_of(annotation, question, order, annotator)
                except DataError as error:
                    refuse(f"annotation by '{annotator}': {error}")
                    continue
                self.report.records["answer"] += 1
                yield Item(question, named(answer, "ls", answer.created), refuse)


def _said(task: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], str]]:
    for annotation in _objects(task.get("annotations")):
        by = annotation.get("completed_by")
        if isinstance(by, Mapping):
            by = by.get("email") or by.get("id")
        yield annotation, str(by) if by not in (None, "") else "label-studio"
    for prediction in _objects(task.get("predictions")):
        name = str(prediction.get("model_version") or "label-studio")
        yield prediction, name if kind_of(name) == "judge" else f"{SIMULATED}{name}"


def _no_objects(task: Mapping[str, Any], name: str) -> Iterator[str]:
    """What of the answers in a task cannot be read at all, one sentence each."""
    value = task.get(name)
    if value is not None and not isinstance(value, list):
        yield f"'{name}': expected a list of objects, got {type(value).__name__}"
    for item in value if isinstance(value, list) else []:
        if not isinstance(item, Mapping):
            yield f"'{name}': expected an object, got {type(item).__name__}"


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def task_row(question: Question, said: Sequence[Said]) -> dict[str, Any]:
    """The task of a question, with its annotations and predictions, and all that an import needs."""
    return task_of(question, said, whole=True)
