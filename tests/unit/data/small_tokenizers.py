"""Tokenizers of a few hundred tokens, of the kinds that behave differently; and the real ones where they are there."""

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

MODELS = Path(__file__).resolve().parents[3].parent / "shared" / "models"
REAL = [str(MODELS / name) for name in ("stories260K", "reviews-6m", "gpt2-tokenizer") if (MODELS / name).is_dir()]

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}{{ '<start_of_turn>' + m['role'] + '\n' + m['content'] | trim }}"
    "{{ '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>assistant\n' }}{% endif %}"
)
TEXT = [
    "Once upon a time there was a girl.",
    "user: assistant: system: yes no hello",
    "The film is good, the film is bad.",
]


def byte_level(special: dict[str, str], more: list[str] | None = None, template: str | None = None) -> Any:
    """As GPT-2 and Llama 3: no space put before a text."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    tokens = list(dict.fromkeys([*special.values(), *(more or [])]))
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=tokens, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    inner.train_from_iterator(TEXT * 3, trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=inner, extra_special_tokens=more or [], **special)
    made.chat_template = template
    return made


def sentencepiece_like() -> Any:
    """As Llama 2: a space is put before a text, bytes are the last resort, and BOS is added by itself."""
    characters = sorted({c for text in TEXT for c in text if c != " "})
    vocab = {
        t: i for i, t in enumerate(["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), "▁", *characters])
    }
    inner = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    inner.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    made = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    made.add_bos_token = True
    return made


GPT2_LIKE = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
BOS_EOS = {"bos_token": "<bos>", "eos_token": "<eos>"}
MADE = {
    "gpt2-like": lambda: byte_level(GPT2_LIKE),
    "chatml": lambda: byte_level({"eos_token": "<|im_end|>"}, ["<|im_start|>"], CHATML),
    "gemma-like": lambda: byte_level(BOS_EOS, ["<start_of_turn>", "<end_of_turn>"], GEMMA),
    "llama2-like": sentencepiece_like,
}


def every_tokenizer() -> list[str]:
    """Names for :func:`make`: those made here, and the real ones."""
    return [*MADE, *REAL]


def make(name: str) -> Any:
    if name in MADE:
        return MADE[name]()
    from assent.data.tokenizers import load_tokenizer

    return load_tokenizer(name)
