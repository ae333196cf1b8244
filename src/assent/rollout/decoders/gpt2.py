"""GPT-2 for the decoder: layer norms and learned positions; every weight is the model's own, nothing is copied."""

from __future__ import annotations

from typing import Any

from assent.rollout.decoders.parts import affine, conv1d, layer_norm
from assent.rollout.decoders.weights import Activation, Layer, Weights


def gpt2_weights(model: Any) -> Weights:
    """Views of the model's weights."""
    trunk = model.transformer
    attention = trunk.h[0].attn
    return Weights(
        tokens=trunk.wte.weight,
        positions=trunk.wpe.weight,
        layers=[_layer(block, model.config.activation_function) for block in trunk.h],
        norm=layer_norm(trunk.ln_f),
        head=affine(model.get_output_embeddings()),
        heads=attention.num_heads,
        kv_heads=attention.num_heads,
        head_dim=attention.head_dim,
        rotary=None,
    )


def _layer(block: Any, act: str) -> Layer:
    return Layer(
        attention_norm=layer_norm(block.ln_1),
        qkv=conv1d(block.attn.c_attn),
        out=conv1d(block.attn.c_proj),
        mlp_norm=layer_norm(block.ln_2),
        up=conv1d(block.mlp.c_fc),
        down=conv1d(block.mlp.c_proj),
        activation=Activation(act, block.mlp.act),
        gated=False,
        scale=block.attn.scaling,
    )
