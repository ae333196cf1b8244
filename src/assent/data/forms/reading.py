"""Reading a file of a form: row by row, and every row that is refused is told with its file and line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from assent.data.forms import FORMS, Form, Record
from assent.data.forms.extras import restored
from assent.data.layouts import cells
from assent.data.parse import MissingColumn
from assent.data.rows import Row, read_rows, stop
from assent.errors import DataError, nearest

SHOWN = 20
"""Refusals that a report keeps in full; all are counted, and all are told to ``told``."""


@dataclass
class Report:
    """What became of the rows of one file."""

    source: str
    form: str = ""
    rows: int = 0
    records: Counter[str] = field(default_factory=Counter[str])
    """Records by kind: ranking, vote, judgement, demonstration."""
    refused: int = 0
    refusals: list[DataError] = field(default_factory=list[DataError])
    """The first of them, with file and line."""
    not_read: Counter[str] = field(default_factory=Counter[str])
    """Filled columns that no record has a place for, and in how many rows."""

    def refuse(self, error: DataError, told: Callable[[DataError], Any] | None = None) -> None:
        """Count one refusal, and tell it."""
        self.refused += 1
        if len(self.refusals) < SHOWN:
            self.refusals.append(error)
        if told is not None:
            told(error)

    def lines(self) -> list[str]:
        """The report for people: counts, then each refusal."""
        kinds = ", ".join(f"{count} {kind}{'' if count == 1 else 's'}" for kind, count in sorted(self.records.items()))
        text = [f"{self.source} ({self.form or 'no form'}): {self.rows} rows, {kinds or 'no records'}"]
        if self.not_read:
            text.append(f"not kept: {', '.join(f'{name} ({rows} rows)' for name, rows in self.not_read.items())}")
        if self.refused:
            text.append(f"refused: {self.refused} rows")
            text += [f"  {refusal}" for refusal in self.refusals]
            if self.refused > len(self.refusals):
                text.append(f"  and {self.refused - len(self.refusals)} more")
        return text


class Reading:
    """The records of a file, each with its row, read as they are asked for; ``report`` fills meanwhile.

    ``form`` is a name of :data:`assent.data.forms.FORMS`; ``None`` looks at the columns of the first row.  With
    ``strict`` the first row that is refused is raised.  ``told`` hears of every refusal.

    Raises :class:`DataError` for what spoils the whole file, and where no form has the columns.
    """

    def __init__(
        self,
        source: str | Path,
        form: str | None = None,
        *,
        split: str | None = None,
        strict: bool = False,
        told: Callable[[DataError], Any] | None = None,
    ) -> None:
        if form is not None and form not in FORMS:
            raise DataError(f"no form '{form}'{nearest(form, FORMS)}; known are {', '.join(FORMS)}")
        self._source, self._split, self._strict, self._told = source, split, strict, told
        self._form = None if form is None else FORMS[form]
        self.report = Report(str(source), form or "")

    def __iter__(self) -> Iterator[tuple[Row, Record]]:
        for row, records in self.rows():
            for record in records:
                yield row, record

    def rows(self) -> Iterator[tuple[Row, list[Record]]]:
        """Each row that was taken, with the records that it is."""
        self.report = report = Report(str(self._source), self._form.name if self._form else "")
        form = self._form
        for row in map(cells, read_rows(self._source, self._split, self.refuse)):
            report.rows += 1
            if form is None:
                form = form_of(row)
                report.form = form.name
            try:
                records = [restored(row, record) for record in form.read(row)]
            except MissingColumn as missing:
                self.refuse(row.error(f"no {form.name} in columns {_columns(row)}; expected {missing}"), counted=True)
            except DataError as error:
                self.refuse(error, counted=True)
            except ValueError as error:  # an empty field, or values that a record does not allow
                self.refuse(row.error(str(error)), counted=True)
            else:
                for name in form.not_read:
                    if row.values.get(name) not in (None, "", [], {}):
                        report.not_read[name] += 1
                for record in records:
                    report.records[type(record).__name__.lower()] += 1
                yield row, records

    def refuse(self, error: DataError, *, counted: bool = False, again: bool = False) -> None:
        """Count a row out, and say so; with ``strict`` raise ``error``.

        For those who find out later than the reader that a row cannot be used.  ``counted``: the row is among
        ``report.rows`` already.  ``again``: it is among the refused already, for another of its records.
        """
        if self._strict:
            stop(error)
        self.report.rows += not counted
        self.report.refuse(error, self._told)
        self.report.refused -= again


def form_of(row: Row) -> Form:
    """The first form whose columns the row has."""
    found = next((form for form in FORMS.values() if form.tells(row)), None)
    if found is None:
        raise row.error(
            f"columns {_columns(row)} are of no form known here ({', '.join(FORMS)}); rename the columns, see "
            "docs/data-formats.md"
        )
    return found


def _columns(row: Row) -> str:
    return ", ".join(row.values) or "none"
