"""Encoders of the field as reward models: their own tokenizers, ends and pooling, as transformers runs them itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from assent.models.load import load_reward_model, new_reward_model
from assent.models.save import save_model
from assent.rewards.model import ModelReward
from assent.testing.reward_source import check_reward_source
from assent.testing.tiny import tiny_tokenizer
from assent.types import Completion, Prompt

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "film", "is", "good", "bad", "it", "was", "slow", "##er")
PROMPTS = [Prompt(id=str(i), text=text) for i, text in enumerate(("The film", "It was", "It"))]
COMPLETIONS = [
    Completion(id=f"{i}/0", prompt_id=str(i), text=text) for i, text in enumerate((" is good", " slower", " was bad"))
]
SHAPE: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}


def bert_tokenizer(folder: Path) -> Any:
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    return BertTokenizerFast.from_pretrained(folder)


@torch.no_grad()
def same_as_transformers(folder: Path, tokenizer: Any) -> None:
    source = ModelReward(load_reward_model(folder))
    check_reward_source(source, PROMPTS, COMPLETIONS)
    plain = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    for prompt, completion, value in zip(PROMPTS, COMPLETIONS, source.score(PROMPTS, COMPLETIONS).values, strict=True):
        given = tokenizer(f"{prompt.text}{completion.text}", return_tensors="pt")
        assert value == pytest.approx(float(plain(**given).logits[0, 0]), abs=1e-5)


def test_bert_reads_a_row_between_cls_and_sep(tmp_path: Path):
    tokenizer = bert_tokenizer(tmp_path)
    torch.manual_seed(0)
    model = BertForSequenceClassification(BertConfig(vocab_size=len(WORDS), num_labels=1, **SHAPE))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    same_as_transformers(tmp_path, AutoTokenizer.from_pretrained(tmp_path))


def test_a_masked_language_model_becomes_a_reward_model(tmp_path: Path):
    """Its pooler and head are new, the same ones by the same seed; saved and loaded, the scores are those it had."""
    tokenizer = bert_tokenizer(tmp_path)
    BertForMaskedLM(BertConfig(vocab_size=len(WORDS), **SHAPE)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model = new_reward_model(tmp_path, 3)
    found = ModelReward(model).score(PROMPTS, COMPLETIONS).values
    save_model(model, tmp_path / "reward", method="none", base="none", settings={})
    assert ModelReward(load_reward_model(tmp_path / "reward")).score(PROMPTS, COMPLETIONS).values == found


def test_roberta_counts_its_positions_from_behind_the_padding(tmp_path: Path):
    tokenizer = tiny_tokenizer()
    config = RobertaConfig(
        vocab_size=len(tokenizer), num_labels=1, max_position_embeddings=66, pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, **SHAPE,
    )  # fmt: skip
    RobertaForSequenceClassification(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model = load_reward_model(tmp_path)
    assert model.context_length == 66 - (tokenizer.pad_token_id + 1)
    long = Completion(id="0", prompt_id="0", text=" slow" * 200)
    assert len(ModelReward(model).score(PROMPTS[:1], [long]).values) == 1
