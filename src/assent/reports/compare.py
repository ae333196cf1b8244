"""Several runs on the same axes: one self-contained page, and their figures as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assent.reports import wording
from assent.reports.page import MEASURES, flat, templates, write_page
from assent.reports.records import Policy, Report, Training
from assent.reports.summary import figures, reference_match, verdict

if TYPE_CHECKING:
    from assent.reports.svg import Picture

COLOURS = ("p1", "p2", "p3", "p4", "p5", "p0")
"""CSS variables of the runs, in their order; more runs take them again."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A setting that is not the same in all runs; values [R] in their order, ``None`` where a run has none."""

    stage: str
    setting: str
    values: tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Overlay:
    """The charts of one stage over all runs that have it."""

    stage: str
    pictures: Sequence[Picture]
    more: Sequence[Picture]


def write_comparison(reports: Sequence[Report], names: Sequence[str], folder: Path) -> dict[str, Any]:
    """Write ``compare.html`` and ``compare.json`` into ``folder``; returns the JSON figures.

    ``names`` are what the runs are called, such as their paths.
    """
    names = short_names(names)
    found = comparison(reports, names)
    page = render_comparison(reports, names)
    write_page(folder, {"compare.html": page, "compare.json": json.dumps(found, indent=2) + "\n"})
    return found


def comparison(reports: Sequence[Report], names: Sequence[str]) -> dict[str, Any]:
    """``compare.json``: the figures of each run, and the settings in which they differ."""
    return {
        "runs": {name: figures(report) for name, report in zip(names, reports, strict=True)},
        "same_judge": same_judge(reports),
        "differences": [
            {"stage": row.stage, "setting": row.setting, "values": dict(zip(names, row.values, strict=True))}
            for row in differences(reports)
        ],
    }


def same_judge(reports: Sequence[Report]) -> bool:
    """Whether one judge and reference, over as many prompts, stand behind all evaluations."""
    return len({(report.judge, report.reference, report.evidence.prompts) for report in reports}) == 1


def differences(reports: Sequence[Report]) -> list[Difference]:
    """Settings of stages of the same name that are not the same in all runs; those of a report are left out."""
    found: list[dict[tuple[str, str], str]] = [
        {
            (stage.name, name): value
            for stage in report.stages
            if stage.kind != "report"
            for name, value in flat({**stage.settings, "seed": stage.seed})
        }
        for report in reports
    ]
    rows: list[Difference] = []
    for key in dict.fromkeys(key for each in found for key in each):
        there = [{stage for stage, _ in each} for each in found]
        values = tuple(each.get(key) for each in found)
        if len(set(values)) > 1 and all(key[0] in stages for stages in there):
            rows.append(Difference(*key, values))
    return rows


def only_in(reports: Sequence[Report]) -> list[tuple[str, tuple[bool, ...]]]:
    """Stages that not every run has, and which [R] have them."""
    every = dict.fromkeys(stage.name for report in reports for stage in report.stages)
    have = [{stage.name for stage in report.stages} for report in reports]
    rows = [(name, tuple(name in each for each in have)) for name in every]
    return [row for row in rows if not all(row[1])]


def short_names(names: Sequence[str]) -> list[str]:
    """The last part of each path, or the whole where that would call two runs the same."""
    last = [Path(name).resolve().name for name in names]
    return [short if last.count(short) == 1 else name for short, name in zip(last, names, strict=True)]


def render_comparison(reports: Sequence[Report], names: Sequence[str]) -> str:
    """The page as HTML text, with everything that it needs inside."""
    mains = [report.main for report in reports]
    colours = [COLOURS[i % len(COLOURS)] for i in range(len(reports))]
    return templates().get_template("compare.html").render(
        reports=reports,
        names=names,
        colours=colours,
        mains=mains,
        verdicts=[verdict(report) for report in reports],
        matches=[reference_match(report, report.main) if report.main else None for report in reports],
        same_judge=same_judge(reports),
        measures=[m for m in MEASURES if any(_figure(main, m.key) is not None for main in mains)],
        differences=differences(reports),
        only_in=only_in(reports),
        stages=list(dict.fromkeys(stage.name for report in reports for stage in report.stages)),
        stage_of=[{stage.name: stage for stage in report.stages} for report in reports],
        wording=wording,
        **_pictures(reports, names, colours),
    )  # fmt: skip


def _figure(policy: Policy | None, key: str) -> float | None:
    return None if policy is None else policy.figures.get(key)


def _pictures(reports: Sequence[Report], names: Sequence[str], colours: Sequence[str]) -> dict[str, Any]:
    from assent.reports import draw  # matplotlib: only where pictures are drawn

    trained = dict.fromkeys(training.stage for report in reports for training in report.trainings)
    overlays: list[Overlay] = []
    for stage in trained:
        found: Mapping[str, tuple[str, Training]] = {
            name: (colour, training)
            for name, colour, report in zip(names, colours, reports, strict=True)
            for training in report.trainings
            if training.stage == stage
        }
        pictures, more = (draw.overlay_pictures(stage, found, panels) for panels in (draw.PANELS, draw.MORE_PANELS))
        if pictures or more:
            overlays.append(Overlay(stage, pictures, more))
    return {"overlays": overlays, "frontiers": draw.frontiers(list(zip(names, colours, reports, strict=True)))}
