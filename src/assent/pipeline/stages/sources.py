"""Stages ``*-reward``: sources of reward that are no trained model, as folders that stand where a reward model does."""

from __future__ import annotations

from typing import Any

from assent.pipeline.stage import Context, Metrics, Stage
from assent.rewards.kinds import load_kind, write_source


def source_stage(name: str) -> Stage:
    """The stage of a kind of source: settings that cannot work are told here, before the source is first asked."""
    kind = load_kind(name)

    def run(settings: Any, context: Context) -> Metrics:
        kind.make(settings)
        write_source(context.out, kind, settings, context.run_dir)
        return {}

    return Stage(kind=f"{name}-reward", summary=kind.summary, Settings=kind.Settings, run=run)


PATTERN = source_stage("pattern")
LENGTH = source_stage("length")
JSON = source_stage("json")
ANSWER = source_stage("answer")
CODE = source_stage("code")
FUNCTION = source_stage("function")
CLASSIFIER = source_stage("classifier")
JUDGE = source_stage("judge")
HUMAN = source_stage("human")
