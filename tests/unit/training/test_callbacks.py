"""Evaluation, early stopping, the best weights, the metrics file, and signals."""

import contextlib
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from assent.errors import RecipeError
from assent.testing.tiny import tiny_reward
from assent.training.callbacks import Evaluation, MetricsLog, StepEvent, read_metrics
from assent.training.checkpoint import Saver, load_newest
from assent.training.roles import Roles
from assent.training.signals import StopAsked
from assent.training.supervised import evaluate_loss, split_examples
from assent.training.supervised import train as run
from tests.training.tiny_runs import supervised_task, train, weights


def event(step: int, total: int = 10, **figures: float) -> StepEvent:
    return StepEvent(step, total, figures, 0.1, 5, Roles())


def evaluation(values: list[float], folder: Path, **settings: Any) -> Evaluation:
    left = iter(values)
    given = {
        "every": 1,
        "metric": "eval_loss",
        "greater_is_better": False,
        "patience": None,
        "keep_best": False,
        **settings,
    }
    return Evaluation(lambda: {"eval_loss": next(left)}, folder, **given)


def test_early_stopping_waits_for_its_patience(tmp_path: Path):
    watched = evaluation([3.0, 2.0, 2.5, 2.0, 1.5, 1.6, 1.7], tmp_path, patience=2)
    assert [watched.after_step(event(step)) for step in range(1, 5)] == [False, False, False, True]
    assert (watched.best, watched.best_step, watched.best_figures) == (-2.0, 2, {"eval_loss": 2.0})
    greater = evaluation([1.0, 2.0, 3.0], tmp_path, patience=1, greater_is_better=True)
    assert [greater.after_step(event(step)) for step in (1, 2, 3)] == [False, False, False]


def test_evaluations_come_every_so_often_and_at_the_end(tmp_path: Path):
    watched = evaluation([1.0] * 9, tmp_path, every=4)
    steps: list[int] = []
    for step in range(1, 11):
        watched.after_step(event(step))
        if watched.last_step == step:
            steps.append(step)
    assert steps == [4, 8, 10]


def test_what_it_knows_is_checkpointed(tmp_path: Path):
    watched = evaluation([3.0, 2.0, 2.5], tmp_path, patience=2)
    for step in (1, 2, 3):
        watched.after_step(event(step))
    other = evaluation([2.4], tmp_path, patience=2)
    other.restore(json.loads(json.dumps(watched.state())), tmp_path)
    assert other.after_step(event(4))
    assert other.best_step == 2


def test_the_best_weights_come_back(tmp_path: Path):
    roles = Roles(reward=tiny_reward())
    watched = evaluation([2.0, 1.0, 3.0], tmp_path, keep_best=True)
    first = next(roles.trained["reward"].parameters())
    for step in (1, 2, 3):
        with torch.no_grad():
            first.fill_(float(step))
        watched.after_step(StepEvent(step, 3, {}, 0.0, 0, roles))
    watched.load_best(roles)
    assert float(first[0, 0].detach()) == 2.0
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["best.pt"]


@pytest.mark.parametrize("killed_while_going_on", [False, True])
def test_new_best_weights_leave_those_in_the_checkpoints_alone(tmp_path: Path, killed_while_going_on: bool):
    roles, folder = Roles(reward=tiny_reward()), tmp_path / "checkpoints"
    first = evaluation([2.0], tmp_path, keep_best=True)
    first.after_step(StepEvent(1, 3, {}, 0.0, 0, roles))
    with contextlib.closing(Saver(folder, 2)) as saver:
        saver.begin(1, {"evaluation": first.state()}, first.files())
    if killed_while_going_on:
        os.link(folder / "step-00000001" / "best.pt", folder / "best.tmp")
    found = load_newest(folder, print)
    assert found is not None
    then = evaluation([1.0], tmp_path, keep_best=True)
    if not killed_while_going_on:
        then.restore(found.state["evaluation"], found.folder)
        assert sorted(path.name for path in folder.iterdir()) == ["best.pt", "step-00000001"]
    with torch.no_grad():
        next(roles.trained["reward"].parameters()).fill_(7.0)
    then.after_step(StepEvent(2, 3, {}, 0.0, 0, roles))
    said: list[str] = []
    again = load_newest(folder, said.append)
    assert (again is not None and again.state["step"], said) == (1, [])


