"""LoRA: the base stays as it is, merging changes rounding only, and folders are peft's."""

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from assent.errors import ModelError, RecipeError
from assent.models.adapters import (
    AdapterSettings,
    DropoutSettings,
    adapted,
    merged,
    trained_state,
    twin,
    without_trained,
)
from assent.models.load import load_policy, load_reward_model
from assent.models.policy import Policy
from assent.models.save import save_model
from assent.models.shared import Bases, train_adapter
from assent.testing.tiny import CAUSAL, tiny_causal, tiny_reward, tiny_seq2seq

LORA = AdapterSettings(adapter="lora", lora_r=4, lora_alpha=8)
TOKENS = torch.arange(3, 27).view(2, 12)
MASK = torch.ones_like(TOKENS, dtype=torch.bool)
WRITTEN = MASK & (torch.arange(12) > 4)


def spread(model: nn.Module, seed: int = 5) -> None:
    """An adapter as training leaves it, and not at zero."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and "lora_" in name:
            parameter.data.copy_(0.2 * torch.randn(parameter.shape, generator=generator))


def trained_policy(architecture: str = "llama", settings: AdapterSettings = LORA) -> Policy:
    policy = tiny_seq2seq() if architecture == "t5" else tiny_causal(architecture)
    train_adapter(policy, settings, 1, "the base")
    spread(policy)
    return policy


@torch.no_grad()
def logprobs(policy: Policy) -> torch.Tensor:
    hidden = policy.hidden(TOKENS, MASK, WRITTEN)
    return policy.token_logprobs(hidden, TOKENS, WRITTEN, 0.7)[0]


def storages(*models: nn.Module) -> set[int]:
    return {p.untyped_storage().data_ptr() for model in models for p in model.parameters()}


@pytest.mark.parametrize("architecture", [*CAUSAL, "t5"])
def test_the_adapter_begins_at_nothing_and_off_is_the_base_to_the_last_bit(architecture: str):
    base = tiny_seq2seq() if architecture == "t5" else tiny_causal(architecture)
    before, weights = logprobs(base), storages(base)
    train_adapter(base, LORA, 1, "the base")
    assert torch.equal(logprobs(base), before)
    spread(base)
    assert (logprobs(base) - before).abs().max() > 0.1
    reference = base.frozen_copy()
    assert torch.equal(logprobs(reference), before)
    assert storages(reference) == weights
    assert not adapted(reference)


@pytest.mark.parametrize("architecture", [*CAUSAL, "t5"])
def test_merging_changes_log_probabilities_by_rounding_alone(architecture: str):
    """At most 1e-5 in float32 where the adapter moves them by over 0.1; 1e-13 in float64, so that it is rounding."""
    policy = trained_policy(architecture)
    whole = policy.over(merged(policy.model))
    assert not adapted(whole)
    assert (logprobs(whole) - logprobs(policy)).abs().max() < 1e-5
    double = policy.over(policy.model.double())
    assert (logprobs(double.over(merged(double.model))) - logprobs(double)).abs().max() < 1e-13


def test_only_the_adapter_and_a_head_are_trained():
    reward = tiny_reward()
    train_adapter(reward, LORA, 1, "the base")
    trained = {name for name, parameter in reward.named_parameters() if parameter.requires_grad}
    assert trained == set(trained_state(reward))
    assert {name for name in trained if "lora_" not in name} == {"model.score.weight"}
    assert len(trained) == 1 + 2 * 7 * 2  # A and B of seven layers in two blocks


def test_the_same_seed_gives_the_same_adapter_and_leaves_the_random_numbers_alone():
    torch.manual_seed(0)
    one, other = (trained_state(trained_policy()) for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)
    drawn = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(torch.rand(1), drawn)


def test_dropout_is_on_where_there_is_a_gradient_and_nowhere_else():
    policy = trained_policy(settings=DropoutSettings(adapter="lora", lora_r=4, lora_alpha=8, lora_dropout=0.5))
    without = trained_policy()
    torch.testing.assert_close(logprobs(policy), logprobs(without), rtol=0.0, atol=1e-5)  # not by the fused kernels
    assert torch.equal(logprobs(policy), logprobs(policy))
    states = [policy.hidden(TOKENS, MASK, WRITTEN) for _ in range(2)]
    assert not torch.equal(*states)


@pytest.mark.parametrize("architecture", CAUSAL)
def test_the_gradient_is_that_of_weights_with_the_adapter_in_them(architecture: str):
    """dB = s dW A^T and dA = s B^T dW, for W + s B A written out."""
    policy = trained_policy(architecture)
    whole = policy.over(merged(policy.model).requires_grad_(True))
    for model in (policy, whole):
        hidden = model.hidden(TOKENS, MASK, WRITTEN)
        model.token_logprobs(hidden, TOKENS, WRITTEN, 1.0)[0].square().sum().backward()
    plain = dict(whole.model.named_modules())
    names = {id(module): name for name, module in policy.model.named_modules()}
    for place in adapted(policy.model):
        layer = place.layer
        weight = plain[names[id(layer)]].weight.grad
        down, up = layer.lora_A["trained"].weight, layer.lora_B["trained"].weight
        weight = weight.T if layer.fan_in_fan_out else weight  # GPT-2's lie the other way round
        scale = float(weight.abs().max())
        torch.testing.assert_close(up.grad / scale, 2.0 * weight @ down.T / scale, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(down.grad / scale, 2.0 * up.T @ weight / scale, rtol=1e-5, atol=1e-5)


# --- folders ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A model folder."""
    save_model(tiny_causal(), tmp_path / "base", method="test", base="none", settings={})
    return tmp_path / "base"


