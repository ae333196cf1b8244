"""Runs on the same axes: what differs between them, and a page that is whole."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import fixture
import pytest

from assent.cli import main
from assent.reports import draw
from assent.reports.compare import comparison, differences, only_in, same_judge, short_names, write_comparison
from assent.reports.extract import extract
from assent.reports.records import Report, Series, StageRun, Training


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Two runs of the same recipe, the second without DPO and at another learning rate in PPO."""
    one = fixture.write_run(tmp_path / "one", linked=False)
    kept = {name: figures for name, figures in fixture.EVALUATION["policies"].items() if name != "dpo"}
    evaluation = {**fixture.EVALUATION, "policies": kept, "win_rates": fixture.EVALUATION["win_rates"][:1]}
    two = fixture.write_run(tmp_path / "two", evaluation, linked=False).rename(tmp_path / "two" / "runs" / "faster")
    manifest = json.loads((two / "ppo" / "manifest.json").read_text())
    manifest["settings"]["learning_rate"] = 1e-3
    (two / "ppo" / "manifest.json").write_text(json.dumps(manifest))
    return [one, two]


def test_what_differs(runs: list[Path]) -> None:
    reports = [extract(run) for run in runs]
    assert [(row.stage, row.setting, row.values) for row in differences(reports)] == [
        ("ppo", "learning_rate", ("0.0003", "0.001"))
    ]
    assert only_in(reports) == [("dpo", (True, False))]


def test_seeds_are_settings_too() -> None:
    stages = [StageRun("sft", "sft", settings={"steps": 1}, seed=seed) for seed in (0, 1)]
    reports = [Report("t", "r", stages=(stage,)) for stage in stages]
    assert [(row.setting, row.values) for row in differences(reports)] == [("seed", ("0", "1"))]


def test_figures_of_each_run(runs: list[Path]) -> None:
    found = comparison([extract(run) for run in runs], ["one", "two"])
    assert found["runs"]["one"]["win_rate"] == found["runs"]["two"]["win_rate"] == 0.91125
    assert set(found["runs"]["two"]["policies"]) == {"sft", "ppo"}
    assert found["same_judge"]
    assert found["differences"] == [
        {"stage": "ppo", "setting": "learning_rate", "values": {"one": "0.0003", "two": "0.001"}}
    ]


def test_other_judges_are_told(runs: list[Path], tmp_path: Path) -> None:
    reports = [replace(extract(run), trainings=()) for run in runs]
    reports[1] = replace(reports[1], judge="somebody else")
    assert not same_judge(reports)
    write_comparison(reports, ["one", "two"], tmp_path / "out")
    assert "cannot be set against one another" in (tmp_path / "out" / "compare.html").read_text()


def test_names_are_short_where_that_is_enough() -> None:
    assert short_names(["runs/a", "runs/b"]) == ["a", "b"]
    assert short_names(["x/a", "y/a", "y/b"]) == ["x/a", "y/a", "b"]


def test_an_overlay_shows_what_was_held_out() -> None:
    series = Series((1.0, 2.0), (0.5, 0.25))
    one = Training("sft", "sft", {"loss": series, "eval_loss": Series((2.0, 4.0), (9.0, 7.0))})
    two = Training("sft", "sft", {"loss": series})
    (picture,) = draw.overlay_pictures("sft", {"a": ("p1", one), "b": ("p2", two)}, draw.PANELS[:1])
    assert "var(--p1)" in picture.svg
    assert "var(--p2)" in picture.svg
    assert draw.overlay_pictures("sft", {"a": ("p1", one)}, draw.PANELS[2:4]) == []


def test_the_verb_writes_a_whole_page(runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["compare", *map(str, runs), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out / 'compare.html'}\n"
    page = (out / "compare.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!#|data:)[^"]*"', page)
    assert "#0102" not in page
    for text in ("learning_rate", "0.001", ">quickstart<", ">faster<", "Stages that not all have", "1\u202fmin 36"):
        assert text in page, text
    assert main(["compare", str(runs[0]), "--json"]) == 2
    assert "give two runs or more" in capsys.readouterr().err


def test_a_report_is_drawn_where_it_is_missing_or_old(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = fixture.write_run(tmp_path, linked=False)
    assert main(["report", str(run)]) == 0
    page = run / "report.html"
    assert capsys.readouterr().out == f"{page}\n"
    page.write_text("kept")
    assert main(["report", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["win_rate"] == 0.91125
    assert page.read_text() == "kept"  # nothing is newer
    newer = page.stat().st_mtime + 10
    os.utime(run / "ppo" / "metrics.jsonl", (newer, newer))
    assert main(["report", str(run)]) == 0
    assert page.read_text() != "kept"
    assert main(["report", str(run), "--hourly-price", "2"]) == 0
    assert "Time and cost" in page.read_text()
    assert main(["report", str(tmp_path / "nowhere")]) == 2
