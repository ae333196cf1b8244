"""One, two or four processes train the same: gradients, curves, resume, and the end of a run that loses one."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import in_processes
from test_gradient import gradients
from test_resume import same
from tiny_runs import Progress, train, weights

from assent.errors import RunError
from assent.rewards.model import ModelReward
from assent.rewards.rule import FunctionReward
from assent.rewards.source import Pending, Scores
from assent.testing.tiny import tiny_reward
from assent.training import distributed
from assent.training.callbacks import read_metrics
from assent.training.distributed import shares
from assent.training.shared import share_reward
from assent.types import Completion, Prompt
from tests.threads import threads

NAMES = ("sft", "reward", "dpo", "kto", "grpo", "rloo", "ppo")
CURVES = {"none": ("sft", "kto", "ppo"), "fsdp": ("sft", "ppo")}
PPO = {"whiten_rewards": True, "kl_target": 0.5}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with threads(1):
        yield


def found(folder: Path, sharding: str = "none") -> dict[str, Any]:
    """Every gradient, and short runs whose rows of figures are in ``folder``; of four processes the gradients alone."""
    distributed.join()
    rest = {**PPO, "sharding": sharding}
    given = {name: gradients(name, folder / f"gradient-{name}", token_budget=60, **rest) for name in NAMES}
    for name in CURVES[sharding] if distributed.size() < 4 else ():
        given[f"{name} run"] = weights(train(name, folder / name, token_budget=200, **rest))
    return given


def found_both_ways(folder: Path) -> dict[str, dict[str, Any]]:
    return {sharding: found(folder / sharding, sharding) for sharding in ("none", "fsdp")}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("alone")
    return folder, found(folder)


@pytest.mark.parametrize("number", [2, 4])
def test_several_processes_train_as_one(number: int, alone: tuple[Path, dict[str, Any]], tmp_path: Path):
    every = in_processes(number, found_both_ways, tmp_path / "ranks", tmp_path)
    assert len(every) == number
    folder, expected = alone
    for sharding in ("none", "fsdp"):
        assert every[0][sharding].keys() >= set(NAMES)
        for name in every[0][sharding]:
            tensors = expected[name]
            where = f"{name}, {sharding}"
            size = sum(float(x.square().sum()) for x in tensors.values()) ** 0.5
            first = every[0][sharding][name]
            for rank in range(number):
                ours = every[rank][sharding][name]
                assert ours.keys() == tensors.keys(), where
                assert all(torch.equal(ours[key], first[key]) for key in ours), f"{where}: rank {rank} differs"
            gap = sum(float((first[key] - x).square().sum()) for key, x in tensors.items()) ** 0.5
            assert gap <= 1e-5 * size, f"{where}: {gap / size}"
        for name in CURVES[sharding] if number < 4 else ():
            one, more = (read_metrics(place / name / "metrics.jsonl") for place in (folder, tmp_path / sharding))
            assert len(more) == len(one) == 6
            for ours, theirs in zip(more, one, strict=True):
                if ours["step"] == 1:  # policy and reference are equal: which side of 0 a gain is on is rounding
                    ours.pop("accuracy", None)
                    theirs.pop("accuracy", None)
                assert ours == pytest.approx(theirs, rel=1e-3, abs=2e-5), f"{name}, {sharding}"


# --- a run that loses a process ---------------------------------------------------------------------------------------


def loses_one(folder: Path, sharding: str) -> str:
    """Trains until the second process is killed after the fourth step; what the first hears of it."""
    distributed.join()
    pids = distributed.gather(os.getpid())
    try:
        progress = Progress({4: lambda: os.kill(pids[1], signal.SIGKILL)})
        train("ppo", folder, progress, sharding=sharding)
    except RuntimeError as error:
        return str(error)
    return "nothing"


def goes_on(sharding: str, *folders: Path) -> list[dict[str, torch.Tensor]]:
    return [weights(train("ppo", folder, sharding=sharding)) for folder in folders]


@pytest.mark.parametrize("sharding", ["none", "fsdp"])
def test_a_lost_process_ends_the_others_and_resume_is_exact(sharding: str, tmp_path: Path):
    killed, copy, straight = tmp_path / "killed", tmp_path / "copy", tmp_path / "straight"
    heard = in_processes(2, loses_one, tmp_path / "first", killed, sharding)
    assert list(heard) == [0]
    assert "peer" in heard[0]
    assert len(read_metrics(killed / "metrics.jsonl")) == 4
    shutil.copytree(killed, copy)
    for resumed, expected in in_processes(2, goes_on, tmp_path / "again", sharding, killed, straight).values():
        same(resumed, expected)
    assert (killed / "metrics.jsonl").read_bytes() == (straight / "metrics.jsonl").read_bytes()
    rows = read_metrics(straight / "metrics.jsonl")
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    [alone] = in_processes(1, goes_on, tmp_path / "one", sharding, copy)[0]
    for name, tensor in alone.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-4, atol=1e-6)
    for ours, theirs in zip(read_metrics(copy / "metrics.jsonl"), rows, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3, abs=2e-5)


# --- who does what ----------------------------------------------------------------------------------------------------


def test_shares_are_whole_groups_of_like_size():
    sizes, groups = [5, 5, 9, 1, 1, 1, 4, 4, 6, 3], [7, 7, 2, 3, 3, 3, 4, 4, 5, 6]
    for ranks in (1, 2, 4, 12):
        split = shares(sizes, groups, ranks)
        assert len(split) == ranks
        assert sorted(row for rows in split for row in rows) == list(range(10))
        for rows in split:
            assert all(groups.count(groups[row]) == sum(groups[r] == groups[row] for r in rows) for row in rows)
    loads = [sum(sizes[row] for row in rows) for rows in shares(sizes, groups, 2)]
    assert sorted(loads) == [19, 20]
    assert shares([], [], 3) == [[], [], []]


COMPLETIONS = [Completion(f"c{i}", f"p{i}", " fine" * (i + 1)) for i in range(5)]
COMPLETIONS_PROMPTS = [Prompt(f"p{i}", text=f"It was {i}") for i in range(5)]


class Asked:
    """A source that keeps count, as a judge does."""

    def __init__(self, answer: Exception | None = None) -> None:
        self.calls, self.answer = 0, answer

    def score(self, prompts: Any, completions: Any) -> Scores:
        self.calls += 1
        if self.answer is not None:
            raise self.answer
        return Scores(tuple(float(len(c.text)) for c in completions))

    def figures(self) -> dict[str, int]:
        return {"calls": self.calls}


def told(answer: Exception) -> str:
    try:
        share_reward(Asked(answer)).score(COMPLETIONS_PROMPTS, COMPLETIONS)
    except Exception as error:
        return f"{type(error).__name__}: {error} {getattr(error, 'question_ids', '')}"
    return "nothing"


def scored() -> tuple[Any, ...]:
    """Scores by a model, by something that must be asked once, and what becomes of its exceptions."""
    distributed.join()
    model = ModelReward(tiny_reward())
    apart = share_reward(model).score(COMPLETIONS_PROMPTS, COMPLETIONS).values
    source = Asked()
    values = share_reward(source).score(COMPLETIONS_PROMPTS, COMPLETIONS).values
    function = share_reward(FunctionReward(lambda prompt, text: distributed.rank()))
    pending = told(Pending(["q1", "q2"], "two answers are missing"))
    chance = function.score(COMPLETIONS_PROMPTS, COMPLETIONS).values
    agreed = distributed.any_of(distributed.rank() == 1), distributed.any_of(False)
    return apart, values, chance, source.calls, pending, told(RunError("the judge is away")), agreed


def test_rewards_are_asked_for_once(tmp_path: Path):
    whole = ModelReward(tiny_reward()).score(COMPLETIONS_PROMPTS, COMPLETIONS).values
    for rank, (apart, values, chance, calls, pending, away, agreed) in in_processes(2, scored, tmp_path).items():
        assert apart == pytest.approx(whole, abs=1e-6)
        assert values == (5.0, 10.0, 15.0, 20.0, 25.0)
        assert chance == (0.0,) * 5  # of the first process
        assert calls == (1 if rank == 0 else 0)
        assert pending == "Pending: two answers are missing ('q1', 'q2')"
        assert away == "RunError: the judge is away "
        assert agreed == (True, False)
