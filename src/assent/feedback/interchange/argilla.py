"""Argilla 2 datasets as files: the folder that ``Dataset.to_disk`` writes and ``from_disk`` reads, a layout a folder.

A record's ``metadata`` holds, as JSON text under ``assent``, what Argilla's file has no place for: the question, who a
user's number is, the order seen, times, and skips.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from assent.data.parse import checked
from assent.data.rows import Row, read_rows
from assent.errors import DataError
from assent.feedback.answers import Answer
from assent.feedback.interchange.argilla_values import NOTE, questions_of, read_values, write_values
from assent.feedback.interchange.keeping import Item, named
from assent.feedback.interchange.label_studio_config import Layout, answer_name
from assent.feedback.interchange.orders import is_order, put_in_order, reordered
from assent.feedback.interchange.whole import Refusing, Said
from assent.feedback.questions import Question, display_order
from assent.feedback.responses import Skipped
from assent.types import to_json

SHUFFLED_FOR = "argilla"
_USERS = uuid.uuid5(uuid.NAMESPACE_URL, "assent annotators")


def dataset_files(name: str, layout: Layout) -> dict[str, Any]:
    """``.argilla/settings.json`` and ``.argilla/dataset.json`` of a dataset of one layout."""
    chat = {"name": "prompt", "settings": {"type": "chat", "use_markdown": True}, "title": "Prompt", "required": True}
    fields = [chat] + [
        {
            "name": answer_name(position),
            "settings": {"type": "text", "use_markdown": True},
            "title": f"Answer {position + 1}",
            "required": True,
        }
        for position in range(layout.answers)
    ]
    settings = {
        "guidelines": None,
        "questions": questions_of(layout),
        "fields": fields,
        "vectors": [],
        "metadata": [],
        "allow_extra_metadata": True,
        "distribution": {"strategy": "overlap", "min_submitted": 1},
        "mapping": None,
    }
    dataset = {"name": name, "status": "draft", "guidelines": None, "allow_extra_metadata": True}
    return {".argilla/settings.json": settings, ".argilla/dataset.json": dataset}


def record_of(question: Question, answers: Iterable[Said]) -> dict[str, Any]:
    """One record: the prompt as a chat, the answers in one order for all, and a response a person."""
    order = display_order(question, SHUFFLED_FOR)
    layout = Layout.of(question)
    said: dict[str, list[dict[str, Any]]] = {}
    about: dict[str, Any] = {}
    for item in answers:
        answer = item.answer
        user = str(uuid.uuid5(_USERS, answer.annotator))
        about[user] = {"annotator": answer.annotator, **item.about()}
        if isinstance(answer.response, Skipped):
            about[user] |= {"reason": answer.response.reason, "note": answer.note}
            continue
        values = write_values(put_in_order(answer, order), layout)
        for name, value in {**values, **({NOTE: answer.note} if answer.note else {})}.items():
            said.setdefault(name, []).append({"value": value, "user_id": user})
    chat = [{"role": "user", "content": question.prompt.text or ""}]
    if question.prompt.messages is not None:
        chat = [{"role": message.role, "content": message.content} for message in question.prompt.messages]
    shown = {answer_name(position): question.texts[index] for position, index in enumerate(order)}
    own = {"question": to_json(question), "order": list(order), "answers": about}
    return {
        "id": question.id,
        "fields": {"prompt": chat, **shown},
        "metadata": {"question": question.id, "assent": json.dumps(own, ensure_ascii=False, allow_nan=False)},
        "suggestions": {},
        "responses": said,
        "vectors": {},
        "status": "completed" if said else "pending",
        "_server_id": None,
    }


class ArgillaReading(Refusing):
    """Items of a dataset's folder, of a folder of such, or of one ``records.json``."""

    form = "argilla"

    def __iter__(self) -> Iterator[Item]:
        for source in self._sources():
            for row in read_rows(source, refuse=self.refuse_unread):
                self.report.rows += 1
                yield from self._items(row)

    def _sources(self) -> list[Path]:
        path = Path(self.source)
        if not path.is_dir():
            return [path]
        found = [path / "records.json", *sorted(path.glob("*/records.json"))]
        found = [file for file in found if file.is_file() and not file.is_symlink()]
        if not found:
            raise DataError("no records.json in this folder or in one of its folders", path)
        return found

    def _items(self, row: Row) -> Iterator[Item]:
        def refuse(reason: str) -> None:
            self.refuse(row.error(reason))

        try:
            question, order, about = _own(row.values)
        except (ValueError, DataError) as error:
            refuse(str(error))
            return
        question = self.placed(question)
        self.report.records["question"] += 1
        yield Item(question, None, refuse)
        for reason in _not_responses(row.values.get("responses")):
            refuse(reason)
        for user, values in _by_user(row.values.get("responses"), about).items():
            try:
                answer = _answer(question, order, values, about.get(user, {}), user)
            except (ValueError, DataError) as error:
                refuse(f"response of user {user}: {error}")
                continue
            self.report.records["answer"] += 1
            yield Item(question, named(answer, "ar", answer.created), refuse)


