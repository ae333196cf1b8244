"""``assent label import``, ``export`` and ``formats``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import click

from assent.data.forms import FORMS
from assent.errors import DataError, RunError, nearest
from assent.feedback.interchange.exporting import EXPORTS, KINDS, export_file
from assent.feedback.interchange.importing import IMPORTS, import_file
from assent.feedback.store import FeedbackStore

_TOOLS = {
    "store": "questions and answers with all that belongs to them, from store to store",
    "label-studio": "Label Studio: tasks with annotations and predictions (JSON)",
    "argilla": "Argilla 2: folders of datasets as Dataset.to_disk writes them",
}


def run_import(
    file: str,
    store: str,
    form: str | None,
    annotator: str | None,
    scale: tuple[int, int] | None,
    project: str,
    strict: bool,
    refused: str | None,
    as_json: bool,
) -> None:
    """Import and say what became of each row."""
    if form is not None and form not in IMPORTS:
        raise DataError(f"no form '{form}'{nearest(form, IMPORTS)}; 'assent label formats' lists them")
    if scale is not None and not 0 <= scale[0] < scale[1] <= 100:
        raise DataError(f"--scale {scale[0]} {scale[1]}: give a scale that grows within 0 to 100")
    if not Path(file).exists():
        raise DataError("no such file or folder", file)
    with ExitStack() as stack:
        told: Callable[[DataError], Any] | None = None
        if refused is not None:
            if Path(refused).exists():
                raise RunError(f"{refused}: exists; choose another --refused")
            listed = stack.enter_context(open(refused, "w", encoding="utf-8"))

            told = partial(print, file=listed)

        opened = stack.enter_context(FeedbackStore.open(store))
        report = import_file(
            opened, file, form, project=project, annotator=annotator, scale=scale, strict=strict, told=told
        )
    if as_json:
        found = {
            "form": report.rows.form,
            "rows": report.rows.rows,
            "refused": report.rows.refused,
            "records": dict(report.rows.records),
            "questions": report.kept.questions,
            "answers": report.kept.answers,
            "known": report.kept.known,
            "not_kept": {**report.rows.not_read, **{name: count for name, count in report.lost.items() if count}},
        }
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    click.echo("\n".join(report.lines()))
    if report.rows.refused and refused is None and report.rows.refused > len(report.rows.refusals):
        click.echo("--refused FILE writes every one of them")


def run_export(
    store: str,
    out: str,
    form: str,
    kinds: tuple[str, ...],
    criterion: str | None,
    project: str | None,
    plain: bool,
    strict: bool,
    as_json: bool,
) -> None:
    """Export and say what was written, lost and left out."""
    if "://" not in store and not Path(store).is_file():
        raise RunError(f"{store}: there is no such feedback store")
    with FeedbackStore.open(store) as opened:
        report = export_file(
            opened,
            form,
            out,
            kinds=kinds or KINDS,
            criterion=criterion,
            project=project,
            extras=not plain,
            strict=strict,
        )
    if as_json:
        found = {
            "form": report.form,
            "written": dict(report.written),
            "lost": dict(report.lost),
            "not_written": dict(report.refused),
            "split": report.split,
        }
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        click.echo("\n".join(report.lines()))


def formats() -> Iterator[str]:
    """A line a form: its name, what can be done with it, and what it is."""
    titles = {**_TOOLS, **{name: form.title for name, form in FORMS.items()}}
    for name in IMPORTS:
        yield f"{name:<24} {'in and out' if name in EXPORTS else 'in':<11} {titles[name]}"
