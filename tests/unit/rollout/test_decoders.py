"""The fast decoders against the models' own forward pass; slots against rows that decode by themselves."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from transformers import AutoConfig, AutoModelForCausalLM

from assent.models.causal import CausalModel
from assent.rollout import decoders
from assent.rollout.decoders import DECODERS, fast_weights, transformer
from assent.rollout.decoders.transformer import TorchDecoder
from assent.rollout.engine import EncodedPrompt
from assent.rollout.local import LocalEngine
from assent.rollout.native.build import kernels
from assent.rollout.native.decoder import NativeDecoder
from assent.testing.tiny import tiny_causal, tiny_tokenizer
from assent.types import Completion, SamplingSettings

FAMILIES = ["llama", "qwen2", "gpt2", "gpt_neox"]
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
SHAPE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "biased, wide heads": ("llama", {"attention_bias": True, "mlp_bias": True, "head_dim": 16}),
    "grouped, llama 3 positions": ("llama", {"num_key_value_heads": 1, "rope_parameters": LLAMA3}),
    "mistral": ("mistral", {"num_key_value_heads": 2, "sliding_window": None}),
    "qwen 3": ("qwen3", {"num_key_value_heads": 2, "head_dim": 16}),
    "one after the other": ("gpt_neox", {"use_parallel_residual": False, "attention_bias": False}),
    "scores by layer": ("gpt2", {"scale_attn_by_inverse_layer_idx": True}),
}


NATIVE = pytest.mark.skipif(kernels() is None, reason="there is no C++ compiler with OpenMP")


@pytest.fixture(params=[pytest.param("native", marks=NATIVE), "torch"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The class of the decoder that this test is to run."""
    if request.param == "torch":
        monkeypatch.setattr(decoders, "runs_natively", lambda weights, dtype: False)
        return TorchDecoder
    return NativeDecoder


class OwnForward(LocalEngine):
    """Decodes by the model's own forward pass."""

    def _fast_weights(self) -> None:
        return None


def made(kind: str, settings: dict[str, Any], dtype: torch.dtype = torch.float32) -> CausalModel:
    tokenizer = tiny_tokenizer()
    shape = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64} if kind == "gpt2" else SHAPE
    both = {"vocab_size": len(tokenizer), "max_position_embeddings": 64, **shape, **settings}
    if kind == "gpt2":
        del both["max_position_embeddings"]
    config = AutoConfig.for_model(kind, eos_token_id=tokenizer.eos_token_id, **both)
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn_like(parameter)
            parameter.copy_(noise * 0.15 if parameter.dim() > 1 else parameter + noise * 0.1)
    return CausalModel(model.to(dtype).eval(), tokenizer)


def some_prompts(count: int, longest: int = 40) -> list[EncodedPrompt]:
    generator = np.random.default_rng(4)
    lengths = generator.integers(1, longest + 1, count)
    return [EncodedPrompt(str(i), tuple(generator.integers(3, 290, n).tolist())) for i, n in enumerate(lengths)]


def ending(architecture: str, bias: float) -> CausalModel:
    """A policy whose rows end at different lengths."""
    policy = tiny_causal(architecture)
    weight = policy.model.get_output_embeddings().weight
    head = torch.nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.zero_()
        head.bias[policy.tokenizer.eos_token_id] = bias
    policy.model.set_output_embeddings(head)
    return CausalModel(policy.model, policy.tokenizer)


def numbers(found: list[Completion]) -> dict[str, tuple[Any, ...]]:
    return {c.id: (c.token_ids, c.logprobs, c.sampling_logprobs, c.finish_reason) for c in found}


@pytest.mark.parametrize("name", VARIANTS)
def test_each_variant_decodes_as_its_own_forward_does(name: str, decoder: Any):
    policy = made(*VARIANTS[name])
    assert fast_weights(policy.model) is not None
    for temperature in (0.0, 1.0):
        sampling = SamplingSettings(max_new_tokens=20, temperature=temperature, seed=1)
        theirs = OwnForward(policy).generate(some_prompts(12), sampling, 2)
        ours = LocalEngine(policy).generate(some_prompts(12), sampling, 2)
        assert [c.token_ids for c in ours] == [c.token_ids for c in theirs]
        for one, other in zip(ours, theirs, strict=True):
            assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)
    assert len({token for c in ours for token in c.token_ids}) > 50


