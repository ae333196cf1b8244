"""Stage ``drift``: a reward model of this round on every round's held-out answers, beside the one before it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Literal

from pydantic import Field

from assent.config import Settings
from assent.data.readers import read_comparisons, read_rankings
from assent.errors import DataError, RunError
from assent.evaluation.drift import Drift, drift, paid
from assent.pipeline.stage import Context, Input, Metrics, Stage
from assent.pipeline.stages.evidence import score_gaps
from assent.rewards.load import load_reward
from assent.runs.folder import atomic_write_json


class DriftSettings(Settings):
    """Drift of a reward model."""

    reward: str = Input("model", description="The reward model, or another source of reward, of this round")
    previous: str | None = Input("model", None, "That of the round before; unset = there is none")
    held_out: dict[str, str] = Input(
        "data",
        description="Round -> comparisons that no reward model was trained on; the last are on the newest samples",
    )
    answers: str | None = Input("data", None, "Rankings of this round, whose number says what each was worth")
    least_accuracy: float = Field(default=0.55, ge=0.0, le=1.0)
    """Accuracy on the newest samples that the upper end of the interval must reach."""
    least_gain: float = Field(default=0.0, ge=0.0)
    """Accuracy for each hundred answers, in points of one hundredth, below which more answers stop paying; 0 = not
    judged."""
    on_drift: Literal["say", "stop"] = "say"
    """What to do where it got worse beyond chance on a round's answers, or is no good on the newest samples."""


def run(settings: DriftSettings, context: Context) -> Metrics:
    """Writes ``drift.json``, a row for each set."""
    if not settings.held_out:
        raise DataError("drift: held_out names no comparisons", "held_out")
    reward = load_reward(settings.reward)
    previous = load_reward(settings.previous) if settings.previous else None
    context.progress.start("drift", len(settings.held_out))
    found: list[Drift] = []
    for name, source in settings.held_out.items():
        pairs = [pair for pair in read_comparisons(source) if not pair.tie]
        if not pairs:
            raise DataError("has no comparison that is not a tie, so nothing can be told of drift", source)
        before = score_gaps(previous, pairs) if previous is not None else None
        found.append(drift(name, score_gaps(reward, pairs), before, [pair.prompt.id for pair in pairs]))
        context.progress.advance()
    context.progress.stop()
    answers = len(read_rankings(settings.answers)) if settings.answers else 0
    gain = paid(found, answers)
    faults = _faults(found, settings)
    pays = _pays(gain, settings)
    record = {"sets": [asdict(item) for item in found], "answers": answers, "faults": faults, "answers_pay": pays}
    atomic_write_json(context.out / "drift.json", record)
    for line in [*faults, *([] if pays else [_stop(gain, settings)])]:
        context.say(f"drift: {line}")
    if faults and settings.on_drift == "stop":
        raise RunError(f"drift: {faults[0]}; ask more, train anew, or set on_drift: say")
    return _metrics(found, gain, faults, pays)


def _faults(found: list[Drift], settings: DriftSettings) -> list[str]:
    lines = [
        f"on the held-out answers of '{item.name}' accuracy fell by {-item.change.value:.3f} "
        f"({-item.change.high:.3f} to {-item.change.low:.3f}) to {item.accuracy.value:.3f}"
        for item in found
        if item.lost and item.change is not None
    ]
    newest = found[-1]
    if newest.accuracy.high < settings.least_accuracy:
        lines.append(
            f"accuracy on the newest samples ('{newest.name}') is {newest.accuracy.value:.3f}, at most "
            f"{newest.accuracy.high:.3f}, below least_accuracy {settings.least_accuracy:g}"
        )
    return lines


def _pays(gain: float | None, settings: DriftSettings) -> bool:
    return gain is None or not settings.least_gain or 100.0 * gain >= settings.least_gain


def _stop(gain: float | None, settings: DriftSettings) -> str:
    return (
        f"more answers stop paying: a hundred of them changed accuracy by {100.0 * (gain or 0.0):+.2f} points, and "
        f"least_gain is {settings.least_gain:g}"
    )


def _metrics(found: list[Drift], gain: float | None, faults: list[str], pays: bool) -> dict[str, float | int]:
    out: dict[str, float | int] = {
        "accuracy": found[-1].accuracy.value,
        "faults": len(faults),
        "answers_pay": int(pays),
    }
    if gain is not None:
        out["points_per_100_answers"] = 100.0 * gain
    for item in found:
        out[f"accuracy/{item.name}"] = item.accuracy.value
        out[f"accuracy_low/{item.name}"], out[f"accuracy_high/{item.name}"] = item.accuracy.low, item.accuracy.high
        if item.before is not None and item.change is not None:
            out[f"before/{item.name}"] = item.before.value
            out[f"change/{item.name}"] = item.change.value
            out[f"change_low/{item.name}"], out[f"change_high/{item.name}"] = item.change.low, item.change.high
    return out


STAGE = Stage(kind="drift", summary="Check a new reward model for drift", Settings=DriftSettings, run=run)
