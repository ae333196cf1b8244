"""A file of any form into the store, streamed: what was taken, what was there, what was refused and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from assent.data.forms import FORMS
from assent.data.forms.reading import Reading, Report
from assent.errors import DataError
from assent.feedback.interchange.argilla import ArgillaReading
from assent.feedback.interchange.asking import Asker
from assent.feedback.interchange.keeping import Item, Keeper, Kept, named
from assent.feedback.interchange.label_studio_files import TaskReading
from assent.feedback.interchange.whole import WholeReading
from assent.feedback.questions import DEFAULT_PROJECT
from assent.feedback.store import FeedbackStore

Told = Callable[[DataError], Any]
TOOLS = {"store": WholeReading, "label-studio": TaskReading, "argilla": ArgillaReading}
"""Forms of whole questions with their answers, beside the forms of records in :data:`assent.data.forms.FORMS`."""
IMPORTS = (*TOOLS, *FORMS)


@dataclass
class ImportReport:
    """What became of a file."""

    rows: Report
    kept: Kept = field(default_factory=Kept)
    lost: Counter[str] = field(default_factory=Counter[str])
    """What records had and the store has no place for, by name."""

    def lines(self) -> list[str]:
        """For people."""
        lost = ", ".join(f"{name} ({count})" for name, count in self.lost.items() if count)
        return [
            f"{self.kept.questions} new questions, {self.kept.answers} new answers, {self.kept.known} answers known",
            *([f"not kept, the store has no place for it: {lost}"] if lost else []),
            *self.rows.lines(),
        ]


def import_file(
    store: FeedbackStore,
    source: str | Path,
    form: str | None = None,
    *,
    project: str = DEFAULT_PROJECT,
    annotator: str | None = None,
    scale: tuple[int, int] | None = None,
    strict: bool = False,
    told: Told | None = None,
) -> ImportReport:
    """Import a file.  ``form`` ``None`` looks at its columns.

    ``annotator`` is who answered where the file does not say; ``None``: the form's name.  ``scale`` is the lowest and
    highest rating, where it is not the form's.  The same file again adds nothing: every answer is named by its content.

    Raises :class:`DataError` for a file that cannot be read at all.  ``strict`` reads the whole file first and raises
    for the first row that is refused, so that nothing of a bad file is kept.  Else such rows are counted and told.
    """
    if form in TOOLS:
        return _whole(store, source, form, project, strict, told)
    if strict:
        checking = Reading(source, form, strict=True)
        asker = Asker(annotator or "x", project, scale)
        for row, records in checking.rows():
            try:
                Asker(asker.annotator, project, scale or FORMS[checking.report.form].scale).asked(records, Counter())
            except ValueError as error:
                raise row.error(str(error)) from None
    reading = Reading(source, form, strict=strict, told=told)
    report = ImportReport(reading.report)
    keeper = Keeper(store)
    asker = None
    for row, records in reading.rows():
        report.rows = reading.report
        if asker is None:
            found = FORMS[reading.report.form]
            asker = Asker(annotator or found.name, project, scale or found.scale)
        refused: list[str] = []

        def refuse(reason: str, row=row, refused=refused) -> None:
            reading.refuse(row.error(reason), counted=True, again=bool(refused))
            refused.append(reason)

        try:
            pairs = asker.asked(records, report.lost)
        except (ValueError, DataError) as error:
            refuse(str(error))
            continue
        for question, answer in pairs:
            keeper.take(Item(question, named(answer, "im"), refuse))
    keeper.finish()
    report.rows, report.kept = reading.report, keeper.kept
    return report


def _whole(
    store: FeedbackStore, source: str | Path, form: str, project: str, strict: bool, told: Told | None
) -> ImportReport:
    if strict:
        for _ in TOOLS[form](source, project, strict=True):
            pass
    reading = TOOLS[form](source, project, strict=strict, told=told)
    keeper = Keeper(store)
    for item in reading:
        keeper.take(item)
    keeper.finish()
    return ImportReport(reading.report, keeper.kept)
