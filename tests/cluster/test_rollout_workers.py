"""Rollouts and training on a Ray cluster: the bits of the run in one process, whoever draws and whoever dies."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import mortal
import pytest
import ray
import torch

from assent.cluster import engine as engine_module
from assent.cluster.engine import RayEngine, load_weights, portions_of, weights_of
from assent.errors import DataError
from assent.rollout.engine import EncodedPrompt
from assent.rollout.local import LocalEngine
from assent.testing.engine import check_engine
from assent.testing.tiny import tiny_causal
from assent.training import on_policy
from assent.types import SamplingSettings
from tests.threads import threads
from tests.training.tiny_runs import Progress, rollout_task, weights

PROMPTS = [EncodedPrompt(f"p{i}", tuple(range(1, 3 + 2 * i))) for i in range(9)]
SAMPLING = SamplingSettings(max_new_tokens=12, seed=5)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """As the workers: the order of sums hangs on the number of threads."""
    with threads(1):
        yield


@pytest.fixture(scope="module")
def workers(cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayEngine]:
    """Two workers for all tests here; they die and dawdle as :class:`mortal.MortalWorker` says."""
    mortal.MortalWorker.folder = tmp_path_factory.mktemp("told")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine_module, "RolloutWorker", mortal.MortalWorker)
        engine = RayEngine(tiny_causal(), 2, say=lambda text: None)
    yield engine
    engine.close()


def drawing(engine: RayEngine, policy: Any) -> RayEngine:
    """The engine for another policy of the same shape."""
    engine.policy = policy
    return engine


@pytest.fixture
def told(workers: RayEngine) -> Iterator[Path]:
    """The folder where files tell the workers what to do, and what they said."""
    yield mortal.MortalWorker.folder
    for file in mortal.MortalWorker.folder.iterdir():
        file.unlink()


def test_portions_are_whole_prompts_within_the_slots():
    assert [len(part) for part in portions_of(PROMPTS, 2, 128, 2)] == [3, 3, 3]
    assert [len(part) for part in portions_of(PROMPTS, 4, 8, 1)] == [2, 2, 2, 2, 1]
    assert [len(part) for part in portions_of(PROMPTS[:2], 64, 8, 1)] == [1, 1]
    assert portions_of([], 4, 8, 1) == []
    assert [prompt for part in portions_of(PROMPTS, 2, 128, 2) for prompt in part] == PROMPTS


def test_it_keeps_its_promises_and_draws_what_the_run_itself_draws(workers: RayEngine):
    policy = tiny_causal(seed=1)
    engine, local = drawing(workers, policy), LocalEngine(policy)
    check_engine(engine, PROMPTS[:3])
    assert engine.generate(PROMPTS, SAMPLING, 3) == local.generate(PROMPTS, SAMPLING, 3)
    before = local.generate(PROMPTS, SAMPLING)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.mul_(1.1)
    assert engine.generate(PROMPTS, SAMPLING) == local.generate(PROMPTS, SAMPLING) != before


def test_what_is_begun_is_drawn_by_the_weights_of_that_moment(workers: RayEngine):
    policy = tiny_causal()
    expected = LocalEngine(policy).generate(PROMPTS, SAMPLING)
    begun = drawing(workers, policy).begin(PROMPTS, SAMPLING)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.zero_()
    assert begun.result() == expected


def test_a_prompt_without_room_is_named(workers: RayEngine):
    with pytest.raises(DataError, match="prompt 'long' has 60 tokens"):
        workers.generate([EncodedPrompt("long", (1,) * 60)], SAMPLING)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_travel_as_they_are(dtype: torch.dtype):
    model, other = tiny_causal().to(dtype).model, tiny_causal(seed=1).to(dtype).model
    sent = weights_of(model)
    for part in sent.values():
        part.flags.writeable = False  # as the object store's are
    load_weights(other, sent)
    for one, two in zip(model.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(one, two)


def test_weights_that_are_frozen_stay_at_home():
    model = tiny_causal().model
    model.base_model.requires_grad_(False)
    model.lm_head.weight.requires_grad_(True)
    assert len(weights_of(model)) == 1


def run(folder: Path, engine: RayEngine | None = None, name: str = "ppo", progress: Any = None, **settings: Any) -> Any:
    """A run of four steps; the trained weights."""
    task = rollout_task(name, folder, progress, max_steps=4, batch_size=16, **settings)
    engine = None if engine is None else drawing(engine, task.policy)
    return weights(dict(on_policy.train(replace(task, engine=engine))[1].trained))


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], folders: Sequence[Path]) -> None:
    assert all(torch.equal(one[name], other[name]) for name in one | other)
    assert len({(folder / "metrics.jsonl").read_bytes() for folder in folders}) == 1


@pytest.mark.parametrize(("name", "staleness"), [("ppo", 0), ("grpo", 1)])
def test_training_ends_with_the_same_bits_though_a_worker_dies_in_mid_rollout(
    name: str, staleness: int, workers: RayEngine, told: Path, tmp_path: Path
):
    folders = [tmp_path / "here", tmp_path / "ray"]
    here = run(folders[0], name=name, staleness=staleness)
    deadly = Progress({2: (told / "deadly").touch})
    there = run(folders[1], workers, name, deadly, staleness=staleness)
    assert not (told / "deadly").exists()
    same(here, there, folders)


def test_one_step_off_resumes_to_the_same_bits(workers: RayEngine, tmp_path: Path):
    def interrupt() -> None:
        raise KeyboardInterrupt

    folders = [tmp_path / "straight", tmp_path / "resumed"]
    straight = run(folders[0], staleness=1)
    with pytest.raises(KeyboardInterrupt):
        run(folders[1], workers, progress=Progress({3: interrupt}), staleness=1)
    same(straight, run(folders[1], workers, staleness=1), folders)


def test_a_node_that_is_lost_in_mid_rollout_changes_nothing(cluster: Any, workers: RayEngine, told: Path):
    policy, said = tiny_causal(), []
    engine = drawing(workers, policy)
    engine.pool.say = said.append
    prompts = [replace(prompt, id=f"{prompt.id}-{i}") for i in range(3) for prompt in PROMPTS]
    expected = LocalEngine(policy).generate(prompts, SAMPLING, 2)
    node = cluster.add_node(num_cpus=1, object_store_memory=80 << 20)
    engine.scale(3)  # two fit on the head
    while len(engine.workers) < 3:
        assert engine.generate(prompts, SAMPLING, 2) == expected
    assert len({where.node for where in engine.workers}) == 2
    (told / "slow").touch()
    lost = threading.Timer(0.4, lambda: cluster.remove_node(node, allow_graceful=False))
    lost.start()
    assert engine.generate(prompts, SAMPLING, 2) == expected
    lost.join()
    (told / "slow").unlink()
    assert {where.node for where in engine.workers} == {ray.get_runtime_context().get_node_id()}
    assert sum("a rollout worker died" in text for text in said) == 1
    engine.scale(2)
    assert engine.generate(prompts, SAMPLING, 2) == expected
    assert len(engine.workers) == 2