def start(source: Path, settings: AdapterSettings = LORA) -> Policy:
    policy = Bases(settings).policy(str(source), 1)
    spread(policy)
    return policy


def save(model: Any, out: Path, **options: Any) -> Path:
    out.mkdir()
    save_model(model, out, method="test", base="base", settings={}, **options)
    return out


def test_a_merged_folder_is_a_plain_model_with_its_adapter_beside_it(base: Path, tmp_path: Path):
    policy = start(base)
    out = save(policy, tmp_path / "sft")
    found = load_policy(out)
    assert type(found.model) is type(tiny_causal().model)
    assert all(parameter.requires_grad for parameter in found.parameters())
    assert (logprobs(found) - logprobs(policy)).abs().max() < 1e-5
    plain: Any = AutoModelForCausalLM.from_pretrained(out)
    assert {n: p.shape for n, p in plain.named_parameters()} == {
        n: p.shape for n, p in tiny_causal().model.named_parameters()
    }
    assert torch.equal(logprobs(load_policy(out / "adapter")), logprobs(found))  # the same sums


def test_peft_reads_what_is_written(base: Path, tmp_path: Path):
    policy = start(base)
    out = save(policy, tmp_path / "sft", merge=False)
    assert not (out / "model.safetensors").exists()
    model: Any = AutoModelForCausalLM.from_pretrained(base)
    ours, theirs = (m(TOKENS).logits for m in (policy.model, peft.PeftModel.from_pretrained(model, str(out))))
    torch.testing.assert_close(ours, theirs, rtol=0.0, atol=1e-5)  # weights elsewhere in memory may round otherwise


def test_what_peft_writes_is_read(base: Path, tmp_path: Path):
    model: Any = AutoModelForCausalLM.from_pretrained(base)
    config = peft.LoraConfig(r=3, lora_alpha=7, use_rslora=True, target_modules=["q_proj", "down_proj"])
    theirs: Any = peft.get_peft_model(model, config)
    for name, parameter in theirs.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.2)
    theirs.save_pretrained(tmp_path / "theirs")
    tiny_causal().tokenizer.save_pretrained(tmp_path / "theirs")
    found = load_policy(tmp_path / "theirs")
    assert (found.model(TOKENS).logits - theirs(TOKENS).logits).abs().max() < 1e-5


