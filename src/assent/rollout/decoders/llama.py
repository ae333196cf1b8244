"""Llama, Mistral, Qwen 2 and Qwen 3 for the decoder: RMS norms, rotary positions, gated MLP, grouped keys."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from assent.rollout.decoders.parts import affine, fused, rms_norm, rotary_table
from assent.rollout.decoders.weights import Activation, Affine, HeadNorm, Layer, Weights, side_by_side


def llama_weights(model: Any) -> Weights:
    """The model's weights, query, key and value projections in one copy and gate and up in another."""
    trunk, config = model.model, model.config
    head_dim = trunk.layers[0].self_attn.head_dim
    return Weights(
        tokens=trunk.embed_tokens.weight,
        positions=None,
        layers=[_layer(layer, head_dim, config.hidden_act) for layer in trunk.layers],
        norm=rms_norm(trunk.norm),
        head=affine(model.get_output_embeddings()),
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_dim=head_dim,
        rotary=rotary_table(trunk.rotary_emb, head_dim),
    )


def _layer(layer: Any, head_dim: int, act: str) -> Layer:
    attention, mlp = layer.self_attn, layer.mlp
    order = side_by_side(head_dim, head_dim)
    query, key = (_reordered(affine(p), order, head_dim) for p in (attention.q_proj, attention.k_proj))
    return Layer(
        attention_norm=rms_norm(layer.input_layernorm),
        qkv=fused([query, key, affine(attention.v_proj)]),
        out=affine(attention.o_proj),
        mlp_norm=rms_norm(layer.post_attention_layernorm),
        up=fused([affine(mlp.gate_proj), affine(mlp.up_proj)]),
        down=affine(mlp.down_proj),
        activation=Activation(act, mlp.act_fn),
        gated=True,
        scale=attention.scaling,
        head_norm=_head_norm(attention, order, len(query.weight) // head_dim, len(key.weight) // head_dim),
    )


def _reordered(part: Affine, order: Tensor, head_dim: int) -> Affine:
    order = order.to(part.weight.device)
    return Affine(
        part.weight.unflatten(0, (-1, head_dim))[:, order].flatten(0, 1),
        None if part.bias is None else part.bias.unflatten(0, (-1, head_dim))[:, order].flatten(),
    )


def _head_norm(attention: Any, order: Tensor, heads: int, kv_heads: int) -> HeadNorm | None:
    if not hasattr(attention, "q_norm"):
        return None
    query, key = (n.weight[order.to(n.weight.device)] for n in (attention.q_norm, attention.k_norm))
    weight = torch.cat([query.expand(heads, -1), key.expand(kv_heads, -1)])
    return HeadNorm(weight, attention.q_norm.variance_epsilon)
