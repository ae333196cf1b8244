"""Stage ``score``: rewards for completions from any source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import Field

from assent.config import Settings
from assent.data.jsonl import write_completions
from assent.data.readers import read_completions
from assent.data.scored import Scored, with_score
from assent.errors import DataError
from assent.pipeline.portions import Portions
from assent.pipeline.stage import Context, Input, Metrics, Stage, Waiting
from assent.pipeline.stages.reward_input import RewardInput, open_reward
from assent.rewards.source import Pending, RewardSource, account_of, groups_of, problems
from assent.training.rollouts import OnUnscored


class ScoreSettings(RewardInput, Settings):
    """Scoring."""

    data: str = Input("data", description="Completions, as the sample stage writes them, or prompt and completion")
    on_unscored: OnUnscored = "stop"
    """What to do with a completion that gets no score: stop, or write it without one."""
    portion: int = Field(default=256, gt=0, json_schema_extra={"identity": False})
    """Completions scored and kept at a time: a stage that was killed goes on after the last."""


def run(settings: ScoreSettings, context: Context) -> Metrics:
    """Writes ``completions.jsonl``: what was read, its scores in the metadata."""
    source, rows = open_reward(settings, "score"), read_completions(settings.data)
    portions, scores = Portions(context.out), [{} for _ in rows]
    context.progress.start("scoring", len(rows))
    try:
        for number, places in enumerate(_portions(rows, settings.portion)):
            part = [rows[i] for i in places]
            found = portions.get(f"portion {number}", lambda part=part: _scored(source, part, settings, context))
            for place, fields in zip(places, found, strict=True):
                scores[place] = fields
            context.progress.advance(len(places))
    except Pending as pending:
        raise Waiting(str(pending)) from None
    context.progress.stop()
    if not any(scores):
        raise DataError("none of its completions got a score", settings.data)
    write_completions(
        context.out / "completions.jsonl",
        ((p, with_score(c, **fields) if fields else c) for (p, c), fields in zip(rows, scores, strict=True)),
    )
    return {**_figures(scores), **account_of(source)}


def _portions(rows: Sequence[Scored], size: int) -> list[list[int]]:
    """Places in the file, the completions of one prompt together."""
    out: list[list[int]] = []
    for group in groups_of([completion for _, completion in rows]):
        if not out or len(out[-1]) + len(group) > size:
            out.append([])
        out[-1] += group
    return out


def _scored(
    source: RewardSource, rows: Sequence[Scored], settings: ScoreSettings, context: Context
) -> list[dict[str, Any]]:
    """The arguments of :func:`with_score` for each row; empty for one that got no score."""
    completions = [completion for _, completion in rows]
    scores = source.score([prompt for prompt, _ in rows], completions)
    missing = problems(scores, completions)
    for why in missing.values():
        if settings.on_unscored == "stop":
            raise DataError(f"{why}; on_unscored: skip goes on without", settings.data)
        context.say(why)
    return [
        {}
        if place in missing
        else {
            "score": value,
            "parts": {name: part[place] for name, part in scores.parts.items()},
            "uncertainty": None if scores.uncertainty is None else scores.uncertainty[place],
        }
        for place, value in enumerate(scores.values)
    ]


def _figures(scores: Sequence[dict[str, Any]]) -> dict[str, float | int]:
    values = np.array([fields["score"] for fields in scores if fields])
    return {
        "completions": len(scores),
        "unscored": len(scores) - len(values),
        "score_mean": float(values.mean()),
        "score_std": float(values.std()),
        "score_min": float(values.min()),
        "score_max": float(values.max()),
    }


STAGE = Stage("score", "Add rewards to completions", ScoreSettings, run)
