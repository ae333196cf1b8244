"""What the benchmark of rewards makes of its measurements, and its baselines on rows whose answer is known."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from assent.intervals import wilson_interval
from benchmarks.rewards import __main__ as rewards
from benchmarks.rewards import best_of_n, ensembles, gating, people, shared


def test_the_gates_figures_are_the_worst_bound_and_the_mean_cost(capsys):
    found = {
        seed: {"targets": {}, "accuracy": {}, "sft": [900, 3000, 0.5], "helpful": [300, 3000, 2.0], "gated": gated}
        for seed, gated in enumerate(([6, 3000, 1.9], [12, 3000, 2.1]))
    }
    figures = gating.report(found)
    assert figures["unsafe_rate"] == wilson_interval(12, 3000)[1] < 0.01
    assert figures["helpfulness_cost"] == pytest.approx(0.0)  # 5 % lost on one seed, 5 % gained on the other
    assert "0.0500, -0.0500" in capsys.readouterr().out


def test_the_last_line_is_of_what_is_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(rewards, "RUN", tmp_path)
    monkeypatch.setattr(sys, "argv", ["rewards", "--parts"])
    (tmp_path / "found").mkdir()
    for seed, grouped in ((0, 0.72), (2, 0.70)):
        rewards.kept("kwise", seed).write_text(json.dumps({"grouped": grouped, "pairs": 0.69}), encoding="utf-8")
    rewards.main()
    text = capsys.readouterr().out
    assert "kwise, 2 of 7 seeds" in text
    last = json.loads(text.splitlines()[-1])
    assert last.pop("kwise_gain") == pytest.approx(0.02)
    assert last == {"ensemble_true_gain": None, "best_of_n_gain": None, "unsafe_rate": None, "helpfulness_cost": None}


def test_a_spread_needs_two_seeds(capsys):
    assert shared.gained("gain", [0.5]) == 0.5
    assert shared.gained("gain", [0.1, 0.3, 0.2]) == pytest.approx(0.2)
    # Student's t at two degrees of freedom, 4.303, times 0.1 / sqrt(3)
    assert capsys.readouterr().out.splitlines() == [
        "gain: +0.500; by seed 0.500",
        "gain: +0.200 (-0.048 to +0.448 over seeds); by seed 0.100, 0.300, 0.200",
    ]


def test_prompts_that_look_the_same_to_the_model_stay_on_one_side():
    end = " ".join(f"word{i}" for i in range(people.ASKED))
    one, other = (people._comparison(str(i), f"{start} {end}", "a b", "c") for i, start in enumerate(("SUB", "POST:")))
    assert one.prompt.id == other.prompt.id == one.group
    assert one.prompt.text == end + "\n"
    assert people._comparison("2", end + " more", "a", "b").prompt.id != one.prompt.id


def test_a_rankings_pairs_leave_ties_out():
    assert list(people._told({"rank": [2, 1, 2, 3]})) == [(0, 3), (1, 0), (1, 2), (1, 3), (2, 3)]


def test_baselines_find_what_decides():
    rng = np.random.default_rng(0)

    def text(good: bool) -> str:
        words = ["the film was", "good" if good else "bad", *["so"] * int(rng.integers(1, 9))]
        return " ".join(words)

    rows = [people._comparison(str(i), f"prompt {i}", text(True), text(False)) for i in range(120)]
    words = people._logistic(rows[:90], rows[90:], people._words(rows[:90]))
    lengths = people._logistic(rows[:90], rows[90:], people._lengths)
    assert people._right(words).mean() == 1.0
    assert people._right(lengths).mean() < 0.8
    assert people._right(np.array([1.0, 0.0, -1.0])).tolist() == [1.0, 0.5, 0.0]


def test_what_a_tuned_ensemble_gains_by_best_of_n(monkeypatch, tmp_path, capsys):
    """Of two films with four answers each, one model likes the worst, the other the best; together they choose well."""
    true = np.array([[0.0, 1.0, 2.0, 3.0]] * 2)
    one, other = np.array([[9.0, 1.0, 2.0, 3.0]] * 2), np.array([[-9.0, 1.0, 2.0, 3.0]] * 2)
    for name, value in {"FILMS": 2, "SAMPLES": 4, "EVERY_N": (1, 2, 4), "TUNING": (100,), "RUN": tmp_path}.items():
        monkeypatch.setattr(best_of_n, name, value)
    monkeypatch.setattr(best_of_n, "_answers", lambda: ([], [], true))
    monkeypatch.setattr(
        best_of_n, "_scores", lambda kind, seed: np.stack([one, other] if kind == "seeds" else [one] * 2)
    )
    monkeypatch.setattr(best_of_n, "wrong", lambda seed: 0.3)
    best_of_n._tuned.cache_clear()
    found = best_of_n.measure(0)
    best_of_n._tuned.cache_clear()
    assert found["arms"]["single"]["true"] == pytest.approx([1.5, (8 / 6 + 14 / 6) / 2, 1.5])
    assert found["arms"]["seeds, worst"]["true"][-1] == 3.0
    assert found["arms"]["bootstrap, worst"]["true"][-1] == 0.0
    assert found["together"]["bootstrap"] == pytest.approx(1.0)
    assert found["together"]["seeds"] < 0.0
    figures = best_of_n.report({0: found, 1: found})
    assert figures["best_of_n_gain"] == pytest.approx(1.5)
    assert "the best on the tuning seeds: seeds, worst" in capsys.readouterr().out
    assert (tmp_path / "best-of-n.png").exists()


def test_an_ensembles_gain_is_over_the_mean_of_its_members(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(ensembles, "RUN", tmp_path)

    def runs(*true: float) -> list[dict[str, list[float]]]:
        return [{name: [0.0] * (ensembles.STEPS - 10) + [value] * 10 for name in ensembles.CURVES} for value in true]

    found = {seed: {"single": runs(-1.0, 3.0), "worst": runs(1.0 + seed), "variance": runs(2.0)} for seed in range(3)}
    assert ensembles.report(found) == {"ensemble_true_gain": pytest.approx(1.0)}
    said = capsys.readouterr().out
    assert "worst over single: +1.000 (-1.484 to +3.484 over seeds); by seed 0.000, 1.000, 2.000" in said
    assert "single, each member: -1.000, 3.000; -1.000, 3.000; -1.000, 3.000" in said
    assert (tmp_path / "ensembles.png").exists()
