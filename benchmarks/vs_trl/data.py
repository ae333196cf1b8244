"""The model folder and the data that both sides read.

Every token of the tokenizer but the special ones is one character, so that any text is cut into tokens in one way only,
wherever a trainer joins or splits it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
_BLOCKS = (range(0x4E00, 0xA000), range(0xAC00, 0xD7A4))
"""Where the characters are from: CJK ideographs and Hangul syllables, 32,164 in all."""


@dataclass(frozen=True)
class Shape:
    """A Llama with tied embeddings."""

    layers: int = 6
    width: int = 288
    heads: int = 6
    hidden: int = 768
    vocabulary: int = 32_000
    context: int = 256


SHAPES = {"15m": Shape(), "tiny": Shape(2, 64, 2, 128, 2_000)}
"""The shape that is measured, and a small one to try the script with."""


def characters(vocabulary: int) -> list[str]:
    """The tokens after the special ones."""
    return [chr(code) for block in _BLOCKS for code in block][: vocabulary - len(SPECIAL)]


def make_models(folder: Path, shape: Shape) -> tuple[Path, Path]:
    """A random causal model and a random reward model of the same trunk; both are kept from one run to the next."""
    policy, reward = folder / "policy", folder / "reward"
    if (reward / "config.json").exists():
        return policy, reward
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

    tokenizer = make_tokenizer(shape.vocabulary)
    config = AutoConfig.for_model(
        "llama",
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        max_position_embeddings=shape.context,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(policy)
    tokenizer.save_pretrained(policy)
    config.num_labels = 1
    scalar: Any = AutoModelForSequenceClassification.from_config(config)
    scalar.save_pretrained(reward)
    tokenizer.save_pretrained(reward)
    return policy, reward


def make_tokenizer(vocabulary: int) -> Any:
    """One token a character."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {token: i for i, token in enumerate([*SPECIAL, *characters(vocabulary)])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


class Texts:
    """Random texts; the same seed gives the same ones."""

    def __init__(self, vocabulary: int, seed: int) -> None:
        self.alphabet = np.array(characters(vocabulary))
        self.chance = np.random.default_rng(seed)

    def text(self, shortest: int, longest: int) -> str:
        """Of a length drawn between the two, in tokens."""
        return "".join(self.chance.choice(self.alphabet, self.chance.integers(shortest, longest + 1)))

    def prompt(self) -> str:
        return self.text(8, 64)

    def answer(self) -> str:
        return self.text(16, 128)


def demonstrations(texts: Texts, count: int) -> list[dict[str, str]]:
    return [{"prompt": texts.prompt(), "completion": texts.answer()} for _ in range(count)]


def comparisons(texts: Texts, count: int) -> list[dict[str, str]]:
    return [{"prompt": texts.prompt(), "chosen": texts.answer(), "rejected": texts.answer()} for _ in range(count)]


def prompts(texts: Texts, count: int) -> list[dict[str, str]]:
    return [{"prompt": texts.prompt()} for _ in range(count)]


def write_rows(path: Path, rows: Iterable[dict[str, str]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".tmp")
    aside.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    os.replace(aside, path)
    return path


def read_rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
