"""Through real tiny models: the token budget changes no gradient, first ratios are 1, rubbish stops the run."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import on_rollouts, rollout_task, run_settings, supervised_task, train
from torch.distributed.tensor import DTensor

from assent.algorithms import ALGORITHMS
from assent.errors import NonFiniteError
from assent.models.causal import CausalModel
from assent.rollout.local import LocalEngine
from assent.testing.tiny import tiny_causal
from assent.training.callbacks import read_metrics
from assent.training.critic import start_critic
from assent.training.loop import Training
from assent.training.objective import Objective
from assent.training.roles import Roles
from assent.training.rollouts import RolloutSource
from assent.training.sharding import Sharding
from assent.training.shared import share_engine, share_reward
from assent.training.sources import DatasetSource
from assent.training.supervised import enable_checkpointing, evaluate_loss

CPU = torch.device("cpu")


def gradients(name: str, folder: Path, **settings: Any) -> dict[str, torch.Tensor]:
    """Of the first optimiser batch of eight examples or rollouts, which the run accumulates and does not apply."""
    if on_rollouts(name):
        task: Any = rollout_task(name, folder, **{"entropy_coefficient": 0.1, **settings})
        critic = start_critic(task.policy, None, task.settings, 0) if "values" in task.algorithm.outputs else None
        if critic is not None:
            torch.nn.init.constant_(critic.get_parameter("head.out.weight"), 0.1)
        reference = CausalModel(tiny_causal(seed=1).model, task.policy.tokenizer)
        roles = Roles(policy=task.policy, reference=reference, critic=critic)
        sharding = Sharding(roles) if task.settings.sharding == "fsdp" else None
        engine = LocalEngine(task.policy)
        source: Any = RolloutSource(
            task.prompts,
            task.encoded,
            share_engine(engine if sharding is None else sharding.engine(engine)),
            share_reward(task.reward),
            task.settings.sampling(0),
            rollouts=8,
            samples_per_prompt=2,
            pad=0,
            device=CPU,
        )
    else:
        task = supervised_task(name, folder, **settings)
        roles = task.roles
        if roles.reference is not None:
            roles.reference = CausalModel(tiny_causal(seed=1).model, tiny_causal().tokenizer)
        if task.settings.sharding == "fsdp":
            Sharding(roles)
        mismatched = "mismatched" in task.algorithm.needs
        source = DatasetSource(task.examples, 8, 0, 0, CPU, mismatched=mismatched)
    Training(
        objectives=[Objective(source, task.algorithm, task.settings)],
        roles=roles,
        optimizers={},
        optim=task.settings,
        loop=task.settings,
        total_steps=1,
        folder=folder,
        callbacks=[],
        seed=0,
    ).run()
    named = {f"{role}.{n}": p for role, module in roles.trained.items() for n, p in module.named_parameters()}
    found = {name: p.grad for name, p in named.items() if p.grad is not None}
    return {name: grad.full_tensor() if isinstance(grad, DTensor) else grad for name, grad in found.items()}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_token_budget_changes_no_gradient(name: str, tmp_path: Path):
    whole = gradients(name, tmp_path, token_budget=100_000)
    total = sum(float(g.square().sum()) for g in whole.values()) ** 0.5
    assert total > 1e-3
    for budget in (1, 60, 150):
        parts = gradients(name, tmp_path, token_budget=budget)
        assert parts.keys() == whole.keys()
        gap = sum(float((parts[n] - g).square().sum()) for n, g in whole.items()) ** 0.5
        assert gap <= 1e-5 * total, f"{gap / total} at a budget of {budget}"


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.7, "top_k": 20}, {"token_budget": 30}])
def test_the_first_ratio_is_one(settings: dict[str, Any], tmp_path: Path):
    train("ppo", tmp_path, **{"max_steps": 2, "epochs": 1, "minibatches": 1, **settings})
    for row in read_metrics(tmp_path / "metrics.jsonl"):
        assert row["ratio_mean"] == pytest.approx(1.0, abs=2e-6)
        assert abs(row["approximate_kl"]) < 1e-6
        assert row["ratio_clipped"] == 0.0
        assert row["engine_mismatch"] < 1e-5
    first = read_metrics(tmp_path / "metrics.jsonl")[0]
    assert first["kl"] == pytest.approx(0.0, abs=1e-5)  # the reference is the policy at the start
    assert first["kl_k3"] == pytest.approx(0.0, abs=1e-6)


def test_later_epochs_move_away_from_the_old_policy(tmp_path: Path):
    train("ppo", tmp_path, max_steps=1, epochs=4, learning_rate=0.01)
    assert read_metrics(tmp_path / "metrics.jsonl")[0]["approximate_kl"] > 1e-5


@pytest.mark.parametrize("name", ["sft", "dpo", "reward"])
def test_a_loss_that_is_not_finite_stops_with_the_batch_saved(name: str, tmp_path: Path):
    task = supervised_task(name, tmp_path)
    module = next(iter(task.roles.trained.values()))
    with torch.no_grad():
        next(module.parameters())[40:].fill_(float("nan"))
    from assent.training.supervised import train as run

    with pytest.raises(NonFiniteError, match="the loss is nan at step 1") as caught:
        run(task)
    assert str(tmp_path / "nonfinite-batch.pt") in str(caught.value)
    saved = torch.load(tmp_path / "nonfinite-batch.pt", weights_only=True)[0]
    assert saved["tokens"].shape == saved["mask"].shape
    assert saved["mask"].any()
    assert not (tmp_path / "metrics.jsonl").exists()  # no step was made


def test_a_gradient_that_is_not_finite_stops_too(tmp_path: Path):
    task = supervised_task("sft", tmp_path)
    assert task.roles.policy is not None
    weight = task.roles.policy.model.get_input_embeddings().weight
    weight.register_hook(lambda gradient: gradient * float("inf"))
    from assent.training.supervised import train as run

    before = weight.detach().clone()
    with pytest.raises(NonFiniteError, match="the gradient of the policy is not finite at step 1"):
        run(task)
    assert torch.equal(weight.detach(), before)
    saved = torch.load(tmp_path / "nonfinite-batch.pt", weights_only=True)
    assert saved[0]["tokens"].shape[0] == 3


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gpt_neox"])
def test_recomputing_activations_changes_no_gradient(architecture: str):
    """Also where the configuration has dropout, which is off wherever log-probabilities are compared."""
    tokens = torch.randint(3, 300, (2, 9), generator=torch.Generator().manual_seed(0))

    def found(wanted: bool) -> list[torch.Tensor]:
        policy = tiny_causal(architecture)
        for part in policy.modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.5
            elif isinstance(getattr(part, "attention_dropout", None), float):
                part.attention_dropout = 0.5  # pyright: ignore[reportAttributeAccessIssue]
        enable_checkpointing(Roles(policy=policy), wanted)
        assert policy.model.training == wanted
        mask = torch.ones_like(tokens).bool()
        policy.token_logprobs(policy.hidden(tokens, mask, mask), tokens, mask, 1.0)[0].sum().backward()
        return [p.grad for p in policy.parameters() if p.grad is not None]

    for one, other in zip(found(True), found(False), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_on_policy_training_with_recomputed_activations_is_the_same_training(tmp_path: Path):
    train("ppo", tmp_path / "plain", max_steps=2)
    train("ppo", tmp_path / "less", max_steps=2, gradient_checkpointing=True)
    plain, less = (read_metrics(tmp_path / name / "metrics.jsonl") for name in ("plain", "less"))
    for one, other in zip(plain, less, strict=True):
        assert other == pytest.approx(one, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("name", ["sft", "dpo", "kto", "orpo", "reward", "reward-classifier"])
def test_evaluation_is_over_all_examples_whatever_the_budget(name: str, tmp_path: Path):
    task = supervised_task(name, tmp_path)
    task = replace(task, held_out=task.examples)
    found = [
        evaluate_loss(replace(task, settings=task.settings.model_copy(update={"token_budget": budget})))
        for budget in (1, 70, 100_000)
    ]
    assert found[0].keys() == found[2].keys()
    for one in found[1:]:
        assert one == pytest.approx(found[0], rel=1e-5, abs=1e-6)
    assert found[0]["eval_loss"] > 0.1


def test_bfloat16_trains_near_float32_with_float32_weights(tmp_path: Path):
    rows = {}
    for dtype in ("float32", "bfloat16"):
        modules = train("sft", tmp_path / dtype, dtype=dtype, learning_rate=0.01)
        assert {p.dtype for p in modules["policy"].parameters()} == {torch.float32}
        rows[dtype] = [row["loss"] for row in read_metrics(tmp_path / dtype / "metrics.jsonl")]
    assert rows["bfloat16"] == pytest.approx(rows["float32"], rel=0.02)
    assert rows["bfloat16"] != rows["float32"]
    assert rows["bfloat16"][-1] < rows["bfloat16"][0]


def test_settings_are_those_of_the_algorithm():
    assert run_settings("ppo", clip_low=0.1).clip_low == 0.1