def test_a_run_ends_with_its_best_weights_and_their_figures(tmp_path: Path):
    settings = {"learning_rate": 0.01, "eval_steps": 1, "max_steps": 7, "lr_scheduler_type": "constant"}
    task = supervised_task("sft", tmp_path / "best", load_best_model_at_end=True, **settings)
    figures = run(task)
    rows = read_metrics(tmp_path / "best" / "metrics.jsonl")
    best = min(rows, key=lambda row: row["eval_loss"])
    assert 1 < best["step"] < 7
    assert figures["eval_loss"] == best["eval_loss"]
    assert evaluate_loss(task)["eval_loss"] == pytest.approx(best["eval_loss"], abs=1e-7)
    last = supervised_task("sft", tmp_path / "last", **settings)
    assert run(last)["eval_loss"] == rows[-1]["eval_loss"] > best["eval_loss"]


def test_a_run_stops_early(tmp_path: Path):
    figures = run(
        supervised_task(
            "sft", tmp_path, learning_rate=0.05, eval_steps=1, max_steps=50, early_stopping_patience=2, batch_size=8
        )
    )
    rows = [row["eval_loss"] for row in read_metrics(tmp_path / "metrics.jsonl")]
    assert figures["steps"] == len(rows) < 50
    assert rows.index(min(rows)) == len(rows) - 3


def test_evaluation_figures_stand_in_the_row_of_their_step(tmp_path: Path):
    train("dpo", tmp_path, max_steps=5)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in rows if "eval_accuracy" in row] == [2, 4, 5]
    assert all({"loss", "margin", "grad_norm", "learning_rate", "epoch"} <= row.keys() for row in rows)
    assert rows[0]["loss"] == pytest.approx(0.693147, abs=1e-5)  # the policy is the reference


def test_best_weights_need_something_held_out(tmp_path: Path):
    task = supervised_task("sft", tmp_path, load_best_model_at_end=True)
    object.__setattr__(task, "held_out", [])
    with pytest.raises(RecipeError, match="eval_data or eval_split"):
        run(task)


def test_the_metrics_file_is_cut_to_the_checkpoint_and_a_torn_line_is_dropped(tmp_path: Path):
    log = MetricsLog(tmp_path)
    log.start(0)
    for step in (1, 2, 3):
        log.after_step(event(step, loss=step / 3))
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 4, "lo')
    log.start(2)
    assert read_metrics(tmp_path / "metrics.jsonl") == [{"step": 1, "loss": 1 / 3}, {"step": 2, "loss": 2 / 3}]


def test_splitting_holds_out_a_share_and_loses_nothing():
    examples: list[Any] = list(range(20))
    kept, held = split_examples(examples, 0.25, 1)
    assert len(held) == 5
    assert sorted(kept + held) == examples
    assert split_examples(examples, 0.25, 1) == (kept, held)
    assert split_examples(examples, 0.25, 2)[1] != held
    with pytest.raises(RecipeError, match="leaves nothing"):
        split_examples(examples[:1], 0.5, 1)


def test_training_from_the_same_seed_is_the_same_training(tmp_path: Path):
    one, two = weights(train("sft", tmp_path / "a")), weights(train("sft", tmp_path / "b"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_the_first_signal_asks_and_the_second_interrupts():
    before = signal.getsignal(signal.SIGINT)
    with StopAsked() as stop:
        stop.raise_if_asked()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.asked
        with pytest.raises(KeyboardInterrupt):
            stop.raise_if_asked()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) is before
