"""Tiny models and data, saved as a user has them: folders and files."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

_WORDS = "good bad slow fine film girl cat saw long cast".split()


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def save(model: Any, folder: Path) -> None:
    model.model.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Models this small only wait for their threads, and on a busy machine they wait long."""
    from tests.threads import threads

    with threads(1):
        yield


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``policy`` and ``reward`` (one tokenizer), ``gpt2`` (another, without PAD) and data files."""
    from assent.testing.tiny import tiny_causal, tiny_reward

    folder = tmp_path_factory.mktemp("workshop")
    save(tiny_causal("llama"), folder / "policy")
    save(tiny_reward("llama"), folder / "reward")
    _save_without_pad(folder / "gpt2")
    draw = random.Random(0)

    def said(count: int) -> str:
        return " ".join(draw.choice(_WORDS) for _ in range(count))

    def turns() -> list[dict[str, str]]:
        speakers = ("user", "assistant", "user", "assistant")
        return [{"role": role, "content": said(1)} for role in speakers]

    write_rows(folder / "text.jsonl", ({"text": said(8)} for _ in range(24)))
    write_rows(folder / "demos.jsonl", ({"prompt": "The " + said(2), "completion": " " + said(4)} for _ in range(24)))
    write_rows(folder / "chats.jsonl", ({"messages": turns()} for _ in range(16)))
    pairs = [{"prompt": "The film", "chosen": f" good {said(2)}", "rejected": f" bad {said(3)}"} for _ in range(24)]
    write_rows(folder / "pairs.jsonl", pairs)
    write_rows(folder / "labels.jsonl", ({"text": f"{_WORDS[i % 2]} {said(3)}", "label": 1 - i % 2} for i in range(24)))
    write_rows(folder / "prompts.jsonl", ({"prompt": f"The {said(1 + i % 3)} {i}"} for i in range(16)))
    (folder / "rules.py").write_text(
        "def words(prompt, text):\n    return float(len(text.split()))\n\n\n"
        "def nan(prompt, text):\n    return float('nan')\n\n\n"
        "def broken(prompt, text):\n    return 1 / 0\n"
    )
    return folder


def _save_without_pad(folder: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        [" ".join(_WORDS)], trainers.BpeTrainer(vocab_size=280, special_tokens=["<|end|>"], initial_alphabet=alphabet)
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|end|>", bos_token="<|end|>")
    GPT2LMHeadModel(
        GPT2Config(
            n_embd=16, n_layer=1, n_head=2, n_positions=64, vocab_size=len(tokenizer), bos_token_id=0, eos_token_id=0
        )
    ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
