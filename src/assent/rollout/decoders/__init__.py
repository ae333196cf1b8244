"""Fast decoders of common architectures.  A model that is not here decodes through its own forward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from assent.models.plain import NotPlain, attends_plainly
from assent.rollout.decoders.gpt2 import gpt2_weights
from assent.rollout.decoders.gpt_neox import gpt_neox_weights
from assent.rollout.decoders.graphs import GraphedDecoder, records
from assent.rollout.decoders.llama import llama_weights
from assent.rollout.decoders.transformer import TorchDecoder
from assent.rollout.decoders.weights import Weights
from assent.rollout.native.decoder import NativeDecoder, runs_natively
from assent.rollout.slots import Decoder

DECODERS: dict[str, Callable[[Any], Weights]] = {
    "LlamaForCausalLM": llama_weights,
    "MistralForCausalLM": llama_weights,
    "Qwen2ForCausalLM": llama_weights,
    "Qwen3ForCausalLM": llama_weights,
    "GPT2LMHeadModel": gpt2_weights,
    "GPTNeoXForCausalLM": gpt_neox_weights,
}
"""By the name of the model's class."""


def fast_weights(model: Any) -> Weights | None:
    """The model's weights as they are now, for a decoder.

    Some are copies, which a later update does not reach: take them anew for each call, it costs as much as reading the
    weights once.  ``None`` for an architecture, or a variant of one, that has no fast decoder.
    """
    build = DECODERS.get(type(model).__name__)
    if build is None or not attends_plainly(model.config):
        return None
    try:
        weights = build(model)
    except NotPlain:
        return None
    plain = weights.head_dim % 2 == 0 and weights.dtype in (torch.float32, torch.bfloat16)
    return weights if plain else None


def decoder_of(weights: Weights, dtype: torch.dtype, length: int) -> tuple[Callable[[int], Decoder], int]:
    """What makes a decoder of a number of slots, each for up to ``length`` tokens, and the bytes that a slot takes."""
    if runs_natively(weights, dtype):
        return lambda slots: NativeDecoder(weights, slots, length, dtype), NativeDecoder.slot_bytes(
            weights, length, dtype
        )
    weights = weights.to(dtype)
    kind = GraphedDecoder if records(weights) else TorchDecoder
    return lambda slots: kind(weights, slots, length), TorchDecoder.slot_bytes(weights, length)
