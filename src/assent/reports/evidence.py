"""What an evaluation found beyond win rates: judges, ratings, reward against KL, the alarm, bias.

The keys are those of ``evaluation.json``, which docs/evidence.md explains.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from assent.evaluation.win_rates import WinRate
from assent.reports.reading import mapping, number, optional
from assent.reports.records import (
    CurvePoint,
    Evidence,
    Exploited,
    Fit,
    GroupGap,
    Judged,
    Match,
    Rating,
    RewardCurve,
    SampleAccuracy,
    Stopping,
)

Row = Mapping[str, Any]


def read_evidence(found: Row) -> Evidence:
    """From an ``evaluation.json``.  Raises ``KeyError``, ``TypeError`` or ``ValueError`` for a damaged one."""
    detectable = mapping(found.get("detectable"))
    return Evidence(
        judges=tuple(_judged(row) for row in found.get("judges") or () if row.get("win_rates")),
        ratings=tuple(
            Rating(str(row["policy"]), float(row["elo"]), float(row["low"]), float(row["high"]))
            for row in mapping(found.get("bradley_terry")).get("ratings") or ()
        ),
        curves=tuple(_curve(row) for row in found.get("curves") or ()),
        exploited=tuple(
            Exploited(**{**{key: str(row[key]) for key in ("policy", "prompt", "text", "reference_text")},
                         **{key: float(row[key]) for key in ("proxy_gain", "gold_gain")}})
            for row in found.get("exploited") or ()
        ),
        gaps=tuple(_gap(row) for row in found.get("group_bias") or ()),
        accuracies=tuple(
            SampleAccuracy(
                str(row["policy"]), float(row["accuracy"]), float(row["low"]), float(row["high"]), int(row["n"])
            )
            for row in found.get("reward_accuracy") or ()
        ),
        prompts=optional(found.get("prompts"), int),
        detectable=number(detectable.get("difference")),
    )  # fmt: skip


def read_match(row: Row) -> Match:
    """A row of win rates."""
    counts = {name: int(row.get(name) or 0) for name in ("wins", "ties", "losses")}
    n = int(row.get("n") or sum(counts.values()))
    result = WinRate(**counts, rate=float(row["rate"]), low=float(row["low"]), high=float(row["high"]), n=n)
    controlled = [number(row.get(f"length_controlled{end}")) for end in ("", "_low", "_high")]
    known = [value for value in controlled if value is not None]
    equal = (known[0], known[1], known[2]) if len(known) == 3 else None
    return Match(str(row["policy"]), str(row["against"]), result, equal)


def _judged(row: Row) -> Judged:
    matches = tuple(read_match(match) for match in row["win_rates"])
    return Judged(str(row["judge"]), str(row.get("kind") or ""), matches)


def _curve(row: Row) -> RewardCurve:
    alarm = row.get("alarm")
    return RewardCurve(
        name=str(row["name"]),
        form=str(row["form"]),
        points=tuple(
            CurvePoint(
                label=str(point["label"]),
                kl=float(point["kl"]), kl_se=number(point.get("kl_se")) or 0.0,
                proxy=float(point["proxy"]), proxy_se=number(point.get("proxy_se")) or 0.0,
                gold=number(point.get("gold")), gold_se=number(point.get("gold_se")),
            )
            for point in row["points"]
        ),
        fits=tuple(_fit(reward, fit) for reward, fit in mapping(row.get("fits")).items()),
        stopping=optional(row.get("early_stopping"), _stopping),
        watched=alarm is not None,
        raised_at=optional(mapping(alarm).get("raised_at"), str),
    )  # fmt: skip


def _fit(reward: str, row: Row) -> Fit:
    return Fit(
        reward=reward,
        alpha=float(row["alpha"]["value"]),
        beta=float(row["beta"]["value"]),
        peak_kl=number(row.get("peak_kl")),
        peak_low=number(row.get("peak_kl_low")),
        peak_high=number(row.get("peak_kl_high")),
        reached=bool(row.get("reached")),
    )


def _stopping(row: Row) -> Stopping:
    loss = row["loss"]
    return Stopping(
        label=str(row["label"]), kl=float(row["kl"]), loss=float(loss["value"]), low=float(loss["low"]),
        high=float(loss["high"]), advised=bool(row["advised"]),
    )  # fmt: skip


def _gap(row: Row) -> GroupGap:
    gap = row["gap"]
    return GroupGap(
        policy=str(row["policy"]), score=str(row["score"]), axis=str(row["axis"]), group=str(row["group"]),
        gap=float(gap["value"]), low=float(gap["low"]), high=float(gap["high"]), clear=bool(row["clear"]),
    )  # fmt: skip