@pytest.mark.parametrize("kind", ["llama", "gpt_neox", "gpt2"])
def test_bfloat16_rounds_as_the_own_forward_rounds(kind: str, decoder: Any):
    """Both are as far from float32 as bfloat16 is: the engine's error is at most twice the forward pass's own."""
    policy, prompts = made(kind, {}), some_prompts(8, 30)
    sampling = SamplingSettings(max_new_tokens=1, temperature=1.0)
    right = [c.logprobs[0] for c in LocalEngine(policy).generate(prompts, sampling, 8)]
    low = made(kind, {}, torch.bfloat16)
    errors: list[float] = []
    for engine in (OwnForward(low), LocalEngine(low)):
        found = engine.generate(prompts, sampling, 8)
        tokens = [c.token_ids for c in LocalEngine(policy).generate(prompts, sampling, 8)]
        same = [(c.logprobs[0], r) for c, r, t in zip(found, right, tokens, strict=True) if c.token_ids == t]
        assert len(same) > 50
        errors.append(float(np.mean([abs(a - b) for a, b in same])))
    assert 1e-4 < errors[1] < 2 * errors[0] < 0.2


@pytest.mark.parametrize("architecture", FAMILIES)
def test_in_float32_no_bit_depends_on_the_company(architecture: str, decoder: Any):
    policy, prompts = ending(architecture, 1.0), some_prompts(16)
    sampling = SamplingSettings(max_new_tokens=20, seed=2)
    alone = numbers(LocalEngine(policy).generate(prompts, sampling, 4))
    assert len({len(tokens) for tokens, *_ in alone.values()}) > 5
    for slots, some in ((128, prompts[:1]), (128, prompts[::-1]), (3, prompts[:5]), (8, prompts), (20, prompts)):
        found = numbers(LocalEngine(policy, slots=slots).generate(some, sampling, 4))
        assert found == {key: alone[key] for key in found}


def test_a_prompt_is_read_once_and_rows_that_ended_cost_nothing(decoder: Any, monkeypatch: pytest.MonkeyPatch):
    prompts_read: list[tuple[int, ...]] = []
    widths: list[int] = []
    read, sample = decoder.read, decoder.sample

    def read_spy(self: Any, prompts: Any, slots: Any) -> None:
        prompts_read.extend(prompts)
        read(self, prompts, slots)

    def sample_spy(self: Any, tokens: torch.Tensor, *rest: Any) -> Any:
        widths.append(len(tokens))
        return sample(self, tokens, *rest)

    monkeypatch.setattr(decoder, "read", read_spy)
    monkeypatch.setattr(decoder, "sample", sample_spy)
    prompts = [p for p in some_prompts(14) if len(p.token_ids) > 1]
    found = LocalEngine(ending("llama", 4.0), slots=24).generate(prompts, SamplingSettings(max_new_tokens=20), 7)
    assert sorted(prompts_read) == sorted(p.token_ids[:-1] for p in prompts)
    assert widths[0] == 24
    assert widths[-1] < 5 if decoder is NativeDecoder else widths[-1] == 16
    assert widths == sorted(widths, reverse=True)
    drawn = sum(len(c.token_ids) for c in found)
    longest_waits = sum(24 * max(len(c.token_ids) for c in found[i : i + 24]) for i in range(0, len(found), 24))
    assert drawn <= sum(widths) < 0.75 * longest_waits


def test_prompts_of_a_single_token_and_no_prompt_at_all(decoder: Any):
    policy, sampling = tiny_causal(), SamplingSettings(max_new_tokens=5)
    prompts = [EncodedPrompt("a", (7,)), EncodedPrompt("b", (8,))]
    ours, theirs = (kind(policy).generate(prompts, sampling, 3) for kind in (LocalEngine, OwnForward))
    assert [c.token_ids for c in ours] == [c.token_ids for c in theirs]
    assert LocalEngine(policy).generate([], sampling) == []