def test_an_adapter_on_an_adapter_has_the_lower_one_in_its_reference(base: Path, tmp_path: Path):
    sft = start(base)
    lower = save(sft, tmp_path / "sft", merge=False)
    bases = Bases(LORA)
    policy, other = bases.policy(str(lower), 2), bases.policy(str(lower), 3)
    reference = policy.frozen_copy()
    trained = {name for name, parameter in policy.named_parameters() if parameter.requires_grad}
    assert trained == {name for name, _ in policy.named_parameters() if ".trained." in name}
    assert torch.equal(logprobs(reference), logprobs(sft))
    assert torch.equal(logprobs(policy), logprobs(sft))
    spread(policy, 6)
    assert torch.equal(logprobs(reference), logprobs(sft))
    assert (logprobs(policy) - logprobs(sft)).abs().max() > 0.1
    whole = storages(load_policy(base))
    assert len(storages(policy, other, reference) - storages(other, reference)) == 2 * 14  # its own adapter
    assert len(storages(reference)) == len(whole) + 2 * 14  # the base, and the lower adapter
    upper = save(policy, tmp_path / "dpo", merge=False)
    assert (logprobs(load_policy(upper)) - logprobs(policy)).abs().max() < 1e-5
    again = Bases(LORA).policy(str(upper), 4)
    assert torch.equal(logprobs(again), logprobs(policy))


@pytest.mark.parametrize("merge", [True, False])
def test_a_reward_model_over_the_policys_base(merge: bool, base: Path, tmp_path: Path):
    reward = Bases(LORA).new_reward_model(str(base), 1)
    spread(reward)
    reward.set_offsets([0.5])
    out = save(reward, tmp_path / "reward", merge=merge)
    bases = Bases(LORA)
    policy = bases.policy(str(base), 1)
    shared = bases.reward_model(str(out))
    want = reward.scores(TOKENS, MASK)
    assert torch.equal(shared.scores(TOKENS, MASK), want)
    assert shared.offsets == (0.5,)
    own = storages(shared) - storages(policy)
    assert len(own) == 2 * 14 + 1  # its adapter and its head
    alone = load_reward_model(out)
    assert (alone.scores(TOKENS, MASK) - want).abs().max() < 1e-5
    if merge:
        plain: Any = AutoModelForSequenceClassification.from_pretrained(out)
        assert plain.config.num_labels == 1


def test_a_reward_model_of_another_base_is_not_put_on_this_one(base: Path, tmp_path: Path):
    other = save(tiny_causal(seed=1), tmp_path / "other")
    reward = Bases(LORA).new_reward_model(str(other), 1)
    out = save(reward, tmp_path / "reward")
    bases = Bases(LORA)
    policy, found = bases.policy(str(base), 1), bases.reward_model(str(out))
    assert not storages(policy) & storages(found)
    assert (found.scores(TOKENS, MASK) - reward.scores(TOKENS, MASK)).abs().max() < 1e-5


def test_a_run_can_be_moved_with_its_adapters(base: Path, tmp_path: Path):
    policy = start(base)
    save(policy, tmp_path / "sft", merge=False)
    inside = load_policy(tmp_path / "sft")
    moved = tmp_path.with_name(tmp_path.name + "-moved")
    tmp_path.rename(moved)
    assert torch.equal(logprobs(load_policy(moved / "sft")), logprobs(inside))


def test_an_encoder_as_reward_model(tmp_path: Path):
    whole = tiny_reward("bert")
    before = whole.scores(TOKENS, MASK)
    train_adapter(whole, LORA, 1, "the base")
    assert torch.equal(whole.scores(TOKENS, MASK), before)
    heads = {n for n, p in whole.model.named_parameters() if p.requires_grad and "lora_" not in n}
    assert heads == {"classifier.weight", "classifier.bias", "bert.pooler.dense.weight", "bert.pooler.dense.bias"}
    spread(whole)
    assert (RewardOf(merged(whole.model)).scores() - whole.scores(TOKENS, MASK)).abs().max() < 1e-5


class RewardOf:
    def __init__(self, model: Any) -> None:
        self.model = model

    def scores(self) -> torch.Tensor:
        return self.model(input_ids=TOKENS, attention_mask=MASK.long()).logits


