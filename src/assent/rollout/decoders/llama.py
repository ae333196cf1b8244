"""Llama, Mistral, Qwen 2 and Qwen 3 for the decoder: RMS norms, rotary positions, gated MLP, grouped keys."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from assent.rollout.decoders.parts import affine, fused, linear, rotary_table
from assent.rollout.decoders.transformer import Function, Layer, Weights, side_by_side


def llama_weights(model: Any) -> Weights:
    """The model's weights, query, key and value projections in one copy and gate and up in another."""
    trunk, config = model.model, model.config
    first = trunk.layers[0].self_attn
    embedding = trunk.embed_tokens.weight
    norm, head = _rms(trunk.norm), linear(model.get_output_embeddings())
    return Weights(
        embed=lambda tokens, positions: F.embedding(tokens, embedding),
        layers=[_layer(layer, first.head_dim) for layer in trunk.layers],
        head=lambda states: head(norm(states)),
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_dim=first.head_dim,
        rotary=rotary_table(trunk.rotary_emb, first.head_dim),
        device=embedding.device,
        dtype=embedding.dtype,
    )


def _layer(layer: Any, head_dim: int) -> Layer:
    attention, mlp = layer.self_attn, layer.mlp
    order = side_by_side(head_dim, head_dim)
    gate_up = fused([affine(mlp.gate_proj), affine(mlp.up_proj)])
    down, act = linear(mlp.down_proj), mlp.act_fn

    def gated(states: Tensor) -> Tensor:
        gate, up = gate_up(states).chunk(2, -1)
        return down(act(gate) * up)

    query, key = (_reordered(affine(p), order, head_dim) for p in (attention.q_proj, attention.k_proj))
    return Layer(
        attention_norm=_rms(layer.input_layernorm),
        qkv=fused([query, key, affine(attention.v_proj)]),
        out=linear(attention.o_proj),
        mlp_norm=_rms(layer.post_attention_layernorm),
        mlp=gated,
        scale=attention.scaling,
        head_norm=_head_norm(attention, order, len(query[0]) // head_dim, len(key[0]) // head_dim),
    )


def _reordered(part: tuple[Tensor, Tensor | None], order: Tensor, head_dim: int) -> tuple[Tensor, Tensor | None]:
    weight, bias = part
    order = order.to(weight.device)
    return (
        weight.unflatten(0, (-1, head_dim))[:, order].flatten(0, 1),
        None if bias is None else bias.unflatten(0, (-1, head_dim))[:, order].flatten(),
    )


def _head_norm(attention: Any, order: Tensor, heads: int, kv_heads: int) -> Function | None:
    if not hasattr(attention, "q_norm"):
        return None
    query, key = (n.weight[order.to(n.weight.device)] for n in (attention.q_norm, attention.k_norm))
    weight = torch.cat([query.expand(heads, -1), key.expand(kv_heads, -1)])
    eps = attention.q_norm.variance_epsilon
    return lambda states: F.rms_norm(states, states.shape[-1:], None, eps) * weight


def _rms(norm: Any) -> Function:
    weight, eps = norm.weight, norm.variance_epsilon
    return lambda states: F.rms_norm(states, weight.shape, weight, eps)
