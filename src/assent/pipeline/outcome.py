"""What is left at the top of a run's folder when it ends: ``run.json``, the report, and the table of times."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assent.errors import RunError
from assent.pipeline.display import number
from assent.pipeline.plan import PlannedStage
from assent.pipeline.recipe import Recipe
from assent.runs.folder import RunFolder, atomic_write_json
from assent.runs.manifest import Manifest, has_manifest, read_manifest


def figures(metrics: Mapping[str, Any], most: int = 4) -> str:
    """The first few metrics as a line's end: ``  loss 2.13, kl 0.02``."""
    shown = [f"{name} {_figure(value)}" for name, value in list(metrics.items())[:most]]
    return f"  {', '.join(shown)}" if shown else ""


def table(planned: list[PlannedStage]) -> list[str]:
    """Stages with the seconds that each took, and the sum: lines for the user."""
    manifests = _manifests(planned)
    width = max([len(item.name) for item in planned] + [5])
    lines = [f"{name:<{width}}  {manifest.wall_seconds:8.1f} s" for name, manifest in manifests.items()]
    return [*lines, f"{'total':<{width}}  {wall_seconds(planned):8.1f} s"]


def wall_seconds(planned: list[PlannedStage]) -> float:
    """Seconds that the finished stages took together, whenever they ran."""
    return round(sum(manifest.wall_seconds for manifest in _manifests(planned).values()), 3)


def write_summary(run: RunFolder, recipe: Recipe, planned: list[PlannedStage], state: str, seconds: float) -> None:
    """Write ``run.json``: how the run ended, its stages, their times (seconds) and figures."""
    manifests = _manifests(planned)
    stages = [
        {
            "stage": item.name,
            "kind": item.kind,
            "identity": item.digest,
            "folder": str(item.folder.relative_to(run.path)),
            "done": item.name in manifests,
            "wall_seconds": manifests[item.name].wall_seconds if item.name in manifests else None,
            "metrics": dict(manifests[item.name].metrics) if item.name in manifests else {},
        }
        for item in planned
    ]
    summary = {
        "name": recipe.name,
        "seed": recipe.seed,
        "state": state,
        "ended": time.time(),
        "session_seconds": round(seconds, 3),
        "wall_seconds": wall_seconds(planned),
        "stages": stages,
    }
    atomic_write_json(run.summary, summary)


def publish_report(run: RunFolder, planned: list[PlannedStage]) -> None:
    """Copy the last report that a stage made to the top of the run.

    ``wall_seconds`` in ``report.json`` becomes that of the whole recipe, which no stage of it could know.
    """
    for item in reversed(planned):
        report = item.folder / "report.json"
        page = item.folder / "report.html"
        if not (report.is_file() or page.is_file()):
            continue
        if report.is_file():
            value = json.loads(report.read_text(encoding="utf-8"))
            if isinstance(value, dict):
                value["wall_seconds"] = wall_seconds(planned)
            atomic_write_json(run.path / "report.json", value)
        if page.is_file():
            aside = run.path / ".report.html.tmp"
            shutil.copyfile(page, aside)
            aside.replace(run.path / "report.html")
        return


def _manifests(planned: list[PlannedStage]) -> dict[str, Manifest]:
    return {item.name: read_manifest(item.folder) for item in planned if has_manifest(item.folder)}


def _figure(value: Any) -> str:
    return number(value) if isinstance(value, float) else str(value)


def latest_run(root: str | Path = "runs") -> Path:
    """The run under ``root`` that was last at work.  Raises :class:`RunError` when there is none."""
    runs = [path for path in Path(root).glob("*") if (path / "events.jsonl").is_file()]
    if not runs:
        raise RunError(f"{root}: there is no run; 'assent run RECIPE' makes one")
    return max(runs, key=lambda path: (path / "events.jsonl").stat().st_mtime)
