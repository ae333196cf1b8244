"""Rollouts drawn ahead: whose weights draw them, how their age is corrected for, and that a resume loses none."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_resume import ask_to_stop, check_equal, interrupt
from tiny_runs import Progress, rollout_task, train, weights

from assent import Trainer
from assent.algorithms import load_algorithm
from assent.algorithms.base import Part, token_mean
from assent.algorithms.batch import Batch, Pairs
from assent.algorithms.importance import corrected, importance
from assent.errors import RecipeError
from assent.rollout.engine import EncodedPrompt
from assent.rollout.fake import FakeEngine
from assent.rollout.plain import local_engine
from assent.testing.tiny import tiny_causal
from assent.training import on_policy
from assent.training.callbacks import read_metrics
from assent.training.loop import Training
from assent.types import Completion, SamplingSettings


def batch_of(old: list[list[float]], sampled: list[list[float]]) -> Batch:
    """A row for each list, the first token the prompt."""
    columns = {"old_logprobs": torch.tensor(old), "engine_logprobs": torch.tensor(sampled)}
    shape = columns["old_logprobs"].shape
    mask = torch.ones(shape, dtype=torch.bool)
    completion = mask.clone()
    completion[:, 0] = False
    return Batch(
        tokens=torch.ones(shape, dtype=torch.long), mask=mask, completion_mask=completion,
        groups=torch.arange(shape[0]), pairs=Pairs.none(), columns=columns,
    )  # fmt: skip


def test_the_weights_by_hand():
    batch = batch_of([[9.0, -1.0, -2.0], [9.0, -3.0, -0.5]], [[0.0, -1.5, -1.0], [0.0, -3.0, -2.5]])
    e = torch.tensor(1.0).exp()
    tokens = torch.tensor([[1.0, e**0.5, 1 / e], [1.0, 1.0, 2.0]])
    torch.testing.assert_close(importance(batch, 2.0), tokens)
    torch.testing.assert_close(importance(batch, 2.0, sequences=True), torch.tensor([float(e**-0.5), 2.0]))


def test_only_the_policy_part_is_weighted_and_no_denominator():
    batch = batch_of([[0.0, -1.0, -1.0]], [[0.0, -1.0, -2.0]])
    plain = replace(
        load_algorithm("ppo"),
        prepare=lambda batch, settings, state: (batch, state, {"kept": 1.0}),
        weights=lambda batch, settings: dict.fromkeys(("policy", "value"), token_mean(batch.completion_mask)),
    )
    found = corrected(plain, 2.0)
    parts = found.weights(batch, None)
    assert parts["value"].weights.tolist() == [[0.0, 1.0, 1.0]]
    assert parts["policy"].weights.tolist() == [[0.0, 1.0, 2.0]]
    assert [float(part.count) for part in parts.values()] == [2.0, 2.0]
    assert isinstance(parts["policy"], Part)
    figures = found.prepare(batch, None, {})[2]
    assert figures == {"kept": 1.0, "importance_weight": 1.5, "importance_truncated": 0.5}


class Watched:
    """An engine beside the training that notes, as it is asked, whose weights it draws with."""

    promises = FakeEngine.promises

    def __init__(self, policy: Any) -> None:
        self.inner, self.asked = local_engine(policy), []

    def begin(
        self, prompts: Sequence[EncodedPrompt], sampling: SamplingSettings, n: int = 1
    ) -> Future[list[Completion]]:
        self.asked.append(float(sum(p.detach().double().sum() for p in self.inner.policy.parameters())))
        done: Future[list[Completion]] = Future()
        done.set_result(self.inner.generate(prompts, sampling, n))
        return done

    def generate(self, prompts: Sequence[EncodedPrompt], sampling: SamplingSettings, n: int = 1) -> list[Completion]:
        return self.begin(prompts, sampling, n).result()

    def close(self) -> None:
        pass


def whose(folder: Path, staleness: int) -> tuple[list[float], list[float]]:
    """The weights at the beginning of each step, and those that drew each step's rollouts, as their sums."""
    task = rollout_task("grpo", folder, staleness=staleness, max_steps=4)
    engine, begun = Watched(task.policy), []
    made = Training._batches_made

    def noted(self: Training, *args: Any) -> Any:
        begun.append(float(sum(p.detach().double().sum() for p in task.policy.parameters())))
        return made(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "_batches_made", noted)
        on_policy.train(replace(task, engine=engine))
    assert len(set(begun)) == 4
    return begun, engine.asked


