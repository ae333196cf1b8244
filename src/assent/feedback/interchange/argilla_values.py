"""Argilla's questions for each kind of ours, and a response as their values and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from assent.errors import DataError
from assent.feedback.interchange.label_studio_config import (
    FAILED,
    NOTE,
    STRENGTHS,
    Layout,
    answer_name,
    label_name,
    rating_name,
)
from assent.feedback.responses import Best, Labels, Preference, Ranks, Ratings, Response, Rewritten, Written

RANKING, PREFERENCE, BEST, TEXT, WHICH = "ranking", "preference", "best", "text", "which"
HIGHEST = 10
"""Of Argilla's ratings, which begin at 0."""
_SAME = "same"


def questions_of(layout: Layout) -> list[dict[str, Any]]:
    """The questions of a dataset's settings.  Raises ``ValueError`` where Argilla has none like them."""
    answers = [answer_name(position) for position in range(layout.answers)]
    failed = _question(FAILED, "multi_label_selection", answers, "Failed answers", required=False)
    note = {"name": NOTE, "settings": {"type": "text", "use_markdown": False}, "title": "Note", "required": False}
    text = {"name": TEXT, "settings": {"type": "text", "use_markdown": True}, "title": "Your answer", "required": True}
    match layout.task:
        case "ranking":
            own = [_question(RANKING, "ranking", answers, "Rank the answers, ties allowed"), failed]
        case "pairwise":
            own = [_question(PREFERENCE, "label_selection", list(_preferences()), "Which is better?"), failed]
        case "best":
            own = [_question(BEST, "label_selection", answers, "The best answer", required=False), failed]
        case "rating":
            own = [*_ratings(layout), failed]
        case "label":
            titles = [(label_name(position), f"Answer {position + 1}") for position in range(layout.answers)]
            own = [_question(n, "label_selection", layout.labels, title, required=False) for n, title in titles]
            own.append(failed)
        case "rewrite":
            own = [_question(WHICH, "label_selection", answers, "Which answer?"), text]
        case _:
            own = [text]
    return [*own, note]


def _ratings(layout: Layout) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for position in range(layout.answers):
        for index, criterion in enumerate(layout.criteria):
            if criterion.high > HIGHEST:
                raise ValueError(
                    f"ratings on {criterion.name} up to {criterion.high}: Argilla's go from 0 to {HIGHEST}"
                )
            scale = range(criterion.low, criterion.high + 1)
            title = f"Answer {position + 1}: {criterion.name}"
            made.append(_question(rating_name(position, index), "rating", scale, title, required=False))
    return made


def _question(name: str, kind: str, options: Sequence[Any], title: str, *, required: bool = True) -> dict[str, Any]:
    settings = {"type": kind, "options": [{"value": option} for option in options]}
    if kind != "rating":
        settings["options"] = [{"value": option, "text": option, "description": None} for option in options]
    return {"name": name, "settings": settings, "title": title, "required": required}


def _preferences() -> dict[str, int]:
    """Label to strength, -3 to 3."""
    words = [word.replace(" ", "-") for word in STRENGTHS]
    sides = {f"answer1-{words[size]}": -size for size in (3, 2, 1)} | {_SAME: 0}
    return sides | {f"answer2-{words[size]}": size for size in (1, 2, 3)}


def write_values(response: Response, layout: Layout) -> dict[str, Any]:
    """Question to value.  Ties share a rank."""
    match response:
        case Ranks(ranks):
            worst = 1 + max((rank for rank in ranks if rank is not None), default=0)
            places = [{"value": answer_name(i), "rank": worst if r is None else r} for i, r in enumerate(ranks)]
            return {RANKING: places, **_failed([rank is None for rank in ranks])}
        case Preference(strength, failed):
            label = next(name for name, size in _preferences().items() if size == strength)
            return {PREFERENCE: label, **_failed(failed)}
        case Best(best, failed):
            chosen = {} if best is None else {BEST: answer_name(best)}
            return {**chosen, **_failed(failed)}
        case Ratings(scores):
            values = {
                rating_name(position, index): given[criterion.name]
                for position, given in enumerate(scores)
                for index, criterion in enumerate(layout.criteria)
                if given is not None
            }
            return {**values, **_failed([given is None for given in scores])}
        case Labels(labels):
            values = {label_name(i): layout.labels[label] for i, label in enumerate(labels) if label is not None}
            return {**values, **_failed([label is None for label in labels])}
        case Rewritten(text, position):
            return {WHICH: answer_name(position), TEXT: text}
        case Written(text):
            return {TEXT: text}
        case _:
            return {}


