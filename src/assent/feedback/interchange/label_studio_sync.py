"""A store's questions to a Label Studio server, and the answers given there back: as often as one likes."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from assent.errors import DataError, ExchangeError
from assent.feedback.answers import Answer, StoredAnswer, kind_of
from assent.feedback.interchange.keeping import Item, Keeper, Kept, named, said
from assent.feedback.interchange.label_studio import answer_of, order_of, task_of
from assent.feedback.interchange.label_studio_api import LabelStudio
from assent.feedback.interchange.label_studio_config import Layout
from assent.feedback.questions import Question
from assent.feedback.store import FeedbackStore
from assent.types import short_id

_LONGEST = 25
_TITLE = re.compile(r"(?P<name>.+) (?P<task>[a-z]+) \d+ [0-9a-f]{6}")
"""Of a project made here: name, kind of task, answers a question, and a digest of configuration and instructions."""


@dataclass
class Pushed:
    """What went to the server."""

    projects: int = 0
    """New ones."""
    tasks: int = 0
    """New ones."""
    there: int = 0
    """Questions that were there already."""

    def lines(self) -> list[str]:
        """For people."""
        return [f"{self.tasks} new tasks in {self.projects} new projects; {self.there} questions were there"]


@dataclass
class Pulled:
    """What came back."""

    tasks: int = 0
    kept: Kept = field(default_factory=Kept)
    corrected: int = 0
    """Answers that were changed there since they were last pulled; they supersede."""
    doubled: int = 0
    """Annotations that the same person made again, of which the newest counts."""
    drafts: int = 0
    """Begun and not submitted."""
    refused: list[str] = field(default_factory=list[str])
    """Each annotation that is no answer (yet), where it is, and why."""

    def lines(self) -> list[str]:
        """For people."""
        counts = (
            (self.corrected, "corrected"),
            (self.doubled, "superseded by a later one of the same person"),
            (self.drafts, "drafts not submitted"),
        )
        more = "".join(f", {count} {what}" for count, what in counts if count)
        first = f"{self.tasks} tasks: {self.kept.answers} new answers, {self.kept.known} known{more}"
        return [first, *(f"  left there: {reason}" for reason in self.refused)]


def push(store: FeedbackStore, server: LabelStudio, questions: Iterable[Question], name: str = "assent") -> Pushed:
    """Make a task of each question that has no human answer here and no task there.

    Questions of one layout and one text of instructions share a project, which is made where it is missing.  A task
    that somebody deleted there is made again, as long as its question has no answer.
    """
    _check(name)
    done = {a.question.id for a in store.answers() if kind_of(a.annotator) == "people"}
    groups: dict[tuple[Layout, str], list[Question]] = {}
    for question in questions:
        groups.setdefault((Layout.of(question), question.instructions), []).append(question)
    report = Pushed()
    known = {str(project.get("title")): int(project["id"]) for project in server.projects()}
    for (layout, instructions), several in groups.items():
        wanted = {question.id: question for question in several if question.id not in done}
        config = layout.config()
        title = f"{name} {layout.task} {layout.answers} {short_id(config, instructions)[:6]}"
        there: set[str] = set()
        if title in known:
            there = {str(task["data"].get("question")) for task in _tasks(server, known[title])}
        missing = [question for key, question in wanted.items() if key not in there]
        report.there += len(several) - len(missing)
        if not missing:
            continue
        if title not in known:
            known[title] = server.create_project(title, config, instructions)
            report.projects += 1
        server.add_tasks(known[title], [{"data": task_of(question)["data"]} for question in missing])
        report.tasks += len(missing)
    return report


def pull(store: FeedbackStore, server: LabelStudio, name: str = "assent") -> Pulled:
    """Bring the answers of the projects of this name into the store.

    Pulling again adds nothing; an annotation that was changed there supersedes what it said before; what was deleted
    there stays here.  An unfinished annotation, and one of a question that this store does not have, is left and told.
    """
    _check(name)
    report = Pulled()
    known = {question.id: question for question in store.questions()}
    standing = {(answer.question.id, answer.annotator): answer for answer in store.answers()}
    people = _people(server)
    newest: dict[tuple[str, str], tuple[Answer, str]] = {}
    for project in server.projects():
        found = _TITLE.fullmatch(str(project.get("title")))
        if found is None or found["name"] != name:
            continue
        for task in _tasks(server, int(project["id"])):
            report.tasks += 1
            report.drafts += _count(task.get("drafts"))
            where = f"{server.url}/projects/{project['id']}/data?task={task['id']}"
            for answer in _answers(task, known, people, where, report.refused):
                key = (answer.question_id, answer.annotator)
                before = newest.get(key)
                report.doubled += before is not None
                if before is None or (answer.created or 0) >= (before[0].created or 0):
                    newest[key] = answer, where
    _keep(store, known, newest.values(), standing, report)
    return report


def _keep(
    store: FeedbackStore,
    known: Mapping[str, Question],
    newest: Iterable[tuple[Answer, str]],
    standing: Mapping[tuple[str, str], StoredAnswer],
    report: Pulled,
) -> None:
    keeper = Keeper(store, report.kept)
    for answer, where in newest:
        before = standing.get((answer.question_id, answer.annotator))
        if before is not None:
            if (
                said(before.response, before.order) == said(answer.response, answer.order)
                and before.note == answer.note
            ):
                report.kept.known += 1
                continue
            if (answer.created or 0) <= before.created:
                report.refused.append(f"{where}: '{answer.annotator}' answered it here later, and otherwise")
                continue
            answer = dataclasses.replace(answer, supersedes=before.event)
            report.corrected += 1
        answer = named(answer, "ls", answer.created)
        keeper.take(Item(known[answer.question_id], answer, _teller(report, where)))
    keeper.finish()
    report.kept.answers -= report.corrected


def _teller(report: Pulled, where: str) -> Any:
    return lambda reason: report.refused.append(f"{where}: {reason}")


def _answers(
    task: Mapping[str, Any], known: Mapping[str, Question], people: Mapping[int, str], where: str, refused: list[str]
) -> Iterator[Answer]:
    annotations = task.get("annotations")
    if not isinstance(annotations, list) or not annotations:
        return
    number = str(task["data"].get("question"))
    if number not in known:
        refused.append(
            f"{where}: {len(annotations)} annotations of question '{number}', which this store does not have"
        )
        return
    question = known[number]
    for annotation in annotations:
        by = _author(annotation, people)
        try:
            yield answer_of(annotation, question, order_of(task, question), by)
        except DataError as error:
            refused.append(f"{where}: annotation by '{by}': {error}")


def _author(annotation: Mapping[str, Any], people: Mapping[int, str]) -> str:
    by = annotation.get("completed_by")
    if isinstance(by, Mapping):
        by = by.get("email") or by.get("id")
    return people.get(by, f"label-studio:{by}") if isinstance(by, int) else str(by)


def _people(server: LabelStudio) -> dict[int, str]:
    try:
        return server.users()
    except ExchangeError:  # those who may only label may not list people: numbers will do
        return {}


def _tasks(server: LabelStudio, project: int) -> Iterator[dict[str, Any]]:
    for task in server.tasks(project):
        yield task if isinstance(task.get("data"), dict) else {**task, "data": {}}


def _count(value: Any) -> int:
    return len(value) if isinstance(value, Sequence) and not isinstance(value, str) else 0


def _check(name: str) -> None:
    if not name.strip() or len(name) > _LONGEST or not name.isprintable():
        raise ExchangeError(f"'{name[:_LONGEST]}' names no projects in Label Studio; give 1 to {_LONGEST} characters")