def test_a_twin_shares_its_weights_and_nothing_else():
    policy = tiny_causal()
    other = twin(policy.model)
    assert storages(other) == storages(policy)
    other.config.pad_token_id = 7
    other.model.layers[0] = other.model.layers[1]
    assert policy.config.pad_token_id != 7
    assert policy.model.model.layers[0] is not policy.model.model.layers[1]


# --- what is refused -------------------------------------------------------------------------------------------------


def test_a_layer_that_is_not_there_is_named(base: Path):
    wanted = AdapterSettings(adapter="lora", lora_target_modules=["q_proj", "v_prj"])
    with pytest.raises(RecipeError, match=r"no linear layer 'v_prj'; did you mean 'v_proj'\?.*q_proj"):
        Bases(wanted).policy(str(base), 1)


def test_an_adapter_of_another_base_is_refused(base: Path, tmp_path: Path):
    out = save(start(base), tmp_path / "sft", merge=False)
    save(tiny_causal("gpt2"), tmp_path / "gpt2")
    config = (out / "adapter_config.json").read_text()
    (out / "adapter_config.json").write_text(config.replace('"../base"', '"../gpt2"'))
    with pytest.raises(ModelError, match="this adapter is not for its base"):
        load_policy(out)
    (out / "adapter_config.json").write_text(config.replace('"../base"', '"./gone/base"'))
    with pytest.raises(ModelError, match=r"its base ./gone/base is not there"):
        load_policy(out)
    (out / "adapter_config.json").write_text(
        config.replace('"use_dora": false', '"use_dora": true').replace('"LORA"', '"LORA"')
    )
    with pytest.raises(ModelError, match="its use_dora is True, and only plain LoRA is read"):
        load_policy(out)
    (out / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="expected base_model_name_or_path"):
        load_policy(out)


def test_a_damaged_adapter_is_refused(base: Path, tmp_path: Path):
    policy = start(base)
    next(parameter for parameter in policy.parameters() if parameter.requires_grad).data[0, 0] = float("nan")
    out = save(policy, tmp_path / "sft", merge=False)
    with pytest.raises(ModelError, match=r"lora_A.weight' holds NaN or infinity, so the adapter is damaged"):
        load_policy(out)
    weights = out / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"the weights are damaged .*copy the adapter again"):
        load_policy(out)


def test_the_adapter_of_a_reward_model_is_no_policy(base: Path, tmp_path: Path):
    out = save(Bases(LORA).new_reward_model(str(base), 1), tmp_path / "reward", merge=False)
    with pytest.raises(ModelError, match="is a reward model or classifier, expected a language model"):
        load_policy(out)
    with pytest.raises(ModelError, match="adapter of a reward model or classifier, expected one of a language model"):
        Bases(LORA).policy(str(out), 1)


def test_an_adapter_with_whole_weights_of_the_base_is_refused(base: Path, tmp_path: Path):
    """They would be copied over the weights that others share."""
    model: Any = AutoModelForCausalLM.from_pretrained(base)
    config = peft.LoraConfig(target_modules=["q_proj"], modules_to_save=["embed_tokens"])
    peft.get_peft_model(model, config).save_pretrained(tmp_path / "theirs")
    tiny_causal().tokenizer.save_pretrained(tmp_path / "theirs")
    with pytest.raises(ModelError, match=r"embed_tokens.weight' is no adapter of a layer .*merge it with peft first"):
        load_policy(tmp_path / "theirs")


def test_without_the_library_for_4_bits_it_says_what_to_install(base: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("assent.models.quantised.find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"needs bitsandbytes and accelerate .*pip install 'assent\[qlora\]'"):
        Bases(AdapterSettings(adapter="qlora")).policy(str(base), 1)


def test_without_trained_keeps_what_lies_below(base: Path, tmp_path: Path):
    lower = save(start(base), tmp_path / "sft", merge=False)
    policy = Bases(LORA).policy(str(lower), 2)
    kept = {name for place in adapted(without_trained(policy.model)) for name in place.layer.lora_A}
    assert kept == {"frozen0"}
