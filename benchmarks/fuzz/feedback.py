"""Targets: files of questions and answers on their way into a feedback store."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from assent.data.rows import read_rows
from assent.errors import AssentError, DataError
from assent.feedback.answers import Answer
from assent.feedback.interchange.exporting import export_file
from assent.feedback.interchange.importing import TOOLS, import_file
from assent.feedback.questions import Criterion, Question
from assent.feedback.responses import Best, Labels, Preference, Ranks, Ratings, Rewritten, Skipped, Written
from assent.feedback.store import FeedbackStore
from assent.types import Prompt
from benchmarks.fuzz.junk import GOOD, as_lines, spoilt
from benchmarks.fuzz.target import Outcome, Target, refusal

_CRITERIA = (Criterion("helpful"), Criterion("harm", "none", 0, 4))
_SAID: list[tuple[str, int, Any]] = [
    ("ranking", 3, Ranks((1, 2, None))),
    ("pairwise", 2, Preference(-2, (False, True))),
    ("best", 3, Best(1)),
    ("rating", 2, Ratings(({"helpful": 4, "harm": 0}, None))),
    ("label", 2, Labels((1, 0))),
    ("rewrite", 2, Rewritten("anew", 1)),
    ("demonstration", 0, Written("my own")),
]


@cache
def _good(form: str) -> list[dict[str, Any]]:
    """Rows of a form that a store was written as: a question of each task, answered and skipped."""
    with tempfile.TemporaryDirectory() as home:
        out = Path(home) / {"label-studio": "out.json", "argilla": "out"}.get(form, "out.jsonl")
        with FeedbackStore.open(Path(home) / "f.db") as store:
            store.add_questions(_question(task, count) for task, count, _ in _SAID)
            store.add_answers(
                Answer(task, name, response, order=tuple(reversed(range(count))), note="", created=1.7e9)
                for task, count, said in _SAID
                for name, response in (("ann", said), ("bob", Skipped("too long")))
            )
            export_file(store, form, out)
        files = sorted(out.rglob("records.json")) if out.is_dir() else [out]
        return [row.values for file in files for row in read_rows(file)]


def _question(task: str, count: int) -> Question:
    return Question(
        task,
        Prompt("p", text="a"),
        tuple(f"c{i}" for i in range(count)),
        tuple(f"text {i}" for i in range(count)),
        task=task,  # pyright: ignore[reportArgumentType]
        criteria=_CRITERIA if task == "rating" else (),
        labels=("no", "yes") if task == "label" else (),
    )


def _answers_given(row: Any, form: str) -> int:
    """How many answers a row of whole questions holds, read as loosely as can be."""
    held = {"store": ("answers",), "label-studio": ("annotations", "predictions")}.get(form, ())
    values = [row.get(name) for name in held if isinstance(row, Mapping)]
    return sum(len(value) if isinstance(value, list) else value not in (None, "", {}) for value in values)


def _import(drawn: tuple[str, list[Any]], folder: Path) -> Outcome:
    form, rows = drawn
    path = folder / "records.json" if form == "argilla" else folder / "import.jsonl"
    path.write_text(as_lines(rows) if form != "argilla" else f"[{','.join(as_lines([row]) for row in rows)}]")
    told: list[DataError] = []
    with tempfile.TemporaryDirectory(dir=folder) as home, FeedbackStore.open(Path(home) / "f.db") as store:
        try:
            report = import_file(store, path, form, told=told.append)
        except AssentError as error:
            return refusal(error, path)
        kept = {question.id for question in store.questions()}
    for error in told:
        refusal(error, path, f"line {error.line}: ")
    assert report.rows.rows == len(rows)
    lines = {error.line for error in told}
    if form in TOOLS:
        assert report.rows.records["question"] + len(lines) >= len(rows), "a question was dropped"
        given = sum(_answers_given(row, form) for row in rows)
        of_dropped = sum(_answers_given(row, form) for n, row in enumerate(rows, 1) if n in lines)
        found = report.kept.answers + report.kept.known
        assert found >= given - of_dropped, f"of {given} answers {found} came in, and {of_dropped} are in rows told of"
    assert kept or told
    return "refused" if told else "taken"


def _rows(form: str) -> Iterable[Any]:
    return _good(form) if form in TOOLS else GOOD


_DRAWN = st.sampled_from([*TOOLS, None]).flatmap(
    lambda form: st.tuples(st.just(form), st.lists(spoilt(list(_rows(form or "")), most=2), min_size=1, max_size=3))
)

TARGETS = [Target("interchange", _DRAWN, _import)]
