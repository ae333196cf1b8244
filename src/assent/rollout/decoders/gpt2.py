"""GPT-2 for the decoder: layer norms and learned positions; every weight is the model's own, nothing is copied."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F

from assent.rollout.decoders.parts import conv1d, layer_norm, linear
from assent.rollout.decoders.transformer import Layer, Weights


def gpt2_weights(model: Any) -> Weights:
    """Views of the model's weights."""
    trunk = model.transformer
    tokens_at, positions_at = trunk.wte.weight, trunk.wpe.weight
    attention = trunk.h[0].attn
    norm, head = layer_norm(trunk.ln_f), linear(model.get_output_embeddings())
    return Weights(
        embed=lambda tokens, positions: F.embedding(tokens, tokens_at) + F.embedding(positions, positions_at),
        layers=[_layer(block) for block in trunk.h],
        head=lambda states: head(norm(states)),
        heads=attention.num_heads,
        kv_heads=attention.num_heads,
        head_dim=attention.head_dim,
        rotary=None,
        device=tokens_at.device,
        dtype=tokens_at.dtype,
    )


def _layer(block: Any) -> Layer:
    up, down, act = conv1d(block.mlp.c_fc), conv1d(block.mlp.c_proj), block.mlp.act
    return Layer(
        attention_norm=layer_norm(block.ln_1),
        qkv=conv1d(block.attn.c_attn),
        out=conv1d(block.attn.c_proj),
        mlp_norm=layer_norm(block.ln_2),
        mlp=lambda states: down(act(up(states))),
        scale=block.attn.scaling,
    )
