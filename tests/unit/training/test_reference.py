"""A policy held to another model than the one it starts from: its column, its KL, and no other bits if it is equal."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from assent.models.causal import CausalModel
from assent.models.save import save_model
from assent.models.shared import Bases
from assent.testing.tiny import tiny_causal
from assent.training import on_policy
from assent.training.callbacks import read_metrics
from assent.training.on_policy import make_roles
from tests.training.tiny_runs import rollout_task, run_settings


def moved() -> CausalModel:
    """A tiny policy with other weights than that of the runs."""
    model = tiny_causal()
    generator = torch.Generator().manual_seed(7)
    for parameter in model.parameters():
        parameter.data.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model.requires_grad_(False)


def logprobs(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    """[B, T] of every token but the first, by the model's own logits."""
    found = torch.log_softmax(model.model(tokens).logits[:, :-1], -1)
    return found.gather(-1, tokens[:, 1:, None])[..., 0]


def test_the_kl_is_measured_from_the_reference_given(tmp_path: Path) -> None:
    other = moved()
    task = replace(rollout_task("rloo", tmp_path / "other", max_steps=1), reference=other)
    batch = on_policy._rollouts(task, make_roles(task), None).batch(0)[0]
    on_policy.train(task)
    (row,) = read_metrics(tmp_path / "other/metrics.jsonl")
    on_policy.train(rollout_task("rloo", tmp_path / "own", max_steps=1))
    (own,) = read_metrics(tmp_path / "own/metrics.jsonl")
    assert own["kl"] == pytest.approx(0.0, abs=1e-6)
    with torch.no_grad():
        gap = logprobs(tiny_causal(), batch.tokens) - logprobs(other, batch.tokens)
    wanted = float((gap * batch.completion_mask[:, 1:]).sum(1).mean())
    assert abs(wanted) > 0.01
    assert math.isclose(row["kl"], wanted, rel_tol=1e-4)


def test_a_reference_of_the_same_weights_changes_no_bit(tmp_path: Path) -> None:
    tasks = [rollout_task("ppo", tmp_path / name, max_steps=3) for name in ("own", "given")]
    tasks[1] = replace(tasks[1], reference=tiny_causal().requires_grad_(False))
    for task in tasks:
        on_policy.train(task)
    one, two = (task.policy.state_dict() for task in tasks)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert (tmp_path / "own/metrics.jsonl").read_text() == (tmp_path / "given/metrics.jsonl").read_text()


def test_with_an_adapter_the_reference_stands_on_the_shared_base(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    save_model(tiny_causal(), tmp_path / "base", method="test", base="none", settings={})
    settings = run_settings("rloo", adapter="lora", lora_r=4, max_new_tokens=5, merge=False)
    bases = Bases(settings)
    policy = bases.policy(str(tmp_path / "base"), 3)
    for name, parameter in policy.named_parameters():
        if "lora_B" in name:
            parameter.data.add_(0.3)
    (tmp_path / "first").mkdir()
    save_model(policy, tmp_path / "first", method="test", base="base", settings={}, merge=False)
    again = Bases(settings)
    held = again.policy(str(tmp_path / "base"), 3)
    reference = again.frozen_policy(str(tmp_path / "first"))
    tokens = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        assert torch.equal(logprobs(reference, tokens), logprobs(policy, tokens))
        assert not torch.allclose(logprobs(reference, tokens), logprobs(held, tokens), atol=1e-3)
    shared = {p.data_ptr() for p in held.parameters()} & {p.data_ptr() for p in reference.parameters()}
    assert len(shared) >= len(list(tiny_causal().parameters())) - 1
    assert not any(parameter.requires_grad for parameter in reference.parameters())
