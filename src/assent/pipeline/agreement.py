"""``assent label agreement``: how far the annotators of a store agree, and how far each can be relied on."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from assent.feedback.agreement import agreement, fleiss_kappa, krippendorff_alpha, pairwise_agreement
from assent.feedback.figures import agreement_over_time, annotator_figures, group_disagreement
from assent.feedback.ratings import labels, pair_outcomes
from assent.feedback.store import FeedbackStore
from assent.feedback.votes import votes_from_rankings
from assent.types import Judgement

POINTS = 5


def examine(store: FeedbackStore) -> dict[str, Any]:
    """The figures as plain JSON types; an estimate is ``value``, ``low`` and ``high``, ``null`` where not defined."""
    rankings, judgements = store.rankings(), store.judgements()
    people = {person.name: asdict(person.about) for person in store.people.all()}
    met = pairwise_agreement(pair_outcomes(votes_from_rankings(rankings)))
    return {
        "rankings": len(rankings),
        "judgements": len(judgements),
        "criteria": {name: asdict(agreement(some)) for name, some in _by_criterion(rankings)},
        "labels": {name: _labels(some) for name, some in _by_criterion(judgements)},
        "over_time": [asdict(point) for point in agreement_over_time(rankings, POINTS)],
        "groups": {field: asdict(parts) for field, parts in group_disagreement(rankings, people).items()},
        "pairs_of_annotators": [asdict(two) for two in met],
        "annotators": [asdict(one) for one in annotator_figures(rankings)],
    }


def show(found: Mapping[str, Any]) -> None:
    """Print the figures as tables.  In brackets: intervals of 95% over questions."""
    console = Console(highlight=False)
    if not found["rankings"] and not found["judgements"]:
        console.print("nobody has answered yet")
    for title, columns, rows in _tables(found):
        if rows:
            table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
            for index, column in enumerate(columns):
                table.add_column(column, justify="left" if index == 0 else "right")
            for row in rows:
                table.add_row(*row)
            console.print(table)


def _tables(found: Mapping[str, Any]) -> Iterator[tuple[str, Sequence[str], list[list[str]]]]:
    agreed = ("questions", "annotators", "alpha", "Fleiss' kappa", "same of two answers", "same, no ties")
    yield "Agreement on rankings", ("criterion", *agreed), [[n, *_agreed(a)] for n, a in found["criteria"].items()]
    columns = ("criterion", "answers", "annotators", "alpha nominal", "ordinal", "interval", "Fleiss' kappa")
    levels = ("nominal", "ordinal", "interval", "fleiss")
    rows = [
        [name, str(row["units"]), str(row["annotators"]), *(_estimate(row[level]) for level in levels)]
        for name, row in found["labels"].items()
    ]
    yield "Agreement on labels and ratings", columns, rows
    rows = [[f"{_day(p['start'])} to {_day(p['end'])}", *_agreed(p["agreement"])] for p in found["over_time"]]
    yield "Over time, by the last answer to a question", ("when", *agreed), rows if len(rows) > 1 else []
    for name, parts in found["groups"].items():
        rows = [[f"{g['one']} and {g['other']}", str(g["meetings"]), _estimate(g["same"])] for g in parts["groups"]]
        rows.append(["within less across", "", _estimate(parts["gap"])])
        yield f"By {name}", ("annotators", "pairs judged by both", "same"), rows
    columns = ("annotator", "answers", "competence", "right", "ties", "failed", "first shown", "longer")
    rows = [_annotator(row) for row in found["annotators"]]
    yield "Annotators", columns, rows


def _agreed(row: Mapping[str, Any]) -> list[str]:
    figures = [_estimate(row[name]) for name in ("alpha", "fleiss", "same", "same_decided")]
    return [str(row["questions"]), str(row["annotators"]), *figures]


def _annotator(row: Mapping[str, Any]) -> list[str]:
    known, bias = row["reliability"] or {}, row["bias"]
    return [
        row["name"],
        str(row["answers"]),
        _estimate(known.get("competence")),
        _estimate(known.get("right")),
        f"{row['ties_share']:.0%}",
        f"{row['failed_share']:.0%}",
        _estimate(bias["first_shown"]),
        _estimate(bias["longer"]),
    ]


def _estimate(row: Mapping[str, float] | None) -> str:
    return "" if row is None else f"{row['value']:.2f} ({row['low']:.2f} to {row['high']:.2f})"


def _day(moment: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(moment))


def _labels(judgements: Sequence[Judgement]) -> dict[str, Any]:
    table = labels(judgements)
    found = {level: krippendorff_alpha(table, level) for level in ("nominal", "ordinal", "interval")}
    found["fleiss"] = fleiss_kappa(table)
    estimates = {name: None if each is None else asdict(each) for name, each in found.items()}
    return {"units": table.units, "annotators": len(table.annotators), **estimates}


def _by_criterion(records: Sequence[Any]) -> list[tuple[str, list[Any]]]:
    found: dict[str, list[Any]] = {}
    for record in records:
        found.setdefault(record.criterion, []).append(record)
    return sorted(found.items())
