"""What the benchmark of the tasks makes of evaluations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import tasks


def evaluated(folder: Path, utilities: list[tuple[float, float, float]], kl: float) -> Path:
    """An evaluation of a reference, a policy on the way and the last one."""
    folder.mkdir()
    names = ("sft", "rewritten", "grpo")
    policies = {"sft": {"kl": 0.0}, "rewritten": {"kl": 0.1}, "grpo": {"kl": kl}}
    found = {"reference": "sft", "judge": "a metric", "policies": policies}
    (folder / "evaluation.json").write_text(json.dumps(found), encoding="utf-8")
    rows = [
        {"completions": {name: {"utility": value} for name, value in zip(names, row, strict=True)}} for row in utilities
    ]
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def test_figures_are_of_the_reference_and_the_last_policy_over_the_prompts_of_all_seeds(tmp_path, monkeypatch, capsys):
    folders = [
        evaluated(tmp_path / "0", [(0.0, 9.0, 1.0), (1.0, 9.0, 1.0)], 2.0),
        evaluated(tmp_path / "1", [(0.0, 9.0, 0.0), (0.0, 9.0, 1.0)], 1.0),
    ]
    monkeypatch.setattr(tasks, "_evaluated", lambda name, seed: folders[seed])
    found = tasks.measured("questions", [0, 1])
    assert (found["metric"], found["before"], found["after"], found["kl"]) == ("a metric", 0.25, 0.75, 1.5)
    # the gains are 1, 0, 0, 1: their standard deviation is sqrt(1 / 3), the mean's standard error half of it
    half = 1.96 * (1 / 3) ** 0.5 / 2
    assert (found["low"], found["high"]) == (pytest.approx(0.5 - half, abs=1e-4), pytest.approx(0.5 + half, abs=1e-4))
    assert "gain +0.500" in capsys.readouterr().out


def test_every_recipe_is_a_task_and_another_name_is_refused(monkeypatch, capsys):
    assert {"code", "detoxify", "questions"} <= set(tasks.TASKS)
    monkeypatch.setattr("sys.argv", ["tasks", "--tasks", "question"])
    with pytest.raises(SystemExit):
        tasks.main()
    assert "no task question; there are" in capsys.readouterr().err
