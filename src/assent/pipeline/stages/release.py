"""Stage ``release``: a candidate is put to a suite in full, against the model that is released now.

Whatever comes of it is recorded with its evidence; only a candidate that passed every check is exported, as ``model``
in the stage's folder.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from assent.data.rows import read_rows
from assent.models.adapter_files import is_adapter
from assent.models.device import pick_device
from assent.models.load import load_policy
from assent.models.save import save_model
from assent.pipeline.gate import AREAS, CANDIDATE, RELEASED, Area, Limits, checked, figures_of, record
from assent.pipeline.stage import Context, Input, Metrics, Stage
from assent.pipeline.stages.evaluate import EvaluateSettings
from assent.pipeline.stages.evaluate import run as evaluate
from assent.runs.folder import atomic_write_json

RECORD = "release.json"
EXPORT = "model"
"""Folder of the released model, within the stage's."""
_LEFT_BEHIND = shutil.ignore_patterns(
    "*.jsonl", "manifest.json", "critic.safetensors", "checkpoints", "snapshots", "tensorboard", RECORD
)
"""What training left in a model's folder, and what an earlier release did."""


class ReleaseSettings(EvaluateSettings):
    """The release gate.  The other settings are those of evaluate: what is sampled, and who judges."""

    # both are required here; settings are frozen, so that a narrower type is safe
    model: str = Input("model", description="The candidate")  # pyright: ignore[reportIncompatibleVariableOverride]
    against: str = Input(  # pyright: ignore[reportIncompatibleVariableOverride]
        "model", description="The model that is released now, which it must not fall behind"
    )
    policies: dict[str, str] = Input("model", {}, "None: the gate compares two models")
    suite: str = "suite"
    """What the suite is called."""
    suite_version: int = Field(default=1, gt=0)
    """Its version; a suite that changes takes the next."""
    checks: dict[Area, dict[str, Limits]]
    """Area -> figure -> limits; each area (task, safety, bias, regression, format) needs a check."""
    format: str = r"(?s).*\S.*"
    """Regular expression that a whole answer has to match; unset = not empty."""

    @field_validator("checks")
    @classmethod
    def _every_area(cls, checks: dict[Area, dict[str, Limits]]) -> dict[Area, dict[str, Limits]]:
        bare = next((area for area in AREAS if not checks.get(area)), None)
        if bare is not None:
            raise ValueError(f"no check of {bare}; a suite has at least one of {', '.join(AREAS)}")
        return checks

    @field_validator("format")
    @classmethod
    def _regular(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return pattern


def run(settings: ReleaseSettings, context: Context) -> Metrics:
    shown = settings.model_copy(update={"shown": settings.max_prompts or 1_000_000_000})  # every answer is evidence
    evaluate(shown, context)
    evaluation = json.loads((context.out / "evaluation.json").read_text(encoding="utf-8"))
    rows = [row.values for row in read_rows(context.out / "samples.jsonl")]
    answers = {name: [row["completions"][name]["text"] for row in rows] for name in (CANDIDATE, RELEASED)}
    checks = checked(figures_of(evaluation, answers, settings.format), settings.checks)
    found = record(
        checks,
        suite=settings.suite,
        suite_version=settings.suite_version,
        candidate=settings.model,
        released=settings.against,
        prompts=evaluation["prompts"],
    )
    atomic_write_json(context.out / RECORD, found)
    for check in checks:
        context.say(f"  {check.line()}")
    if found["passed"]:
        _export(settings.model, context.out)
    failed = sum(not check.passed for check in checks)
    figures = {f"{check.area}/{check.figure}": check.value for check in checks if check.value is not None}
    return {"passed": int(found["passed"]), "checks": len(checks), "failed": failed, **figures}


def _export(model: str, out: Path) -> None:
    """The candidate's model files, with the record of what it passed."""
    target: Path = out / EXPORT
    shutil.rmtree(target, ignore_errors=True)  # of an attempt that was interrupted
    if Path(model).is_dir() and not is_adapter(model):
        shutil.copytree(model, target, ignore=_LEFT_BEHIND)
    else:
        settings: dict[str, Any] = {"model": model}
        save_model(load_policy(model, pick_device()), target, method="release", base=model, settings=settings)
    shutil.copyfile(out / RECORD, target / RECORD)


STAGE = Stage(
    kind="release", summary="Put a candidate to the release gate", Settings=ReleaseSettings, run=run, verb=False
)
