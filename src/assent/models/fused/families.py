"""Which trunks of ``transformers`` are run by :mod:`assent.models.fused.trunk`, and their descriptions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from assent.models.adapters import is_adapted, low_rank
from assent.models.fused.attention import AttentionShape
from assent.models.fused.functions import Linear, Norm
from assent.models.fused.trunk import Block, Trunk
from assent.models.plain import NotPlain, attends_plainly


def describe(trunk: Any) -> Trunk | None:
    """The trunk's description over its own parameters; ``None`` for an architecture, or a variant, that is not here."""
    build = FAMILIES.get(type(trunk).__name__)
    if build is None or not attends_plainly(trunk.config):
        return None
    try:
        return build(trunk)
    except NotPlain:
        return None


def _linear(*modules: Any) -> Linear:
    bases = [module.get_base_layer() if is_adapted(module) else module for module in modules]
    kind = type(bases[0])
    if kind not in (nn.Linear, Conv1D) or any(type(base) is not kind for base in bases):
        raise NotPlain
    added = [low_rank(module) if is_adapted(module) else () for module in modules]
    if any(rank.dropout for ranks in added for rank in ranks):
        raise NotPlain
    return Linear([b.weight for b in bases], [b.bias for b in bases], kind is Conv1D, added if any(added) else ())


def _rms(norm: Any) -> Norm:
    return Norm(norm.weight, None, norm.variance_epsilon, rms=True)


def _layer_norm(norm: Any) -> Norm:
    if type(norm) is not nn.LayerNorm:
        raise NotPlain
    return Norm(norm.weight, norm.bias, norm.eps, rms=False)


def _turns(rotary: Any) -> Callable[[int], Tensor]:
    """The rotations of the first T positions, from the model's own rotary module."""

    def table(count: int) -> Tensor:
        cos, sin = rotary(torch.zeros(1, device=rotary.inv_freq.device), torch.arange(count)[None])
        half = cos.shape[-1] // 2
        return torch.stack([cos[0, :, :half], sin[0, :, :half]], 1)

    return table


def _llama(trunk: Any) -> Trunk:
    return Trunk(
        embedding=_embedding(trunk.embed_tokens),
        positions=None,
        blocks=[_llama_block(layer) for layer in trunk.layers],
        norm=_rms(trunk.norm),
        turns=_turns(trunk.rotary_emb),
    )


def _llama_block(layer: Any) -> Block:
    attention, mlp = layer.self_attn, layer.mlp
    if type(mlp.act_fn).__name__ not in ("SiLU", "SiLUActivation"):
        raise NotPlain
    head_dim = attention.head_dim
    heads, kv_heads = (p.weight.shape[0] // head_dim for p in (attention.q_proj, attention.k_proj))
    return Block(
        attention_norm=_rms(layer.input_layernorm),
        qkv=_linear(attention.q_proj, attention.k_proj, attention.v_proj),
        out=_linear(attention.o_proj),
        mlp_norm=_rms(layer.post_attention_layernorm),
        up=_linear(mlp.gate_proj, mlp.up_proj),
        down=_linear(mlp.down_proj),
        shape=AttentionShape(heads, kv_heads, head_dim, attention.scaling),
        head_norms=(_rms(attention.q_norm), _rms(attention.k_norm)) if hasattr(attention, "q_norm") else None,
    )


def _gpt2(trunk: Any) -> Trunk:
    if trunk.config.scale_attn_by_inverse_layer_idx:
        raise NotPlain
    return Trunk(
        embedding=_embedding(trunk.wte),
        positions=_embedding(trunk.wpe),
        blocks=[_gpt2_block(block) for block in trunk.h],
        norm=_layer_norm(trunk.ln_f),
        turns=None,
    )


def _gpt2_block(block: Any) -> Block:
    attention, mlp = block.attn, block.mlp
    return Block(
        attention_norm=_layer_norm(block.ln_1),
        qkv=_linear(attention.c_attn),
        out=_linear(attention.c_proj),
        mlp_norm=_layer_norm(block.ln_2),
        up=_linear(mlp.c_fc),
        down=_linear(mlp.c_proj),
        shape=AttentionShape(attention.num_heads, attention.num_heads, attention.head_dim, attention.scaling),
        activation=mlp.act,
    )


def _gpt_neox(trunk: Any) -> Trunk:
    return Trunk(
        embedding=_embedding(trunk.embed_in),
        positions=None,
        blocks=[_gpt_neox_block(layer, trunk.config.num_attention_heads) for layer in trunk.layers],
        norm=_layer_norm(trunk.final_layer_norm),
        turns=_turns(trunk.rotary_emb),
    )


def _gpt_neox_block(layer: Any, heads: int) -> Block:
    attention, mlp = layer.attention, layer.mlp

    def parts_together(qkv: Tensor) -> Tensor:
        """From head by head, query key value in each, to all queries, all keys, all values."""
        return qkv.unflatten(1, (heads, 3, -1)).transpose(1, 2).flatten(1)

    return Block(
        attention_norm=_layer_norm(layer.input_layernorm),
        qkv=_linear(attention.query_key_value),
        out=_linear(attention.dense),
        mlp_norm=_layer_norm(layer.post_attention_layernorm),
        up=_linear(mlp.dense_h_to_4h),
        down=_linear(mlp.dense_4h_to_h),
        shape=AttentionShape(heads, heads, attention.head_size, attention.scaling),
        activation=mlp.act,
        parallel=layer.use_parallel_residual,
        order=parts_together,
    )


def _embedding(module: Any) -> nn.Embedding:
    if type(module) is not nn.Embedding or module.max_norm is not None:
        raise NotPlain
    return module


FAMILIES: dict[str, Callable[[Any], Trunk]] = {
    "LlamaModel": _llama,
    "MistralModel": _llama,
    "Qwen2Model": _llama,
    "Qwen3Model": _llama,
    "GPT2Model": _gpt2,
    "GPTNeoXModel": _gpt_neox,
}
"""By the name of the trunk's class."""
