"""A fresh Llama-shaped model with a tokenizer trained on the text at hand, for runs that download nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from pydantic import Field

from assent.config import Settings
from assent.models.causal import CausalModel

_SPECIAL = ("<|pad|>", "<|bos|>", "<|eos|>")


class ShapeSettings(Settings):
    """The shape of a new model, under the names of ``transformers``' Llama configuration."""

    vocab_size: int = Field(default=768, gt=259)
    """Tokens of the byte-level BPE tokenizer, 256 bytes and three special tokens among them."""
    hidden_size: int = Field(default=128, gt=0)
    """Width of the residual stream."""
    intermediate_size: int = Field(default=352, gt=0)
    """Width of the MLP."""
    num_hidden_layers: int = Field(default=4, gt=0)
    """Layers."""
    num_attention_heads: int = Field(default=4, gt=0)
    """Attention heads; must divide hidden_size."""
    max_position_embeddings: int = Field(default=256, gt=0)
    """Context length in tokens."""


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Any:
    """A byte-level BPE tokenizer that begins a text with BOS by itself; PAD, BOS and EOS are three tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=list(_SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|bos|> $A", special_tokens=[("<|bos|>", tokenizer.token_to_id("<|bos|>"))]
    )
    pad, bos, eos = _SPECIAL
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=pad, bos_token=bos, eos_token=eos, clean_up_tokenization_spaces=False
    )


def new_causal(tokenizer: Any, shape: ShapeSettings, seed: int, device: str = "cpu") -> CausalModel:
    """A freshly initialised model for ``tokenizer``; the same seed gives the same weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.num_hidden_layers,
        num_attention_heads=shape.num_attention_heads,
        max_position_embeddings=shape.max_position_embeddings,
        tie_word_embeddings=True,
        initializer_range=shape.hidden_size**-0.5,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    return CausalModel(model.eval().to(torch.device(device)), tokenizer)  # pyright: ignore[reportArgumentType]
