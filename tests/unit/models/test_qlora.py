"""A base in 4 bits on a CPU: what its adapter is trained over is what comes out merged."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from assent.models.adapters import AdapterSettings, adapted, in_4_bits, merged, trained_state
from assent.models.load import load_policy
from assent.models.policy import Policy
from assent.models.save import save_model
from assent.models.shared import Bases
from assent.testing.tiny import tiny_causal

QLORA = AdapterSettings(adapter="qlora", lora_r=4, lora_alpha=8)
TOKENS = torch.arange(3, 27).view(2, 12)
MASK = torch.ones_like(TOKENS, dtype=torch.bool)


@torch.no_grad()
def logprobs(policy: Policy) -> torch.Tensor:
    return policy.token_logprobs(policy.hidden(TOKENS, MASK, MASK), TOKENS, MASK, 1.0)[0]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "base").mkdir()
    save_model(tiny_causal(), tmp_path / "base", method="test", base="none", settings={})
    return tmp_path / "base"


def spread(policy: Policy) -> None:
    generator = torch.Generator().manual_seed(5)
    for parameter in policy.parameters():
        if parameter.requires_grad:
            parameter.data.copy_(0.2 * torch.randn(parameter.shape, generator=generator))


def test_the_base_is_in_4_bits_once_and_the_reference_is_exact(base: Path):
    bases = Bases(QLORA)
    policy, other = bases.policy(str(base), 1), bases.policy(str(base), 2)
    layers = [module for module in policy.modules() if in_4_bits(module)]
    assert len(layers) == len(adapted(policy.model)) == 14
    assert {id(layer) for layer in layers} == {id(m) for m in other.modules() if in_4_bits(m)}
    assert all(layer.weight.dtype == torch.uint8 for layer in layers)  # two weights in a byte
    before = logprobs(policy)
    assert (before - logprobs(load_policy(base))).abs().max() > 1e-3  # quantised it is another model
    spread(policy)
    assert (logprobs(policy) - before).abs().max() > 0.1
    assert torch.equal(logprobs(policy.frozen_copy()), before)
    assert all("lora_" in name for name in trained_state(policy))


@pytest.mark.parametrize("merge", [True, False])
def test_what_is_saved_is_what_was_trained(merge: bool, base: Path, tmp_path: Path):
    policy = Bases(QLORA).policy(str(base), 1)
    spread(policy)
    out = tmp_path / "out"
    out.mkdir()
    save_model(policy, out, method="test", base="base", settings={}, merge=merge)
    found = load_policy(out)
    assert not any(map(in_4_bits, found.modules()))
    assert (logprobs(found) - logprobs(policy)).abs().max() < 1e-5
    if merge:
        plain: Any = AutoModelForCausalLM.from_pretrained(out)
        assert "quantization_config" not in plain.config.to_dict()
        assert plain.dtype == torch.float32


def test_the_gradient_reaches_the_adapter_through_4_bits(base: Path):
    policy = Bases(QLORA).policy(str(base), 1)
    spread(policy)
    whole = policy.over(merged(policy.model).requires_grad_(True))
    for model in (policy, whole):
        hidden = model.hidden(TOKENS, MASK, MASK)
        model.token_logprobs(hidden, TOKENS, MASK, 1.0)[0].sum().backward()
    plain, names = dict(whole.model.named_modules()), {id(m): n for n, m in policy.model.named_modules()}
    for place in adapted(policy.model):
        down, up = place.layer.lora_A["trained"].weight, place.layer.lora_B["trained"].weight
        weight: Any = plain[names[id(place.layer)]].weight.grad
        scale = float(weight.abs().max())
        torch.testing.assert_close(up.grad / scale, 2.0 * weight @ down.T / scale, rtol=1e-4, atol=1e-5)