def test_long_prompts_and_many_of_them(monkeypatch: pytest.MonkeyPatch):
    """PyTorch's kernel for long prompts, and a prefill in parts."""
    monkeypatch.setattr(decoders, "runs_natively", lambda weights, dtype: False)
    sampling = SamplingSettings(max_new_tokens=8)
    for architecture in FAMILIES:
        policy, prompts = tiny_causal(architecture), some_prompts(12)
        want = LocalEngine(policy).generate(prompts, sampling)
        monkeypatch.setattr(transformer, "_SCORES", 4 * 24 * 24)
        assert numbers(LocalEngine(policy).generate(prompts, sampling)) == numbers(want)
        monkeypatch.setattr(transformer, "_LONG", 20)
        long = LocalEngine(policy).generate(prompts, sampling)
        for one, other in zip(long, want, strict=True):
            assert one.token_ids == other.token_ids
            assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)
        monkeypatch.setattr(transformer, "_SCORES", 1 << 24)
        monkeypatch.setattr(transformer, "_LONG", 2048)


@pytest.mark.parametrize(
    ("architecture", "settings", "kept"),
    [
        # What is drawn from scores is one function for all families.
        *((family, {}, 300) for family in FAMILIES),
        ("llama", {"temperature": 0.7, "top_k": 6}, 6),
        ("gpt2", {"top_p": 0.5}, 300),
        ("gpt_neox", {"min_p": 0.3}, 300),
        ("qwen2", {"temperature": 1.5, "logit_bias": ((7, 3.0), (60, 2.0), (2, -9.0)), "min_new_tokens": 1}, 300),
    ],
)
def test_samples_follow_the_models_distribution(architecture: str, settings: dict[str, Any], kept: int, decoder: Any):
    policy, prompt = tiny_causal(architecture), EncodedPrompt("p", (1, 50, 60, 70))
    sampling = SamplingSettings(max_new_tokens=1, seed=9, **settings)
    found = LocalEngine(policy).generate([prompt], sampling, 4000)
    counts = np.bincount([c.token_ids[0] for c in found], minlength=policy.config.vocab_size)
    with torch.no_grad():
        logits = policy.model(torch.tensor([prompt.token_ids])).logits[0, -1].double()
    own = torch.log_softmax(logits / sampling.temperature, -1)
    for token, bias in sampling.logit_bias:
        logits[token] += bias
    if sampling.min_new_tokens:
        logits[list(policy.eos_token_ids)] = -torch.inf
    p = torch.softmax(logits / sampling.temperature, -1)
    order = p.argsort(descending=True)
    inside = order[:kept][(p[order].cumsum(0) - p[order] < sampling.top_p)[:kept]]
    inside = inside[p[inside] >= sampling.min_p * p.max()]
    p = torch.zeros_like(p).index_copy(0, inside, p[inside] / p[inside].sum())
    for c in found[:200]:
        assert c.logprobs[0] == pytest.approx(float(own[c.token_ids[0]]), abs=1e-4)
        assert c.sampling_logprobs[0] == pytest.approx(float(p[c.token_ids[0]].log()), abs=1e-4)
    p = p.numpy()
    assert counts[p == 0].sum() == 0
    common = p > 10 / len(found)
    seen, want = counts[common], p[common] * len(found)
    if p[~common].sum() > 0:
        seen, want = np.append(seen, counts[~common].sum()), np.append(want, p[~common].sum() * len(found))
    assert stats.chisquare(seen, want).pvalue > 0.001


@pytest.mark.parametrize("architecture", FAMILIES)
def test_changed_weights_are_seen_however_they_were_changed(architecture: str, decoder: Any):
    policy, other = tiny_causal(architecture), tiny_causal(architecture, seed=1)
    engine, prompts = LocalEngine(policy), some_prompts(6)
    sampling = SamplingSettings(max_new_tokens=8)
    engine.generate(prompts, sampling)
    for old, new in zip(policy.model.parameters(), other.model.parameters(), strict=True):
        old.data.copy_(new.data)  # leaves no trace in the parameter's version
    want = LocalEngine(other).generate(prompts, sampling)
    assert numbers(engine.generate(prompts, sampling)) == numbers(want)


