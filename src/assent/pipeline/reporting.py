"""``assent report`` and ``assent compare``: pages on runs, drawn where they are missing or out of date."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from assent.errors import RunError
from assent.reports.compare import write_comparison
from assent.reports.extract import extract, find_stages
from assent.reports.page import write_report

_SHOWN = ("manifest.json", "metrics.jsonl", "evaluation.json")


def report(run: Path, again: bool = False, hourly_price: float | None = None, currency: str = "USD") -> Path:
    """The page of a run.  It is drawn anew where there is none, a stage is newer, or ``again`` or a price asks for it.

    Raises :class:`~assent.errors.RunError` when the folder holds no stage or a damaged file.
    """
    page = run / "report.html"
    folders = find_stages(run) if run.is_dir() else {}
    made = [stage for stage in folders.values() if (stage / "report.html").is_file()]
    if again or hourly_price is not None or not page.is_file() or _changed(page, set(folders.values()) - set(made)):
        given = _settings(made[-1]) if made else {}
        stored = given.get("hourly_price")
        price = float(stored) if hourly_price is None and isinstance(stored, int | float) else hourly_price
        shown = given.get("currency") or currency if hourly_price is None else currency
        write_report(run, run, str(given.get("title") or ""), hourly_price=price, currency=str(shown))
    return page


def compare(runs: Sequence[str], out: Path) -> Path:
    """A page that puts runs on the same axes, with its figures as JSON beside it.

    Raises :class:`~assent.errors.RunError` for fewer than two runs, and for a folder that holds none.
    """
    folders = [Path(run) for run in runs]
    if len({folder.resolve() for folder in folders}) < 2:
        raise RunError("compare: give two runs or more, such as runs/one runs/two")
    write_comparison([extract(folder) for folder in folders], [str(run) for run in runs], out)
    return out / "compare.html"


def _changed(page: Path, stages: set[Path]) -> bool:
    files = [stage / name for stage in stages for name in _SHOWN]
    return any(file.is_file() and file.stat().st_mtime > page.stat().st_mtime for file in files)


def _settings(stage: Path) -> dict[str, object]:
    manifest = stage / "manifest.json"
    return json.loads(manifest.read_text(encoding="utf-8"))["settings"] if manifest.is_file() else {}