def test_each_step_is_drawn_by_the_weights_of_as_many_steps_before(tmp_path: Path):
    begun, drawn = whose(tmp_path / "0", 0)
    assert drawn == begun
    begun, drawn = whose(tmp_path / "1", 1)
    assert drawn == [begun[0], begun[0], begun[1], begun[2]]  # and none for a fifth step
    begun, drawn = whose(tmp_path / "2", 2)
    assert drawn == [begun[0], begun[0], begun[0], begun[1]]


def test_a_stale_run_tells_its_weights_and_a_fresh_one_has_none(tmp_path: Path):
    fresh = train("ppo", tmp_path / "fresh")
    stale = train("ppo", tmp_path / "stale", staleness=1)
    assert not any("importance_weight" in row for row in read_metrics(tmp_path / "fresh" / "metrics.jsonl"))
    rows = read_metrics(tmp_path / "stale" / "metrics.jsonl")
    gaps = [abs(row["importance_weight"] - 1.0) for row in rows]
    assert gaps[0] < 1e-4  # the first step's are its own
    assert min(gaps[1:]) > 1e-4
    assert any(not torch.equal(a, b) for a, b in zip(weights(fresh).values(), weights(stale).values(), strict=True))


@pytest.mark.parametrize("name", ["ppo", "reinforce", "online-dpo", "expert-iteration"])
@pytest.mark.parametrize("stop", [interrupt, ask_to_stop])
def test_resume_is_exact(name: str, stop: Callable[[], None], tmp_path: Path):
    straight = train(name, tmp_path / "straight", staleness=1)
    with pytest.raises(KeyboardInterrupt):
        train(name, tmp_path / "resumed", Progress({4: stop}), staleness=1)
    resumed = train(name, tmp_path / "resumed", staleness=1)
    check_equal(tmp_path / "straight", tmp_path / "resumed", straight, resumed)


def test_resume_in_the_middle_of_a_step_is_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    settings = {"staleness": 2, "save_steps": 5}
    straight = train("ppo", tmp_path / "straight", **settings)
    update, calls = Training._update, 0

    def stopped(self: Training, *args: Any) -> float:
        nonlocal calls
        calls += 1
        if calls == 10:  # four updates a step
            os.kill(os.getpid(), signal.SIGTERM)
        return update(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "_update", stopped)
        with pytest.raises(KeyboardInterrupt):
            train("ppo", tmp_path / "resumed", **settings)
    assert [path.name for path in (tmp_path / "resumed" / "checkpoints").iterdir()] == ["step-00000002.0002"]
    resumed = train("ppo", tmp_path / "resumed", **settings)
    assert all(torch.equal(a, b) for a, b in zip(weights(straight).values(), weights(resumed).values(), strict=True))
    assert (tmp_path / "straight/metrics.jsonl").read_bytes() == (tmp_path / "resumed/metrics.jsonl").read_bytes()


def test_an_engine_without_logprobs_cannot_be_corrected_for(tmp_path: Path):
    class Silent(Watched):
        def generate(self, prompts: Any, sampling: Any, n: int = 1) -> list[Completion]:
            raise AssertionError

        def begin(self, prompts: Any, sampling: Any, n: int = 1) -> Future[list[Completion]]:
            done: Future[list[Completion]] = Future()
            done.set_result([replace(c, logprobs=()) for c in self.inner.generate(prompts, sampling, n)])
            return done

    task = rollout_task("grpo", tmp_path, staleness=1)
    with pytest.raises(RecipeError, match="staleness"):
        on_policy.train(replace(task, engine=Silent(task.policy)))


def test_a_loop_of_ones_own_has_no_staleness():
    with pytest.raises(RecipeError, match="staleness"):
        Trainer(tiny_causal(), "grpo", staleness=1)
