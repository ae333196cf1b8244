"""GPT-NeoX and Pythia for the decoder: layer norms, partly rotary positions, attention and MLP side by side."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from assent.rollout.decoders.parts import affine, layer_norm, rotary_table
from assent.rollout.decoders.weights import Activation, Affine, Layer, Weights, side_by_side


def gpt_neox_weights(model: Any) -> Weights:
    """The model's weights; query, key and value projections in a copy that orders them as the decoder wants them."""
    trunk, config = model.gpt_neox, model.config
    heads, head_dim = config.num_attention_heads, trunk.layers[0].attention.head_size
    return Weights(
        tokens=trunk.embed_in.weight,
        positions=None,
        layers=[_layer(layer, heads, head_dim, config.hidden_act) for layer in trunk.layers],
        norm=layer_norm(trunk.final_layer_norm),
        head=affine(model.get_output_embeddings()),
        heads=heads,
        kv_heads=heads,
        head_dim=head_dim,
        rotary=rotary_table(trunk.rotary_emb, head_dim),
    )


def _layer(layer: Any, heads: int, head_dim: int, act: str) -> Layer:
    attention, mlp = layer.attention, layer.mlp
    qkv = affine(attention.query_key_value)
    order = side_by_side(head_dim, attention.rotary_ndims)

    def parts_together(rows: Tensor) -> Tensor:
        """From head by head, q k v in each, to all queries, all keys, all values."""
        query, key, value = rows.unflatten(0, (heads, 3, head_dim)).unbind(1)
        turned = order.to(rows.device)
        return torch.cat([query[:, turned], key[:, turned], value]).flatten(0, 1)

    return Layer(
        attention_norm=layer_norm(layer.input_layernorm),
        qkv=Affine(parts_together(qkv.weight), None if qkv.bias is None else parts_together(qkv.bias)),
        out=affine(attention.dense),
        mlp_norm=layer_norm(layer.post_attention_layernorm),
        up=affine(mlp.dense_h_to_4h),
        down=affine(mlp.dense_4h_to_h),
        activation=Activation(act, mlp.act),
        gated=False,
        scale=attention.scaling,
        parallel=layer.use_parallel_residual,
    )