def _own(record: Mapping[str, Any]) -> tuple[Question, tuple[int, ...], Mapping[str, Any]]:
    metadata = record.get("metadata")
    text = metadata.get("assent") if isinstance(metadata, Mapping) else None
    try:
        own = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        own = None
    if not isinstance(own, dict) or not isinstance(own.get("question"), dict):
        raise DataError("a record without metadata.assent: its question was not made by this package")
    question = checked(Question, own["question"])
    order = own.get("order")
    if not is_order(order, len(question.texts)):
        raise DataError("metadata.assent: 'order' is not an order of the question's answers")
    about = own.get("answers")
    return question, tuple(order), about if isinstance(about, dict) else {}


def _not_responses(responses: Any) -> Iterator[str]:
    """What of a record's responses cannot be read at all, one sentence each."""
    if responses is not None and not isinstance(responses, Mapping):
        yield f"'responses': expected an object, got {type(responses).__name__}"
    for name, given in responses.items() if isinstance(responses, Mapping) else ():
        if given is not None and not isinstance(given, list):
            yield f"responses to '{name}': expected a list, got {type(given).__name__}"
        for response in given if isinstance(given, list) else ():
            if not isinstance(response, Mapping) or response.get("user_id") in (None, ""):
                yield f"a response to '{name}' is no object with a user_id"


def _by_user(responses: Any, about: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """User to question to value; those who skipped have none."""
    found: dict[str, dict[str, Any]] = {
        user: {} for user, item in about.items() if isinstance(item, dict) and "reason" in item
    }
    for name, given in responses.items() if isinstance(responses, Mapping) else ():
        for response in given if isinstance(given, list) else ():
            if isinstance(response, Mapping) and response.get("user_id") not in (None, ""):
                found.setdefault(str(response.get("user_id")), {})[str(name)] = response.get("value")
    return found


def _answer(question: Question, order: Sequence[int], values: Mapping[str, Any], about: Any, user: str) -> Answer:
    about = about if isinstance(about, Mapping) else {}
    if "reason" in about and not values:
        response: Any = Skipped(str(about["reason"]))
    else:
        response = read_values(values, Layout.of(question))
    seen = about.get("order")
    seen = tuple(seen) if is_order(seen, len(order)) else tuple(order)
    seconds, created, text = about.get("seconds"), about.get("created"), about.get("instructions")
    return Answer(
        question.id,
        str(about.get("annotator") or f"argilla:{user}"),
        reordered(response, order, seen),
        order=seen,
        seconds=float(seconds) if isinstance(seconds, (int, float)) else None,
        instructions=text if isinstance(text, str) else None,
        note=str(values.get(NOTE) or about.get("note") or ""),
        created=float(created) if isinstance(created, (int, float)) else None,
    )
