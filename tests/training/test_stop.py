"""Asked to stop, or out of memory: what a step has done is kept, and the run ends with the same bits."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_resume import same
from tiny_runs import rollout_task, run_settings, supervised_task, train, weights

from assent.errors import RunError
from assent.rewards.rule import FunctionReward
from assent.training import loop, on_policy, supervised
from assent.training.callbacks import read_metrics
from assent.training.loop import Training
from assent.training.memory import TokenBudget, out_of_memory


def at_call(number: int, function: Callable[..., Any], first: Callable[[], Any]) -> Callable[..., Any]:
    """The function, which does something else first at one of its calls."""
    calls = 0

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            first()
        return function(*args, **kwargs)

    return counted


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def ends_alike(straight: Path, resumed: Path, one: Any, other: Any) -> None:
    same(weights(one), weights(other))
    assert (straight / "metrics.jsonl").read_bytes() == (resumed / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize("name", ["ppo", "grpo"])
def test_a_step_of_several_updates_is_saved_in_the_middle(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = train(name, tmp_path / "straight", save_steps=5)
    with monkeypatch.context() as patch:
        patch.setattr(Training, "_update", at_call(10, Training._update, terminate))  # four updates a step
        with pytest.raises(KeyboardInterrupt):
            train(name, tmp_path / "resumed", save_steps=5)
    assert [path.name for path in (tmp_path / "resumed" / "checkpoints").iterdir()] == ["step-00000002.0002"]
    said: list[str] = []
    made = Training._batches_made
    monkeypatch.setattr(Training, "_batches_made", lambda *args: said.append("rollouts") or made(*args))
    resumed = train(name, tmp_path / "resumed", say=said.append, save_steps=5)
    assert said == ["going on from step 2 of 6", *["rollouts"] * 3]  # those of the third step were saved
    ends_alike(tmp_path / "straight", tmp_path / "resumed", straight, resumed)


def test_rollouts_are_not_waited_for(tmp_path: Path) -> None:
    def noisy(prompt: Any, text: str) -> float:  # a reward that draws from all generators there are
        return len(text) + random.random() + float(np.random.rand()) + float(torch.rand(()))

    def run(folder: Path, reward: Callable[..., float]) -> dict[str, Any]:
        task = replace(rollout_task("grpo", folder, save_steps=5), reward=FunctionReward(reward))
        return dict(on_policy.train(task)[1].trained)

    straight = run(tmp_path / "straight", noisy)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "resumed", at_call(3 * 6 + 2, noisy, terminate))
    assert [path.name for path in (tmp_path / "resumed" / "checkpoints").iterdir()] == ["step-00000003"]
    resumed = run(tmp_path / "resumed", noisy)
    ends_alike(tmp_path / "straight", tmp_path / "resumed", straight, resumed)


def test_the_best_weights_survive_a_kill_while_the_model_is_saved(tmp_path: Path) -> None:
    settings = {"load_best_model_at_end": True, "learning_rate": 0.05, "eval_steps": 1, "save_steps": 4}
    straight = train("sft", tmp_path / "straight", **settings)
    best = min(read_metrics(tmp_path / "straight" / "metrics.jsonl"), key=lambda row: row["eval_loss"])
    assert best["step"] <= 4  # before the last checkpoint, so that nothing writes them again
    train("sft", tmp_path / "again", **settings)  # to its end, and then killed before the model was saved
    ends_alike(tmp_path / "straight", tmp_path / "again", straight, train("sft", tmp_path / "again", **settings))


def test_best_weights_of_a_step_that_is_done_again_do_not_count(tmp_path: Path) -> None:
    settings = {"load_best_model_at_end": True, "eval_steps": 1, "save_steps": 2, "batch_size": 8}
    task = supervised_task("sft", tmp_path, learning_rate=1e-3, **settings)
    supervised.train(task)
    best = tmp_path / "checkpoints" / "best.pt"
    assert best.stat().st_ino != (tmp_path / "checkpoints" / "step-00000004" / "best.pt").stat().st_ino
    best.write_bytes(b"of a step that the checkpoint does not know")
    supervised.train(supervised_task("sft", tmp_path, learning_rate=1e-3, max_steps=4, **settings))


def test_a_kill_while_the_log_is_cut_costs_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    straight = train("sft", tmp_path / "straight", save_steps=4)
    train("sft", tmp_path / "resumed", save_steps=4)

    def killed(*args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "truncate", killed)
        with pytest.raises(KeyboardInterrupt):
            train("sft", tmp_path / "resumed", save_steps=4)
    assert len(read_metrics(tmp_path / "resumed" / "metrics.jsonl")) == 6
    resumed = train("sft", tmp_path / "resumed", save_steps=4)
    ends_alike(tmp_path / "straight", tmp_path / "resumed", straight, resumed)


def test_a_log_that_was_edited_is_refused(tmp_path: Path) -> None:
    train("sft", tmp_path, save_steps=4)
    log = tmp_path / "metrics.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(lines[:2] + lines[3:]))
    with pytest.raises(RunError, match=r"metrics.jsonl: holds 3 of the first 4 steps, so it was edited or damaged"):
        train("sft", tmp_path, save_steps=4)
    assert log.read_text() == "".join(lines[:2] + lines[3:])


def test_a_checkpoint_is_begun_a_tenth_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    saving = Training.begin_saving
    monkeypatch.setattr(Training, "begin_saving", lambda self: begun.append(self.step) or saving(self))
    train("sft", tmp_path, save_steps=10, max_steps=30)
    assert begun == [9, 18, 27]


@pytest.mark.parametrize("name", ["sft", "reward", "ppo"])
def test_out_of_memory_halves_the_budget_and_keeps_the_gradient(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = train(name, tmp_path / "straight", epochs=1)
    accumulate = loop.accumulate

    def limited(*args: Any) -> Any:
        """The real work, and then no memory for it: half a gradient is there already."""
        found = accumulate(*args)
        if args[5] > 100:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate")
        return found

    monkeypatch.setattr(loop, "accumulate", limited)
    said: list[str] = []
    small = train(name, tmp_path / "small", say=said.append, token_budget=400, epochs=1)
    assert said == [
        f"out of memory: going on with microbatches of {size} tokens, and the same gradient" for size in (200, 100)
    ]
    for key, value in weights(straight).items():
        assert torch.allclose(value, weights(small)[key], atol=2e-5), key
    norms = [[row["grad_norm"] for row in read_metrics(tmp_path / x / "metrics.jsonl")] for x in ("straight", "small")]
    assert norms[1] == pytest.approx(norms[0], rel=1e-3)
    said.clear()
    train(name, tmp_path / "small", say=said.append, token_budget=400, epochs=1)
    assert said == ["going on from step 5 of 6"]  # with the budget that it had come to


def test_out_of_memory_for_a_single_row_is_told() -> None:
    def never(tokens: int) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    budget = TokenBudget(64, lambda text: None)
    with pytest.raises(RunError, match="out of memory for a single row of 20 tokens; shorten the rows"):
        budget.within(never, 20)
    assert budget.tokens == 20
    assert out_of_memory(MemoryError())
    assert not out_of_memory(RuntimeError("shapes differ"))
    with pytest.raises(RuntimeError, match="shapes"):
        budget.within(lambda tokens: (_ for _ in ()).throw(RuntimeError("shapes differ")), 20)


def test_settings_that_do_not_change_the_result_are_no_part_of_the_identity() -> None:
    properties = run_settings("sft").model_json_schema()["properties"]
    assert properties["save_steps"]["identity"] is properties["save_total_limit"]["identity"] is False
    assert "identity" not in properties["deterministic"]
