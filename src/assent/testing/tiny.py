"""Tiny random models of real architectures, for tests that must be quick and download nothing."""

from __future__ import annotations

from typing import Any

import torch

from assent.data.tokenizers import set_encoder_prompts
from assent.models.causal import CausalModel
from assent.models.new import train_tokenizer
from assent.models.scalar import RewardModel, init_scalar_head
from assent.models.seq2seq import Seq2SeqModel

_TEXTS = (
    "The film is good. The film is bad. It was a long and slow film with a fine cast.",
    "Once upon a time there was a girl who saw a cat, and the cat saw the girl.",
)
_WIDTH, _LAYERS, _HEADS, _CONTEXT = 32, 2, 4, 64
_COMMON: dict[str, Any] = {
    "hidden_size": _WIDTH,
    "intermediate_size": 48,
    "num_hidden_layers": _LAYERS,
    "num_attention_heads": _HEADS,
    "max_position_embeddings": _CONTEXT,
}
_SHAPES: dict[str, dict[str, Any]] = {
    "llama": {**_COMMON, "tie_word_embeddings": True},
    "gpt2": {"n_embd": _WIDTH, "n_layer": _LAYERS, "n_head": _HEADS, "n_positions": _CONTEXT},
    "qwen2": {**_COMMON, "num_key_value_heads": 2},
    "gpt_neox": _COMMON,
    "gemma2": {**_COMMON, "num_key_value_heads": 2, "head_dim": 8, "final_logit_softcapping": 3.0},
    "phi": _COMMON,
    "bert": _COMMON,
}

CAUSAL = ("llama", "gpt2", "qwen2", "gpt_neox", "gemma2", "phi")
"""Architectures of :func:`tiny_causal`.  Gemma 2 caps its logits and Phi's head has a bias."""


def tiny_tokenizer() -> Any:
    """A byte-level tokenizer of 300 tokens with PAD, BOS and EOS."""
    return train_tokenizer(_TEXTS, 300)


def tiny_causal(architecture: str = "llama", seed: int = 0) -> CausalModel:
    """A random causal model of some tens of thousands of weights, its logits spread like a trained model's."""
    from transformers import AutoModelForCausalLM

    tokenizer = tiny_tokenizer()
    config = _config(architecture, tokenizer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
        _spread(model)
    return CausalModel(model.eval(), tokenizer)


def tiny_seq2seq(seed: int = 0) -> Seq2SeqModel:
    """A random T5, its head tied and scaled; its tokenizer closes a text with EOS by itself."""
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoConfig, AutoModelForSeq2SeqLM

    tokenizer = tiny_tokenizer()
    end = [(tokenizer.eos_token, tokenizer.eos_token_id)]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(f"$A {end[0][0]}", special_tokens=end)
    set_encoder_prompts(tokenizer)
    config = AutoConfig.for_model(
        "t5",
        vocab_size=len(tokenizer),
        d_model=_WIDTH,
        d_kv=_WIDTH // _HEADS,
        d_ff=48,
        num_layers=_LAYERS,
        num_heads=_HEADS,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = AutoModelForSeq2SeqLM.from_config(config)
        _spread(model)
        model.decoder.final_layer_norm.weight.data.mul_(10.0)  # the head takes d^-1/2 of it
    return Seq2SeqModel(model.eval(), tokenizer)


def tiny_reward(architecture: str = "llama", seed: int = 0) -> RewardModel:
    """A random reward model; ``bert`` is an encoder."""
    from transformers import AutoModelForSequenceClassification

    tokenizer = tiny_tokenizer()
    config = _config(architecture, tokenizer)
    config.num_labels = 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = AutoModelForSequenceClassification.from_config(config)
        _spread(model)
    init_scalar_head(model.classifier if architecture == "bert" else model.score, seed)
    return RewardModel(model.eval(), tokenizer)


def _config(architecture: str, tokenizer: Any) -> Any:
    from transformers import AutoConfig

    return AutoConfig.for_model(
        architecture,
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **_SHAPES[architecture],
    )


def _spread(model: Any) -> None:
    """Larger weights and biases than at a fresh start, so that no term of the model is hidden by being small."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, 0.15)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.1)
