"""Log-probabilities of real architectures equal a plain log_softmax; padding changes nothing; any kind of head."""

from typing import Any

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM

from assent.models.causal import CausalModel
from assent.testing.tiny import CAUSAL, tiny_causal, tiny_tokenizer

SCALE = {"llama": 1.0, "gpt2": 1.0, "qwen2": 1.0, "gpt_neox": 1.0, "gemma2": None, "phi": None}


def rows() -> tuple[torch.Tensor, torch.Tensor]:
    """Three rows of 12, 7 and 9 tokens, and the mask of their completions."""
    tokens = torch.randint(3, 300, (3, 12), generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([12, 7, 9])
    place = torch.arange(12)[None, :]
    tokens[place >= lengths[:, None]] = 0
    mask = (place < lengths[:, None]) & (place >= 2)
    mask[0, 5:7] = False
    return tokens, mask


def expected(model: Any, tokens: torch.Tensor, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """[B, T - 1] log-probabilities and entropies from the model's own logits."""
    log_p = torch.log_softmax(model(input_ids=tokens).logits / temperature, -1)[:, :-1]
    return log_p.gather(2, tokens[:, 1:, None])[..., 0], -(log_p.exp() * log_p).sum(-1)


@pytest.mark.parametrize("architecture", CAUSAL)
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_logprobs_equal_a_plain_log_softmax(architecture: str, temperature: float):
    policy = tiny_causal(architecture)
    assert policy._head_scale == SCALE[architecture]
    tokens, mask = rows()
    logprobs, entropy = policy.token_logprobs(
        policy.hidden(tokens, tokens != 0, mask), tokens, mask, temperature, want_entropy=True
    )
    want_logprobs, want_entropy = expected(policy.model, tokens, temperature)
    assert want_logprobs.std() > 0.3
    torch.testing.assert_close(logprobs[:, 1:], want_logprobs * mask[:, 1:], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(entropy[:, 1:], want_entropy * mask[:, 1:], rtol=1e-5, atol=1e-5)
    assert float(logprobs[:, 0].abs().max().detach()) == 0.0
    assert policy.token_logprobs(policy.hidden(tokens, tokens != 0, mask), tokens, mask, temperature)[1].shape == (0,)


@pytest.mark.parametrize("architecture", CAUSAL)
def test_the_gradient_of_every_weight_is_the_plain_one(architecture: str):
    policy = tiny_causal(architecture)
    tokens, mask = rows()

    def gradients(logprobs: torch.Tensor) -> dict[str, torch.Tensor]:
        policy.zero_grad()
        (logprobs * torch.linspace(0.5, 1.5, logprobs.numel()).reshape(logprobs.shape)).sum().backward()
        return {n: p.grad.clone() for n, p in policy.named_parameters() if p.grad is not None}

    got = gradients(policy.token_logprobs(policy.hidden(tokens, tokens != 0, mask), tokens, mask, 0.7)[0])
    plain = torch.nn.functional.pad(expected(policy.model, tokens, 0.7)[0], (1, 0)) * mask
    want = gradients(plain)
    assert got.keys() == want.keys()
    scale = max(float(g.abs().max()) for g in want.values())
    for name, gradient in want.items():
        assert float((got[name] - gradient).abs().max()) < 1e-5 * scale, name


@pytest.mark.parametrize("architecture", CAUSAL)
def test_padding_on_the_right_changes_nothing(architecture: str):
    policy = tiny_causal(architecture)
    tokens, mask = rows()
    with torch.no_grad():
        together = policy.token_logprobs(policy.hidden(tokens, tokens != 0, mask), tokens, mask, 1.0)[0]
        for row, length in enumerate([12, 7, 9]):
            alone, part = tokens[row : row + 1, :length], mask[row : row + 1, :length]
            logprobs = policy.token_logprobs(policy.hidden(alone, alone != 0, part), alone, part, 1.0)[0]
            torch.testing.assert_close(together[row, :length], logprobs[0], rtol=0, atol=2e-6)
        other = tokens.clone()
        other[tokens == 0] = 299
        changed = policy.token_logprobs(policy.hidden(other, tokens != 0, mask), other, mask, 1.0)[0]
    assert torch.equal(changed, together)


def test_a_soft_cap_is_found_in_a_fresh_model_whose_logits_do_not_reach_it():
    tokenizer = tiny_tokenizer()
    config = Gemma2Config(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        final_logit_softcapping=30.0,
    )
    torch.manual_seed(0)
    model = Gemma2ForCausalLM(config).eval()
    assert CausalModel(model, tokenizer)._head_scale is None
    config.final_logit_softcapping = None
    assert CausalModel(model, tokenizer)._head_scale == 1.0


def test_the_trunk_runs_once_for_a_head_that_is_no_matrix():
    policy = tiny_causal("phi")
    tokens, mask = rows()
    calls: list[int] = []
    handle = policy.model.base_model.layers[0].register_forward_hook(lambda *_: calls.append(1))
    policy.token_logprobs(policy.hidden(tokens, tokens != 0, mask), tokens, mask, 1.0)
    assert len(calls) == 1
    handle.remove()
    torch.testing.assert_close(policy.model(input_ids=tokens).logits.std(), torch.tensor(0.9), rtol=0.3, atol=0)


def test_every_token_that_ends_a_completion():
    policy = tiny_causal()
    eos = policy.tokenizer.eos_token_id
    assert policy.eos_token_ids == (eos,)
    policy.model.generation_config.eos_token_id = [7, eos]
    assert policy.eos_token_ids == (eos, 7)
    policy.tokenizer.eos_token = None
    assert policy.eos_token_ids == (7, eos)