def _failed(failed: Sequence[bool]) -> dict[str, list[str]]:
    names = [answer_name(position) for position, bad in enumerate(failed) if bad]
    return {FAILED: names} if names else {}


def read_values(values: Mapping[str, Any], layout: Layout) -> Response:
    """The response.  Raises :class:`DataError` with what is missing where it is not finished."""
    bad = values.get(FAILED) or []
    failed = tuple(isinstance(bad, list) and answer_name(position) in bad for position in range(layout.answers))
    match layout.task:
        case "ranking":
            return _read_ranking(values.get(RANKING), failed)
        case "pairwise":
            label = values.get(PREFERENCE)
            if not isinstance(label, str) or label not in _preferences():
                raise DataError("which is better was not chosen")
            return Preference(_preferences()[label], (failed[0], failed[1]))
        case "best":
            chosen = values.get(BEST)
            if chosen is None and all(failed):
                return Best(None, failed)
            return Best(_position(chosen, layout, "the best answer"), failed)
        case "rating":
            return Ratings(tuple(_scores(values, layout, i) if not failed[i] else None for i in range(layout.answers)))
        case "label":
            return Labels(tuple(None if failed[i] else _label(values, layout, i) for i in range(layout.answers)))
        case "rewrite":
            return Rewritten(_text(values), _position(values.get(WHICH), layout, "which answer was rewritten"))
        case _:
            return Written(_text(values))


def _read_ranking(value: Any, failed: Sequence[bool]) -> Response:
    """Argilla's client gives back the names in order, its server each with its rank."""
    ranks: dict[str, int] = {}
    for place, item in enumerate(value if isinstance(value, list) else (), start=1):
        name, rank = (item.get("value"), item.get("rank")) if isinstance(item, Mapping) else (item, place)
        if isinstance(name, str) and type(rank) is int and rank > 0 and name not in ranks:
            ranks[name] = rank
    names = [answer_name(position) for position in range(len(failed))]
    if missing := [name for name, bad in zip(names, failed, strict=True) if not bad and name not in ranks]:
        raise DataError(f"{missing[0]} has no rank")
    return Ranks(tuple(None if bad else ranks[name] for name, bad in zip(names, failed, strict=True)))


def _position(name: Any, layout: Layout, what: str) -> int:
    names = [answer_name(position) for position in range(layout.answers)]
    if name not in names:
        raise DataError(f"{what} was not chosen")
    return names.index(name)


def _scores(values: Mapping[str, Any], layout: Layout, position: int) -> dict[str, int]:
    given: dict[str, int] = {}
    for index, criterion in enumerate(layout.criteria):
        number = values.get(rating_name(position, index))
        if type(number) is not int:
            raise DataError(f"{answer_name(position)} has no rating on {criterion.name}")
        given[criterion.name] = number
    return given


def _label(values: Mapping[str, Any], layout: Layout, position: int) -> int:
    label = values.get(label_name(position))
    if label not in layout.labels:
        raise DataError(f"{answer_name(position)} has no label")
    return layout.labels.index(label)


def _text(values: Mapping[str, Any]) -> str:
    text = values.get(TEXT)
    if not isinstance(text, str) or not text.strip():
        raise DataError("nothing was written")
    return text


__all__ = ["HIGHEST", "NOTE", "questions_of", "read_values", "write_values"]
