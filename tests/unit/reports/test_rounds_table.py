"""The table of rounds: from the figures of the stages that check for drift."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from assent.reports.extract import extract
from assent.reports.page import render
from assent.reports.records import StageRun
from assent.reports.rounds import read_rounds


def stage(number: int, **metrics: float) -> StageRun:
    return StageRun(f"round{number}.drift", "drift", metrics=metrics)


FIRST = stage(1, **{"accuracy": 0.7, "accuracy/round1": 0.7, "accuracy_low/round1": 0.6, "accuracy_high/round1": 0.8,
                    "faults": 0, "answers_pay": 1})  # fmt: skip
SECOND = stage(2, **{
    "accuracy/round1": 0.72, "before/round1": 0.7, "change/round1": 0.02, "change_low/round1": -0.01,
    "change_high/round1": 0.05, "accuracy/round2": 0.65, "accuracy_low/round2": 0.55, "accuracy_high/round2": 0.75,
    "before/round2": 0.52, "change/round2": 0.13, "change_low/round2": 0.1, "change_high/round2": 0.2,
    "points_per_100_answers": 3.25, "faults": 1, "answers_pay": 1,
})  # fmt: skip


def test_a_row_has_the_newest_samples_and_the_worst_of_the_earlier_rounds():
    asked = StageRun("round2.collect", "collect", metrics={"answered": 200})
    first, second = read_rounds([FIRST, asked, SECOND, StageRun("sft", "sft")])
    assert (first.name, first.answers, first.accuracy, first.before, first.worst) == ("round1", None, 0.7, None, None)
    assert (second.answers, second.accuracy, second.low, second.high) == (200, 0.65, 0.55, 0.75)
    assert second.before == 0.52
    assert second.worst == ("round1", 0.02, -0.01, 0.05)
    assert (second.points_per_100_answers, second.faults) == (3.25, 1)


def test_the_page_has_the_table_only_where_there_are_rounds(run: Path, page: str):
    assert 'id="rounds"' not in page
    report = extract(run)
    page = render(replace(report, stages=(*report.stages, FIRST, SECOND), trainings=()))
    table = page.partition('<section id="rounds">')[2].partition("</section>")[0]
    assert '<a href="#rounds">Rounds</a>' in page
    assert table.count("<tr>") == 3
    assert "3.25" in table
    assert "drifts" in table