class Adapted(torch.nn.Linear):
    """A linear layer that does more, as an adapter's."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input) * 1.5


def test_what_is_not_the_architectures_own_runs_itself():
    assert {type(tiny_causal(name).model).__name__ for name in FAMILIES} < set(DECODERS)
    for name in ("gemma2", "phi"):
        assert fast_weights(tiny_causal(name).model) is None
    for window, fast in ((None, True), (64, True), (16, False)):
        model = made("mistral", {"num_key_value_heads": 2, "sliding_window": window}).model
        assert (fast_weights(model) is not None) is fast
    dynamic = {"rope_type": "dynamic", "rope_theta": 10_000.0, "factor": 2.0}
    assert fast_weights(made("llama", {"rope_parameters": dynamic}).model) is None
    policy = tiny_causal()
    mlp: Any = policy.model.model.layers[1].mlp
    adapted = Adapted(mlp.down_proj.in_features, mlp.down_proj.out_features, bias=False)
    adapted.load_state_dict(mlp.down_proj.state_dict())
    sampling = SamplingSettings(max_new_tokens=16)
    before = LocalEngine(policy).generate(some_prompts(4), sampling)
    mlp.down_proj = adapted
    assert fast_weights(policy.model) is None
    after = LocalEngine(policy).generate(some_prompts(4), sampling)
    assert [c.token_ids for c in before] != [c.token_ids for c in after]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_threads_and_a_short_memory_change_no_bit(dtype: torch.dtype):
    policy, prompts = ending("llama", 1.0), some_prompts(9)
    sampling = SamplingSettings(max_new_tokens=12, seed=2, min_new_tokens=2)
    if dtype == torch.bfloat16 and not decoders.runs_natively(decoders.fast_weights(policy.model), dtype):  # pyright: ignore[reportArgumentType]
        pytest.skip("bfloat16 has no kernels on this processor")
    before = torch.get_num_threads()
    found: list[Any] = []
    try:
        for threads, memory in ((1, 4 << 30), (3, 4 << 30), (1, 100_000)):
            torch.set_num_threads(threads)
            engine = LocalEngine(policy, dtype=dtype, cache_bytes=memory)
            found.append(numbers(engine.generate(prompts, sampling, 3)))
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1]
    if dtype == torch.bfloat16 or kernels() is not None:
        assert found[0] == found[2]


def test_the_cache_stays_within_its_memory(decoder: Any, monkeypatch: pytest.MonkeyPatch):
    policy, prompts = tiny_causal(), some_prompts(20)
    made: list[int] = []
    start = decoder.__init__

    def spy(self: Any, *arguments: Any) -> None:
        start(self, *arguments)
        made.append(self.cache.nbytes)

    monkeypatch.setattr(decoder, "__init__", spy)
    sampling = SamplingSettings(max_new_tokens=8)
    want = [c.token_ids for c in LocalEngine(policy).generate(prompts, sampling, 4)]
    got = [c.token_ids for c in LocalEngine(policy, cache_bytes=made[0] // 3).generate(prompts, sampling, 4)]
    assert got == want
    assert made[0] / 5 < made[1] <= made[0] / 3 * 1.25  # rows and lengths are rounded up
    LocalEngine(policy, cache_bytes=1).generate(prompts[:1], sampling)
    assert len(made) == 3


def test_bfloat16_from_float32_weights_stays_near_them(decoder: Any):
    policy, prompts = made("llama", {}), some_prompts(8, 30)
    sampling = SamplingSettings(max_new_tokens=8)
    exact = LocalEngine(policy).generate(prompts, sampling, 4)
    near = LocalEngine(policy, dtype=torch.bfloat16).generate(prompts, sampling, 4)
    gaps = [
        abs(a.logprobs[0] - b.logprobs[0]) for a, b in zip(exact, near, strict=True) if a.token_ids[0] == b.token_ids[0]
    ]
    assert len(gaps) > 25
    assert 1e-5 < float(np.mean(gaps)) < 0.1
