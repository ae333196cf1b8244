"""GPT-NeoX and Pythia for the decoder: layer norms, partly rotary positions, attention and MLP side by side."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from assent.rollout.decoders.parts import affine, function, layer_norm, linear, rotary_table
from assent.rollout.decoders.transformer import Layer, Weights, side_by_side


def gpt_neox_weights(model: Any) -> Weights:
    """The model's weights; query, key and value projections in a copy that orders them as the decoder wants them."""
    trunk, config = model.gpt_neox, model.config
    embedding = trunk.embed_in.weight
    heads, head_dim = config.num_attention_heads, trunk.layers[0].attention.head_size
    norm, head = layer_norm(trunk.final_layer_norm), linear(model.get_output_embeddings())
    return Weights(
        embed=lambda tokens, positions: F.embedding(tokens, embedding),
        layers=[_layer(layer, heads, head_dim) for layer in trunk.layers],
        head=lambda states: head(norm(states)),
        heads=heads,
        kv_heads=heads,
        head_dim=head_dim,
        rotary=rotary_table(trunk.rotary_emb, head_dim),
        device=embedding.device,
        dtype=embedding.dtype,
    )


def _layer(layer: Any, heads: int, head_dim: int) -> Layer:
    attention, mlp = layer.attention, layer.mlp
    weight, bias = affine(attention.query_key_value)
    order = side_by_side(head_dim, attention.rotary_ndims)
    up, down, act = linear(mlp.dense_h_to_4h), linear(mlp.dense_4h_to_h), mlp.act

    def parts_together(rows: Tensor) -> Tensor:
        """From head by head, q k v in each, to all queries, all keys, all values."""
        query, key, value = rows.unflatten(0, (heads, 3, head_dim)).unbind(1)
        turned = order.to(rows.device)
        return torch.cat([query[:, turned], key[:, turned], value]).flatten(0, 1)

    return Layer(
        attention_norm=layer_norm(layer.input_layernorm),
        qkv=function(parts_together(weight), None if bias is None else parts_together(bias)),
        out=linear(attention.dense),
        mlp_norm=layer_norm(layer.post_attention_layernorm),
        mlp=lambda states: down(act(up(states))),
        scale=attention.scaling,
        parallel=layer.use_parallel_residual,
    )
