"""A person's response as Label Studio's result, a list of regions, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from assent.errors import DataError
from assent.feedback.interchange.label_studio_config import (
    BETTER,
    FAILED,
    NOTE,
    RANKED,
    REWRITE,
    STRENGTH,
    STRENGTHS,
    WHICH,
    Layout,
    answer_name,
    failed_name,
    is_rating,
    label_name,
    rating_name,
)
from assent.feedback.responses import (
    Best,
    Labels,
    Preference,
    Ranks,
    Ratings,
    Response,
    Rewritten,
    Written,
)

Region = dict[str, Any]
Values = Mapping[str, Any]
"""Name of a control to what it says."""


def write_result(response: Response, layout: Layout, note: str = "") -> list[Region]:
    """The regions of a response.  A skip has none: in Label Studio it is a cancelled annotation."""
    regions = _WRITE[type(response)](response, layout) if type(response) in _WRITE else []
    return [*regions, *([_region(NOTE, "prompt", "textarea", [note])] if note else [])]


def read_result(result: Sequence[Mapping[str, Any]], layout: Layout) -> tuple[Response, str]:
    """Response and note.  Raises :class:`DataError` with what is missing where the annotation is not finished."""
    values: dict[str, Any] = {}
    for region in result:
        value, kind = region.get("value"), region.get("type")
        if not isinstance(value, Mapping) or not isinstance(kind, str):
            raise DataError("a region without type and value")
        values[str(region.get("from_name"))] = value.get("selected" if kind == "pairwise" else kind)
    note = "\n".join(_texts(values, NOTE))
    return _READ[layout.task](values, layout), note


def _region(name: str, to: str, kind: str, value: Any) -> Region:
    key = "selected" if kind == "pairwise" else kind
    return {"id": f"assent-{name}", "from_name": name, "to_name": to, "type": kind, "value": {key: value}}


# Placing answers under headings


def _write_ranks(response: Ranks, layout: Layout) -> list[Region]:
    headings = [*map(str, range(1, layout.answers + 1)), FAILED]
    return _placed([FAILED if rank is None else str(rank) for rank in response.ranks], headings)


def _write_best(response: Best, layout: Layout) -> list[Region]:
    failed = response.failed or (False,) * layout.answers
    places = [
        "best" if position == response.best else (FAILED if failed[position] else "rest")
        for position in range(layout.answers)
    ]
    return _placed(places, ["best", "rest", FAILED])


def _placed(places: Sequence[str], headings: Sequence[str]) -> list[Region]:
    under: dict[str, list[str]] = {heading: [] for heading in headings}
    for position, place in enumerate(places):
        under[place].append(answer_name(position))
    return [_region(RANKED, "answers", "ranker", {"_": [], **under})]


def _places(values: Values, layout: Layout) -> dict[int, tuple[str, int]]:
    """Position of an answer to the heading it stands under and its place there."""
    ranked = values.get(RANKED)
    if not isinstance(ranked, Mapping):
        raise DataError("no answer was placed")
    known = {answer_name(position): position for position in range(layout.answers)}
    found: dict[int, tuple[str, int]] = {}
    for heading, names in ranked.items():
        for place, name in enumerate(names if isinstance(names, list) else []):
            if name not in known:
                raise DataError(f"an answer '{name}' that the question does not have")
            if known[name] in found:
                raise DataError(f"{name} is placed twice")
            found[known[name]] = (str(heading), place)
    return found


def _read_ranks(values: Values, layout: Layout) -> Response:
    places = _places(values, layout)
    if places and {heading for heading, _ in places.values()} == {"_"} and len(places) == layout.answers:
        # A project of another's making, whose ranker has no headings: the list itself is the order.
        return Ranks(tuple(places[position][1] + 1 for position in range(layout.answers)))
    ranks: list[int | None] = []
    for position in range(layout.answers):
        heading = places.get(position, ("_", 0))[0]
        if heading != FAILED and not heading.isdecimal():
            raise DataError(f"{answer_name(position)} was not placed under a rank")
        ranks.append(None if heading == FAILED else int(heading))
    return Ranks(tuple(ranks))


def _read_best(values: Values, layout: Layout) -> Response:
    headings = {position: heading for position, (heading, _) in _places(values, layout).items()}
    best = [position for position, heading in headings.items() if heading == "best"]
    failed = tuple(headings.get(position) == FAILED for position in range(layout.answers))
    if len(best) > 1:
        raise DataError(f"{len(best)} answers were placed under Best; one is")
    if not best and not all(failed):
        raise DataError("no answer was placed under Best")
    return Best(best[0] if best else None, failed)


# One of two


def _write_preference(response: Preference, layout: Layout) -> list[Region]:
    regions: list[Region] = []
    if response.strength:
        regions.append(_region(BETTER, BETTER, "pairwise", "left" if response.strength < 0 else "right"))
    regions.append(_region(STRENGTH, "prompt", "choices", [STRENGTHS[abs(response.strength)]]))
    return regions + _write_failed(response.failed)


def _read_preference(values: Values, layout: Layout) -> Response:
    said, side = _choice(values, STRENGTH), values.get(BETTER)
    if said not in STRENGTHS:
        raise DataError("how much better the one is was not chosen")
    size = STRENGTHS.index(said)
    if size and side not in ("left", "right"):
        raise DataError("neither answer was chosen as the better one")
    return Preference(-size if side == "left" else size, (_failed(values, 0), _failed(values, 1)))


# A mark on each


def _write_ratings(response: Ratings, layout: Layout) -> list[Region]:
    regions: list[Region] = []
    for position, scores in enumerate(response.scores):
        for index, criterion in enumerate(layout.criteria if scores is not None else ()):
            kind = "rating" if is_rating(criterion) else "number"
            name = rating_name(position, index)
            regions.append(_region(name, answer_name(position), kind, (scores or {})[criterion.name]))
    return regions + _write_failed([scores is None for scores in response.scores])


def _read_ratings(values: Values, layout: Layout) -> Response:
    scores: list[Mapping[str, int] | None] = []
    for position in range(layout.answers):
        if _failed(values, position):
            scores.append(None)
            continue
        given: dict[str, int] = {}
        for index, criterion in enumerate(layout.criteria):
            number = values.get(rating_name(position, index))
            if not isinstance(number, (int, float)) or isinstance(number, bool) or number != int(number):
                raise DataError(f"{answer_name(position)} has no rating on {criterion.name}")
            given[criterion.name] = int(number)
        scores.append(given)
    return Ratings(tuple(scores))


def _write_labels(response: Labels, layout: Layout) -> list[Region]:
    regions = [
        _region(label_name(position), answer_name(position), "choices", [layout.labels[label]])
        for position, label in enumerate(response.labels)
        if label is not None
    ]
    return regions + _write_failed([label is None for label in response.labels])


def _read_labels(values: Values, layout: Layout) -> Response:
    labels: list[int | None] = []
    for position in range(layout.answers):
        chosen = _choice(values, label_name(position))
        if not _failed(values, position) and chosen not in layout.labels:
            raise DataError(f"{answer_name(position)} has no label")
        labels.append(None if _failed(values, position) else layout.labels.index(chosen))
    return Labels(tuple(labels))


def _write_failed(failed: Sequence[bool]) -> list[Region]:
    return [
        _region(failed_name(position), answer_name(position), "choices", [FAILED])
        for position, bad in enumerate(failed)
        if bad
    ]


def _failed(values: Values, position: int) -> bool:
    return _choice(values, failed_name(position)) == FAILED


def _choice(values: Values, name: str) -> str:
    chosen = values.get(name)
    return str(chosen[0]) if isinstance(chosen, list) and chosen else ""


# Writing


def _write_written(response: Written, layout: Layout) -> list[Region]:
    return [_region(REWRITE, "prompt", "textarea", [response.text])]


def _write_rewritten(response: Rewritten, layout: Layout) -> list[Region]:
    which = [_region(WHICH, "prompt", "choices", [str(response.position + 1)])] if layout.answers > 1 else []
    return [*which, _region(REWRITE, "prompt", "textarea", [response.text])]


def _read_written(values: Values, layout: Layout) -> Response:
    text = "\n".join(_texts(values, REWRITE))
    if not text.strip():
        raise DataError("nothing was written")
    return Written(text)


def _read_rewritten(values: Values, layout: Layout) -> Response:
    text = "\n".join(_texts(values, REWRITE))
    if not text.strip():
        raise DataError("nothing was written")
    chosen = _choice(values, WHICH) if layout.answers > 1 else "1"
    if not chosen.isdecimal() or not 1 <= int(chosen) <= layout.answers:
        raise DataError("which answer was rewritten was not chosen")
    return Rewritten(text, int(chosen) - 1)


def _texts(values: Values, name: str) -> list[str]:
    value = values.get(name)
    return [str(part) for part in value] if isinstance(value, list) else ([value] if isinstance(value, str) else [])


_WRITE: dict[type, Callable[[Any, Layout], list[Region]]] = {
    Ranks: _write_ranks,
    Best: _write_best,
    Preference: _write_preference,
    Ratings: _write_ratings,
    Labels: _write_labels,
    Rewritten: _write_rewritten,
    Written: _write_written,
}
_READ: dict[str, Callable[[Values, Layout], Response]] = {
    "ranking": _read_ranks,
    "best": _read_best,
    "pairwise": _read_preference,
    "rating": _read_ratings,
    "label": _read_labels,
    "rewrite": _read_rewritten,
    "demonstration": _read_written,
}
