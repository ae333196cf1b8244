"""The store's answers into files of any form; what a form cannot hold is said by name."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from assent.data.forms import FORMS, Form, Record, Vote
from assent.data.forms.base import vote_of
from assent.data.forms.writing import row_of
from assent.data.tables import write_rows
from assent.errors import DataError, nearest
from assent.feedback.answers import StoredAnswer
from assent.feedback.interchange.argilla import dataset_files, record_of
from assent.feedback.interchange.label_studio_config import Layout
from assent.feedback.interchange.label_studio_files import task_row
from assent.feedback.interchange.whole import Said, said_in, whole_row
from assent.feedback.questions import Question
from assent.feedback.store import FeedbackStore
from assent.types import Ranking

EXPORTS = ("store", "label-studio", "argilla", *(name for name, form in FORMS.items() if form.write))
_Pair = tuple[Question, list[Said]]
KINDS = ("rankings", "judgements", "demonstrations")


@dataclass
class ExportReport:
    """What was written, and what was not."""

    out: str
    form: str
    written: Counter[str] = field(default_factory=Counter[str])
    """Records by kind, as the form has them."""
    refused: Counter[str] = field(default_factory=Counter[str])
    """Reason to how many records the form could not hold."""
    lost: Counter[str] = field(default_factory=Counter[str])
    """Fields that the written records had and the form has no place for, and of how many records."""
    split: int = 0
    """Rankings of more than two answers that were written as votes on their pairs."""

    def lines(self) -> list[str]:
        """For people."""
        kinds = ", ".join(f"{count} {kind}{'' if count == 1 else 's'}" for kind, count in sorted(self.written.items()))
        text = [f"{kinds or 'nothing'} in {self.out} ({self.form})"]
        if self.split:
            text.append(f"{self.split} rankings of more than two answers became a vote on each of their pairs")
        if self.lost:
            text.append(f"lost: {', '.join(f'{name} (of {count})' for name, count in sorted(self.lost.items()))}")
        return text + [f"not written: {count} ({reason})" for reason, count in self.refused.most_common()]


def export_file(
    store: FeedbackStore,
    form: str,
    out: str | Path,
    *,
    kinds: Iterable[str] = KINDS,
    criterion: str | None = None,
    project: str | None = None,
    extras: bool = True,
    strict: bool = False,
) -> ExportReport:
    """Write the standing answers of a store as a form.

    ``kinds`` and ``criterion`` choose among what is written as records.  ``extras`` adds the column ``assent``, with
    which :func:`assent.feedback.interchange.importing.import_file` gets back what the form has no place for.

    Raises :class:`DataError` for a form that is not known, a place that is taken, and with ``strict`` for the first
    record that the form cannot hold, or would not hold whole; then nothing is written.
    """
    if form not in EXPORTS:
        raise DataError(f"no form '{form}' to write{nearest(form, EXPORTS)}; known are {', '.join(EXPORTS)}")
    if Path(out).exists():
        raise DataError("exists; choose another place", out)
    report = ExportReport(str(out), form)
    if form in ("store", "label-studio"):
        make = whole_row if form == "store" else task_row
        write_rows(out, (make(question, said) for question, said in _counted(said_in(store, project), report)))
    elif form == "argilla":
        _write_argilla(Path(out), store, project, report, strict)
    else:
        chosen = _records(store.stream_answers(project), frozenset(kinds), criterion, report)
        write_rows(out, _rows(FORMS[form], chosen, report, extras, strict))
    return report


def _counted(pairs: Iterable[_Pair], report: ExportReport) -> Iterator[_Pair]:
    for question, said in pairs:
        report.written["question"] += 1
        report.written["answer"] += len(said)
        yield question, said


def _records(
    answers: Iterable[StoredAnswer], kinds: frozenset[str], criterion: str | None, report: ExportReport
) -> Iterator[Record]:
    for answer in answers:
        found: list[Any] = []
        ranking, written = answer.ranking(), answer.demonstration()
        if "rankings" in kinds and ranking is not None:
            found.append(ranking)
        if "judgements" in kinds:
            found += answer.judgements()
        if "demonstrations" in kinds and written is not None:
            found.append(written)
        if answer.response.kind == "skip":
            report.refused["a skipped question: no form of records has it"] += 1
        for record in found:
            if criterion is None or getattr(record, "criterion", criterion) == criterion:
                yield record


def _rows(
    form: Form, records: Iterable[Record], report: ExportReport, extras: bool, strict: bool
) -> Iterator[dict[str, Any]]:
    for record in records:
        parts: list[Any] = [record]
        if isinstance(record, Ranking) and Ranking not in form.write and Vote in form.write:
            parts = votes_of(record)
            report.split += len(record.texts) > 2
        for part in parts:
            try:
                row, lost = row_of(form, part, extras=extras and form.name != "records")
            except ValueError as reason:
                if strict:
                    raise DataError(f"{getattr(part, 'id', '')}: {reason}", report.out) from None
                report.refused[str(reason)] += 1
                continue
            if strict and lost:
                raise DataError(f"{getattr(part, 'id', '')}: {form.name} has no place for {', '.join(sorted(lost))}")
            report.lost.update(lost)
            report.written[type(part).__name__.lower()] += 1
            yield row


def votes_of(ranking: Ranking) -> list[Vote]:
    """A vote for each pair of a ranking that was judged; of two answers, the one vote."""
    if len(ranking.texts) == 2:
        return [vote_of(ranking)]
    votes: list[Vote] = []
    for i, j in combinations(range(len(ranking.texts)), 2):
        ranks = ranking.ranks[i], ranking.ranks[j]
        if ranking.kind == "best" and ranks[0] == ranks[1] and ranks[0] is not None:
            continue
        pair = Ranking(
            f"{ranking.id}.{i}.{j}",
            ranking.prompt,
            (ranking.completion_ids[i], ranking.completion_ids[j]),
            (ranking.texts[i], ranking.texts[j]),
            ranks,
            ranking.annotator,
            criterion=ranking.criterion,
            seconds=ranking.seconds,
            created=ranking.created,
            note=ranking.note,
        )
        votes.append(vote_of(pair))
    return votes


def _write_argilla(out: Path, store: FeedbackStore, project: str | None, report: ExportReport, strict: bool) -> None:
    """A dataset for each layout of questions: first all layouts are looked at, then each has a pass of its own."""
    layouts = Counter(Layout.of(question) for question in store.stream_questions(project))
    prepared: dict[Layout, tuple[str, dict[str, Any]]] = {}
    for layout, several in layouts.items():
        name = f"{layout.task}-{layout.answers}-{len(prepared) + 1}"
        try:
            prepared[layout] = name, dataset_files(name, layout)
        except ValueError as reason:
            if strict:
                raise DataError(str(reason), out) from None
            report.refused[str(reason)] += several
    for layout, (name, files) in prepared.items():
        folder = out / name
        (folder / ".argilla").mkdir(parents=True)
        for path, content in files.items():
            (folder / path).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
        own = ((question, said) for question, said in said_in(store, project) if Layout.of(question) == layout)
        write_rows(folder / "records.json", (record_of(question, said) for question, said in _counted(own, report)))
