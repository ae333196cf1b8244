"""Questions as Label Studio's tasks, answers as its annotations and predictions, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from assent.data.parse import checked
from assent.errors import DataError
from assent.feedback.answers import SIMULATED, Answer, kind_of
from assent.feedback.interchange.label_studio_config import Layout, answer_name
from assent.feedback.interchange.label_studio_results import read_result, write_result
from assent.feedback.interchange.orders import is_order, put_in_order, reordered
from assent.feedback.interchange.whole import Said
from assent.feedback.questions import Question, display_order
from assent.feedback.responses import MAX_REASON, Skipped
from assent.types import short_id, to_json

SHUFFLED_FOR = "label-studio"
"""All annotators of a task see one order there; it is drawn for this name."""
_SKIPPED = "skipped in Label Studio"


def task_of(question: Question, answers: Iterable[Said] = (), *, whole: bool = False) -> dict[str, Any]:
    """One task: what the page shows, and the answers that are there.

    ``whole`` adds the question itself, so that a file of tasks is all that an import needs; without it the task names
    nothing but the question's id, as those who label must not see what an answer came from.  Answers of simulated
    annotators are predictions.  Label Studio shows one order to all: ranks are put into it, and the order that an
    annotator saw here goes into the annotation's ``meta``.
    """
    order = display_order(question, SHUFFLED_FOR)
    data: dict[str, Any] = {"question": question.id, "order": list(order), "dialogue": _dialogue(question)}
    shown = [question.texts[i] for i in order]
    data |= {answer_name(position): text for position, text in enumerate(shown)}
    data["answers"] = [
        {"id": answer_name(position), "title": f"Answer {position + 1}", "body": text}
        for position, text in enumerate(shown)
    ]
    task: dict[str, Any] = {"data": data}
    if whole:
        task["meta"] = {"assent": to_json(question)}
    people, programs = [], []
    for answer in answers:
        by_program = kind_of(answer.answer.annotator) != "people"
        (programs if by_program else people).append(_annotation(answer, question, order))
    return {**task, "annotations": people, "predictions": [_prediction(item) for item in programs]}


def _dialogue(question: Question) -> list[dict[str, str]]:
    if question.prompt.messages is None:
        return [{"author": "", "text": question.prompt.text or ""}]
    return [{"author": message.role, "text": message.content} for message in question.prompt.messages]


def _annotation(item: Said, question: Question, order: Sequence[int]) -> dict[str, Any]:
    answer = item.answer
    response = put_in_order(answer, order)
    skipped = isinstance(answer.response, Skipped)
    return {
        "completed_by": {"email": answer.annotator},
        "result": write_result(response, Layout.of(question), answer.note),
        "was_cancelled": skipped,
        "lead_time": answer.seconds,
        "created_at": datetime.fromtimestamp(answer.created, UTC).isoformat(),
        "updated_at": datetime.fromtimestamp(answer.created, UTC).isoformat(),
        "meta": {
            "assent": {
                **item.about(),
                **({"reason": answer.response.reason} if isinstance(answer.response, Skipped) else {}),
            }
        },
    }


def _prediction(annotation: Mapping[str, Any]) -> dict[str, Any]:
    name = annotation["completed_by"]["email"].removeprefix(SIMULATED)
    return {"model_version": name, **{key: annotation[key] for key in ("result", "created_at", "meta")}}


def question_of(task: Mapping[str, Any]) -> Question:
    """The question of a task that was made with ``whole``; one made elsewhere is a ranking of its list of answers.

    Raises :class:`DataError` for a task that is neither.
    """
    meta = task.get("meta")
    own = meta.get("assent") if isinstance(meta, Mapping) else None
    if isinstance(own, Mapping):
        try:
            return checked(Question, own)
        except ValueError as error:
            raise DataError(f"meta.assent: {error}") from None
    raise DataError("a task without meta.assent: no question of this package; import it through a project of its own")


def order_of(task: Mapping[str, Any], question: Question) -> tuple[int, ...]:
    """The order that the task showed."""
    data = task.get("data")
    order = data.get("order") if isinstance(data, Mapping) else None
    if not is_order(order, len(question.texts)):
        raise DataError("data.order is not an order of the question's answers")
    return tuple(order)


def answer_of(
    annotation: Mapping[str, Any], question: Question, order: Sequence[int], annotator: str, key: str | None = None
) -> Answer:
    """The answer that an annotation or prediction gives.  ``order``: what its task showed.

    Raises :class:`DataError` where it is not finished, or not of the question's kind.
    """
    result = annotation.get("result")
    if not isinstance(result, list) or not all(isinstance(region, Mapping) for region in result):
        raise DataError("'result' is not a list of regions")
    own = _own(annotation)
    note = ""
    if annotation.get("was_cancelled") or "reason" in own:  # a prediction knows no cancelling
        response: Any = Skipped(str(own.get("reason") or _SKIPPED)[:MAX_REASON])
    else:
        response, note = read_result(result, Layout.of(question))
    seen = tuple(order)
    if is_order(own.get("order"), len(seen)):
        seen = tuple(own["order"])
        response = reordered(response, order, seen)
    seconds, text = annotation.get("lead_time", own.get("seconds")), own.get("instructions")
    return Answer(
        question.id,
        annotator,
        response,
        order=seen,
        seconds=float(seconds) if isinstance(seconds, (int, float)) and 0 <= seconds < 1e9 else None,
        note=note,
        instructions=text if isinstance(text, str) else None,
        created=_created(annotation, own),
        key=key or f"ls:{short_id(question.id, annotator, result, bool(annotation.get('was_cancelled')))}",
    )


def _own(annotation: Mapping[str, Any]) -> Mapping[str, Any]:
    meta = annotation.get("meta")
    own = meta.get("assent") if isinstance(meta, Mapping) else None
    return own if isinstance(own, Mapping) else {}


def _created(annotation: Mapping[str, Any], own: Mapping[str, Any]) -> float | None:
    if isinstance(own.get("created"), (int, float)):
        return float(own["created"])
    for name in ("updated_at", "created_at"):
        if isinstance(annotation.get(name), str):
            try:
                return datetime.fromisoformat(annotation[name]).timestamp()
            except ValueError:
                continue
    return None
