"""The fused training pass against the models' own: states and every gradient, in each family, compiled and not."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from assent.models.fused import can_fuse, fused_states
from assent.models.fused.attention import AttentionShape, attention
from assent.models.fused.kernels import add_norm, gate, gate_backward, logits_gradient_, lse_update
from assent.models.fused.library import library
from assent.models.fused.rows import SHARED, pack_rows
from assent.testing.tiny import tiny_causal
from tests.threads import threads

SMALL: dict[str, Any] = {"vocab_size": 97, "hidden_size": 48, "num_hidden_layers": 3, "max_position_embeddings": 600}
GROUPED: dict[str, Any] = {**SMALL, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
IDS: dict[str, Any] = {"bos_token_id": 1, "eos_token_id": 2}


def llama() -> Any:
    """With a padding token, whose embedding gets no gradient where it stands as a real token either."""
    return transformers.LlamaModel(transformers.LlamaConfig(**GROUPED, **IDS, pad_token_id=5))


def scaled_llama() -> Any:
    rope = {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}
    config = transformers.LlamaConfig(**GROUPED, **IDS, rope_parameters=rope, attention_bias=True, mlp_bias=True)
    return transformers.LlamaModel(config)


def mistral() -> Any:
    return transformers.MistralModel(transformers.MistralConfig(**GROUPED, **IDS, sliding_window=None))


def qwen2() -> Any:
    return transformers.Qwen2Model(transformers.Qwen2Config(**GROUPED, **IDS))


def qwen3() -> Any:
    return transformers.Qwen3Model(transformers.Qwen3Config(**GROUPED, **IDS, head_dim=16))


def gpt2() -> Any:
    return transformers.GPT2Model(
        transformers.GPT2Config(vocab_size=97, n_embd=48, n_layer=3, n_head=4, n_positions=600, **IDS)
    )


def gpt_neox(parallel: bool = True) -> Any:
    config = transformers.GPTNeoXConfig(
        **SMALL, **IDS, intermediate_size=96, num_attention_heads=4, use_parallel_residual=parallel
    )
    rope: Any = config.rope_parameters
    rope["partial_rotary_factor"] = 0.5
    return transformers.GPTNeoXModel(config)


def gpt_neox_in_series() -> Any:
    return gpt_neox(parallel=False)


FAMILIES = (llama, scaled_llama, mistral, qwen2, qwen3, gpt2, gpt_neox, gpt_neox_in_series)


@pytest.fixture(params=["compiled", "pytorch"])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Each with three threads, whatever the tests run with."""
    library.cache_clear()
    if request.param == "pytorch":
        monkeypatch.setenv("ASSENT_KERNELS", "off")
    if (library() is None) != (request.param == "pytorch"):
        pytest.skip("no C++ compiler here")
    with threads(3):
        yield request.param
    library.cache_clear()


