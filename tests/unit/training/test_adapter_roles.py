"""Policy, reference, critic and reward model over one frozen base: one copy of it, and each with its own gradient."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import assent
from assent.errors import ModelError
from assent.models.adapters import adapted, load_trained_state, merged, trained_state
from assent.models.load import load_policy
from assent.models.save import save_model
from assent.models.scalar import Critic, RewardModel
from assent.models.shared import Bases, train_adapter
from assent.rollout.engine import EncodedPrompt
from assent.rollout.plain import local_engine
from assent.testing.tiny import tiny_causal, tiny_reward
from assent.training import on_policy
from assent.training.callbacks import read_metrics
from assent.training.on_policy import make_roles
from assent.training.roles import Roles
from assent.training.rollouts import collate_rollouts
from assent.types import Completion, SamplingSettings
from tests.training.tiny_runs import rollout_task, run_settings

LORA: dict[str, Any] = {"adapter": "lora", "lora_r": 4, "lora_alpha": 8.0}


def spread(*models: nn.Module) -> None:
    generator = torch.Generator().manual_seed(5)
    for model in models:
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data.add_(0.2 * torch.randn(parameter.shape, generator=generator))


def memory(*models: nn.Module) -> int:
    """Bytes of the weights, each storage once."""
    found = {p.untyped_storage().data_ptr(): p.untyped_storage().nbytes() for m in models for p in m.parameters()}
    return sum(found.values())


def of_adapters(*models: nn.Module) -> int:
    parameters = [p for model in models for name, p in model.named_parameters() if "lora_" in name]
    return sum(p.untyped_storage().nbytes() for p in parameters)


def ppo(folder: Path, architecture: str = "llama", **settings: Any) -> tuple[Roles, RewardModel, Any]:
    """The roles of a run of PPO whose reward model is an adapter of the same base."""
    (folder / "base").mkdir()
    save_model(tiny_causal(architecture), folder / "base", method="test", base="none", settings={})
    given = run_settings("ppo", **LORA, max_new_tokens=5, **settings)
    trained = Bases(given).new_reward_model(str(folder / "base"), 1)
    spread(trained)
    (folder / "reward").mkdir()
    save_model(trained, folder / "reward", method="test", base="base", settings={})
    bases = Bases(given)
    policy = bases.policy(str(folder / "base"), 3)
    reward = bases.reward_model(str(folder / "reward"))
    task = replace(rollout_task("ppo", folder / "run"), policy=policy, reward_model=reward, settings=given)
    return make_roles(task), reward, task


@pytest.mark.parametrize("critic", ["policy", "shared", "reward"])
def test_ppo_holds_one_copy_of_the_base(critic: str, tmp_path: Path):
    roles, reward, _ = ppo(tmp_path, critic=critic)
    assert roles.policy is not None
    assert roles.reference is not None
    models = [roles.policy, roles.reference, reward, *([roles.critic] if roles.critic is not None else [])]
    one = memory(load_policy(tmp_path / "base"))
    own = [m for m in models if m is not roles.reference]
    heads = reward.model.score.weight.nbytes + sum(p.nbytes for n, p in roles.critic.named_parameters() if "out." in n)
    adapters = of_adapters(*own) - (of_adapters(reward) if critic == "reward" else 0)  # the critic goes on from it
    assert memory(*models) == one + adapters + heads
    trained = {name for name, p in roles.policy.named_parameters() if p.requires_grad}
    assert trained
    assert all("lora_" in name for name in trained)
    assert not any(p.requires_grad for p in roles.reference.parameters())
    assert not any(p.requires_grad for p in reward.parameters())


def batch(task: Any) -> Any:
    rows = [
        Completion(
            id=f"c{i}",
            prompt_id=f"p{i}",
            text="",
            token_ids=tuple(range(5 + i, 9 + i)),
            prompt_token_ids=(1, 7, 9 + i),
            logprobs=(-1.0,) * 4,
        )
        for i in range(3)
    ]
    return collate_rollouts(rows, [0.0] * 3, [1] * 3, task.policy.tokenizer.pad_token_id, torch.device("cpu"))


def written_out(roles: Roles) -> Roles:
    """The same models with W + s B A as weights of their own, all of them trained."""
    assert roles.policy is not None
    assert isinstance(roles.critic, Critic)
    policy = roles.policy.over(merged(roles.policy.model))
    critic = merged(roles.critic)
    for model in (policy, critic):
        for module in model.modules():
            for name, parameter in list(module.named_parameters(recurse=False)):
                setattr(module, name, nn.Parameter(parameter.detach().clone()))
    return Roles(policy=policy, critic=critic)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("architecture", ["llama", "gpt2", "phi"])
def test_gradients_are_those_of_weights_written_out(architecture: str, recompute: bool, tmp_path: Path):
    """Both roles run before one backward pass, which recomputes activations: phi by transformers' own forward pass."""
    roles, _, task = ppo(tmp_path, architecture, gradient_checkpointing=recompute)
    assert roles.policy is not None
    assert isinstance(roles.critic, Critic)
    spread(roles.policy, roles.critic)
    if recompute:  # the critic's trunk, too
        trunk: Any = roles.critic.trunk
        trunk.gradient_checkpointing_enable({"use_reentrant": False})
        trunk.train()
        for part in trunk.modules():
            if isinstance(part, nn.Dropout):
                part.p = 0.0
    plain, rows = written_out(roles), batch(task)
    for each in (roles, plain):
        outputs = each.forward(rows, frozenset({"logprobs", "values"}))
        (outputs.logprobs.sum() + (outputs.values - 1.0).square().sum()).backward()
    for mine, theirs in ((roles.policy, plain.policy), (roles.critic, plain.critic)):
        assert theirs is not None
        weights, names = dict(theirs.named_modules()), {id(m): name for name, m in mine.named_modules()}
        assert len(adapted(mine)) >= 8
        for place in adapted(mine):
            down, up = place.layer.lora_A["trained"].weight, place.layer.lora_B["trained"].weight
            whole = weights[names[id(place.layer)]].weight.grad
            whole = whole.T if place.layer.fan_in_fan_out else whole  # GPT-2's lie the other way round
            scale = max(1.0, float(whole.abs().max()))
            torch.testing.assert_close(up.grad / scale, 2.0 * whole @ down.T / scale, rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(down.grad / scale, 2.0 * up.T @ whole / scale, rtol=1e-5, atol=1e-5)


def test_the_reward_models_gradient_is_that_of_weights_written_out():
    reward = tiny_reward()
    train_adapter(reward, run_settings("reward", **LORA), 1, "the base")
    spread(reward)
    plain = RewardModel(merged(reward.model).requires_grad_(True), reward.tokenizer)
    tokens = torch.arange(4, 24).view(2, 10)
    for model in (reward, plain):
        model.zero_grad()
        model.scores(tokens, torch.ones_like(tokens, dtype=torch.bool)).square().sum().backward()
    assert isinstance(plain.model.score.weight.grad, torch.Tensor)
    torch.testing.assert_close(reward.model.score.weight.grad, plain.model.score.weight.grad, rtol=1e-4, atol=1e-5)
    names, modules = {id(m): name for name, m in reward.named_modules()}, dict(plain.named_modules())
    for place in adapted(reward):
        down, up = place.layer.lora_A["trained"].weight, place.layer.lora_B["trained"].weight
        whole: Any = modules[names[id(place.layer)]].weight.grad
        scale = float(whole.abs().max())
        torch.testing.assert_close(up.grad / scale, 2.0 * whole @ down.T / scale, rtol=1e-5, atol=1e-5)


def test_the_first_reference_is_the_policy_to_the_last_bit(tmp_path: Path):
    roles, _, task = ppo(tmp_path)
    rows = batch(task)
    assert torch.equal(roles.column("ref_logprobs", rows), roles.column("old_logprobs", rows))


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gpt_neox", "phi"])
def test_the_engine_samples_from_base_and_adapter(architecture: str):
    policy = tiny_causal(architecture)
    train_adapter(policy, run_settings("ppo", **LORA), 1, "the base")
    spread(policy)
    sampling = SamplingSettings(max_new_tokens=6, temperature=0.8, seed=1)
    prompts = [EncodedPrompt(f"p{i}", (1, 5 + i, 9)) for i in range(4)]
    drawn = local_engine(policy).generate(prompts, sampling, 2)
    rows = collate_rollouts(drawn, [0.0] * 8, [2] * 4, policy.tokenizer.pad_token_id, torch.device("cpu"))
    again = Roles(policy=policy, temperature=0.8).column("old_logprobs", rows)
    told = torch.zeros_like(again)
    told[rows.completion_mask] = torch.tensor([p for c in drawn for p in c.logprobs])
    assert (again - told).abs().max() < 2e-5
    bare = local_engine(policy.frozen_copy()).generate(prompts, sampling, 2)
    assert [c.token_ids for c in bare] != [c.token_ids for c in drawn]


def test_ppo_trains_the_adapters_and_leaves_the_base(tmp_path: Path):
    task = rollout_task("ppo", tmp_path, **LORA)
    before = {n: p.clone() for n, p in task.policy.named_parameters()}
    _, roles = on_policy.train(task)
    assert isinstance(roles.critic, Critic)
    moved = {n for n, p in task.policy.named_parameters() if not torch.equal(p, before[n])}
    assert moved == set(trained_state(task.policy))
    assert all(float(p.detach().abs().max()) > 0 for n, p in roles.critic.named_parameters() if "lora_B" in n)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert all(row["engine_mismatch"] < 1e-5 for row in rows)
    assert rows[0]["kl"] == pytest.approx(0.0, abs=1e-6)
    assert abs(rows[-1]["kl"]) > 1e-4


def test_a_checkpoint_of_another_adapter_is_refused():
    one, other = tiny_causal(), tiny_causal()
    train_adapter(one, run_settings("ppo", **LORA), 1, "the base")
    train_adapter(other, run_settings("ppo", **LORA, lora_target_modules=["q_proj"]), 1, "the base")
    with pytest.raises(ModelError, match="other weights than those that are trained now"):
        load_trained_state(other, trained_state(one))


def test_a_loop_of_ones_own_trains_an_adapter(tmp_path: Path):
    (tmp_path / "base").mkdir()
    save_model(tiny_causal(), tmp_path / "base", method="test", base="none", settings={})
    settings: dict[str, Any] = {**LORA, "samples_per_prompt": 2, "max_new_tokens": 4, "learning_rate": 1e-2}
    trainer = assent.Trainer(tmp_path / "base", "grpo", say=lambda text: None, **settings)
    drawn = trainer.generate(["The film is", "It was"])
    trainer.step(["The film is", "It was"], drawn, [float(i) for i in range(4)])
    trainer.save(tmp_path / "out")
    assert (tmp_path / "out" / "adapter" / "adapter_model.safetensors").is_file()
    found, base = load_policy(tmp_path / "out"), load_policy(tmp_path / "base")
    changed = {n for n, p in found.model.named_parameters() if not torch.equal(p, base.model.get_parameter(n))}
    assert changed
    assert all("_proj" in name for name in changed)
