"""The training on the cluster too, a whole stage there, and what is told where it cannot be."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mortal
import pytest
import ray

import assent
from assent.cluster.connect import connected
from assent.cluster.group import run_on_cluster
from assent.cluster.pool import ONE_CORE
from assent.cluster.settings import ClusterSettings
from assent.errors import DataError, RecipeError
from assent.pipeline.stage import NoProgress
from benchmarks.crash import differences
from benchmarks.crash_jobs import make_workshop
from tests.threads import threads


class Heard(NoProgress):
    def __init__(self) -> None:
        self.calls: list[Any] = []

    def start(self, label: str, total: int | None, done: int = 0) -> None:
        self.calls.append((label, total, done))

    def advance(self, amount: int = 1, **figures: float) -> None:
        self.calls.append((amount, figures))

    def stop(self) -> None:
        self.calls.append("stop")


@pytest.fixture
def by_value(cluster: Any) -> None:
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture
def one_thread() -> Iterator[None]:
    with threads(1):
        yield


def test_what_is_told_there_is_heard_here_and_a_death_begins_it_again(by_value: None, tmp_path: Path):
    def work(progress: Any, say: Callable[[str], None]) -> int:
        progress.start("train", 3, 1)
        say("begun")
        if mortal.first(tmp_path / "died"):
            mortal.die()
        progress.advance(2, reward=0.5)
        progress.stop()
        return os.getpid()

    heard, said = Heard(), []
    found = run_on_cluster(work, ONE_CORE, heard, said.append)
    assert found != os.getpid()
    assert heard.calls[-3:] == [("train", 3, 1), (2, {"reward": 0.5}), "stop"]
    assert said[-2:] == ["the process that trained died; another goes on from the last checkpoint", "begun"]


def test_an_error_there_is_the_same_here(by_value: None):
    def work(progress: Any, say: Callable[[str], None]) -> None:
        raise DataError("no such row", "file", 2)

    with pytest.raises(DataError, match=r"^file, line 2: no such row$"):
        run_on_cluster(work, ONE_CORE, NoProgress(), print)


def test_a_stage_with_everything_elsewhere_makes_the_same_files(
    cluster: Any, one_thread: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    make_workshop(tmp_path)
    monkeypatch.chdir(tmp_path)
    settings = {
        "model": "policy", "data": "prompts.jsonl", "reward_function": "rules.py:words", "max_steps": 3,
        "batch_size": 8, "max_new_tokens": 6, "staleness": 1, "save_steps": 2,
    }  # fmt: skip
    elsewhere = {"cluster": "ray", "rollout_workers": 1, "train_on_cluster": True}
    said: list[str] = []
    for name, more in (("here", {}), ("there", elsewhere)):
        assent.run_stage("grpo", settings | more, f"{name}/out", say=said.append, progress=NoProgress())
    assert differences(Path("here/out"), Path("there/out")) == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rollout_workers": 2, "reward_workers": 1}, "3 workers need 3 CPUs and 0 GPUs, and this machine has 2 and 0"),
        ({"cpus_per_worker": 8}, "a worker needs 8 CPUs and 0 GPUs, and no node has them"),
        ({"gpus_per_worker": 0.5}, "a worker needs 1 CPUs and 0.5 GPUs, and no node has them"),
    ],
)
def test_too_small_a_cluster_is_told(cluster: Any, given: dict[str, Any], message: str):
    with pytest.raises(RecipeError, match=message), connected(ClusterSettings(cluster="ray", **given)):
        pass


def test_a_missing_ray_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from assent.pipeline.stages import workers

    make_workshop(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(workers, "find_spec", lambda name: None)
    settings = {
        "model": "policy", "data": "prompts.jsonl", "reward_function": "rules.py:words", "max_new_tokens": 6,
        "cluster": "ray",
    }  # fmt: skip
    with pytest.raises(
        RecipeError, match=r"cluster: ray needs Ray, which is not installed; pip install 'assent\[ray\]'"
    ):
        assent.run_stage("ppo", settings, "out", say=print, progress=NoProgress())