def rows(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Rows from 1 token to many blocks of queries, some of which begin alike."""
    lengths = torch.tensor([520, 300, 40, 17, 300, 1, 301])
    mask = torch.arange(int(lengths.max())) < lengths[:, None]
    tokens = torch.randint(1, 97, mask.shape, generator=generator) * mask
    tokens[4, :100] = tokens[1, :100]
    tokens[6, :300] = tokens[1, :300]
    return tokens, mask


def prepared(make: Any, generator: torch.Generator, dtype: torch.dtype) -> Any:
    """The trunk with norms and biases away from one and zero, so that none can be left out unseen."""
    torch.manual_seed(0)
    trunk = make().to(dtype).eval()
    with torch.no_grad():
        for parameter in trunk.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator).to(dtype))
    return trunk


def compared(trunk: nn.Module, dtype: torch.dtype, generator: torch.Generator) -> tuple[float, float]:
    """The largest distance of states on real tokens, and of gradients as a share of the largest of their tensor."""
    tokens, mask = rows(generator)
    own: Any = trunk
    want = own(input_ids=tokens, use_cache=False).last_hidden_state
    got = fused_states(trunk, tokens, mask)
    assert got is not None
    weights = torch.randn(want.shape, generator=generator).to(dtype) * mask[..., None]
    named = dict(trunk.named_parameters())
    pairs = [
        torch.autograd.grad((states * weights).sum(), list(named.values()), allow_unused=True) for states in (want, got)
    ]
    largest = max(float(one.abs().max()) for one in pairs[0] if one is not None)
    far = 0.0
    for name, one, other in zip(named, *pairs, strict=True):
        assert (one is None) == (other is None), name
        if one is not None and other is not None:
            # a bias of keys moves all scores of a query alike: what is left of its gradient is mostly rounding
            far = max(far, float((one - other).abs().max()) / max(float(one.abs().max()), 0.01 * largest))
    return float(((want - got) * mask[..., None]).detach().abs().max()), far


@pytest.mark.parametrize("make", FAMILIES)
@pytest.mark.usefixtures("kernels")
def test_states_and_gradients_are_the_models_own(make: Any):
    generator = torch.Generator().manual_seed(1)
    trunk = prepared(make, generator, torch.float32)
    states, gradients = compared(trunk, torch.float32, generator)
    assert states < 1e-5
    assert gradients < 2e-5


@pytest.mark.parametrize("make", [gpt2, gpt_neox])  # the others' norms and rotations are float32 in transformers itself
def test_in_float64_they_agree_to_rounding(make: Any):
    generator = torch.Generator().manual_seed(2)
    trunk = prepared(make, generator, torch.float64)
    states, gradients = compared(trunk, torch.float64, generator)
    assert states < 1e-13
    assert gradients < 1e-13


@pytest.mark.usefixtures("kernels")
def test_in_bfloat16_the_gradient_is_as_near_as_that_of_autocast():
    generator = torch.Generator().manual_seed(3)
    trunk = prepared(llama, generator, torch.float32)
    tokens, mask = rows(generator)
    weights = torch.randn(*tokens.shape, 48, generator=generator) * mask[..., None]
    parameters = list(trunk.parameters())

    def gradient(fused: bool, bf16: bool) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            states: Any = fused_states(trunk, tokens, mask) if fused else trunk(input_ids=tokens).last_hidden_state
        found = torch.autograd.grad((states.float() * weights).sum(), parameters)
        return torch.cat([part.flatten() for part in found])

    exact = gradient(fused=False, bf16=False)
    ours, theirs = (float((gradient(fused, True) - exact).norm() / exact.norm()) for fused in (True, False))
    assert ours < 0.03
    assert ours < 1.2 * theirs


def test_what_rows_have_in_common_is_packed_once():
    same = list(range(20, 20 + SHARED))
    lists = [[5, *same, 7, 8], [5, *same, 9], [4, *same], [5, *same, 7, 1], [5, *same[2:]]]
    lengths = torch.tensor([len(row) for row in lists])
    mask = torch.arange(SHARED + 3) < lengths[:, None]
    tokens = torch.tensor([row + [0] * (SHARED + 3 - len(row)) for row in lists])
    packed = pack_rows(tokens, mask)
    assert len(packed.tokens) == (SHARED + 1) + (SHARED + 3) + 1 + 1 + (SHARED - 1)  # 4.., 5..71, 8, 9; 5.. by itself
    assert torch.equal(packed.tokens[packed.places][mask], tokens[mask])
    assert packed.positions[packed.places][mask].tolist() == [n for row in lists for n in range(len(row))]
    assert packed.clusters.tolist() == [0, 1, 4, 5]
    owned = [packed.paths[packed.starts[row] + packed.shared[row] : packed.starts[row + 1]] for row in range(5)]
    assert torch.cat(owned).tolist() == list(range(len(packed.tokens)))


def test_a_model_that_is_not_its_architectures_own_runs_itself():
    cpu = torch.device("cpu")
    assert can_fuse(tiny_causal("llama").trunk, cpu)
    hooked = tiny_causal("llama").trunk
    handle = hooked.layers[0].register_forward_hook(lambda *_: None)  # pyright: ignore
    assert not can_fuse(hooked, cpu)
    handle.remove()
    assert can_fuse(hooked, cpu)
    adapted = tiny_causal("llama").trunk
    adapted.layers[1].mlp.up_proj = nn.Sequential(adapted.layers[1].mlp.up_proj)  # pyright: ignore
    assert not can_fuse(adapted, cpu)
    assert not can_fuse(tiny_causal("gemma2").trunk, cpu)
    assert not can_fuse(tiny_causal("llama").trunk.bfloat16(), cpu)
    dropping = tiny_causal("gpt2").trunk.train()
    assert not can_fuse(dropping, cpu)


@pytest.mark.usefixtures("kernels")
def test_bfloat16_kernels_compute_in_float32():
    draw = torch.Generator().manual_seed(4)
    wide = (3.0 * torch.randn(5, 64, generator=draw)).bfloat16()
    exact = torch.nn.functional.silu(wide[:, :32].double()) * wide[:, 32:].double()
    assert float(((gate(wide).double() - exact) / exact.abs().clamp(min=1e-3)).abs().max()) < 2**-7
    assert torch.equal(gate_backward(wide, wide[:, :32])[1], gate(wide))
    normed = add_norm(wide.float(), wide, torch.full((64,), 2.0), None, 1e-6, True, torch.bfloat16)
    total = 2.0 * wide.double()
    want = 2.0 * total / (total.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    assert torch.equal(normed.total.double(), total)
    assert float(((normed.out.double() - want) / want.abs()).abs().max()) < 2**-8


@pytest.mark.usefixtures("kernels")
def test_the_largest_and_smallest_scores_do_not_overflow():
    packed = pack_rows(torch.tensor([[1, 2]]), torch.ones(1, 2, dtype=torch.bool))
    qkv = torch.tensor([[1e3, 1e1, 2.0], [1e3, -1e1, 3.0]])  # the second query's scores are 1e4 and -1e4
    assert attention(qkv, None, packed, AttentionShape(1, 1, 1, 1.0)).tolist() == [[2.0], [2.0]]
    logits = torch.tensor([[1e4, 1e4 - 1.0, -1e4]])
    peak, total, moment = torch.full((1,), -torch.inf), torch.zeros(1), torch.zeros(1)
    for first in range(3):  # a column at a time, the largest first
        lse_update(logits[:, first : first + 1].contiguous(), 0.5, peak, total, moment)
    p = torch.softmax(torch.tensor([0.0, -0.5]), 0)
    assert float(peak) == 5e3
    assert float(total) == pytest.approx(1.0 + torch.tensor(-0.5).exp().item(), rel=1e-6)
    assert float(total.log() - moment / total) == pytest.approx(float(-(p * p.log()).sum()), rel=1e-5)
    grad = logits_gradient_(logits, 0, 0.5, peak + total.log(), torch.tensor([1]), torch.ones(1), None, None)
    torch.testing.assert_close(grad[0], 0.5 * torch.tensor([-p[0], 1.0 - p[1], 0.0]), rtol=1e-3, atol=1e-6)
