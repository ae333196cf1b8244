"""Tokenizers made fit for training: loaded with clear errors, a PAD of their own, a fixed habit about BOS."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from assent.errors import ModelError

CODE_ALLOWED = "ASSENT_REMOTE_CODE"
"""Environment variable: models whose own code may run, as they are named in settings, with commas between."""
PAD_TOKEN = "<|pad|>"
_PAD_CANDIDATES = (
    "<|finetune_right_pad_id|>",  # Llama 3.1 and later
    "<pad>",
    "<|pad|>",
    "[PAD]",
    "<|vision_pad|>",  # Qwen base models, whose PAD is their EOS
    "<|reserved_special_token_0|>",  # Llama 3
    "<unk>",
    "[UNK]",
)

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")


def load_tokenizer(model: str | Path, *, local_files_only: bool = False) -> Any:
    """The tokenizer of a model folder or hub name.

    Raises :class:`ModelError`, in one sentence, when the folder has none or the hub does not give it.
    """
    folder = Path(model)
    if folder.is_dir() and not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise ModelError(
            f"{folder}: the model folder has no tokenizer (no {_TOKENIZER_FILES[0]} or {_TOKENIZER_FILES[1]});"
            " copy the base model's tokenizer files into it, or save it with tokenizer.save_pretrained"
        )
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(
            str(model), local_files_only=local_files_only, trust_remote_code=may_run_code(model)
        )
    except Exception as error:
        raise explain(error, str(model)) from None


def may_run_code(model: str | Path) -> bool:
    """Whether the person at this machine named ``model`` as one whose own Python code may run (``auto_map``).

    That is said in the environment and not in a recipe, which may come from where the model comes from.
    """
    named = [name for name in os.environ.get(CODE_ALLOWED, "").split(",") if name]
    if Path(model).exists():
        return os.path.realpath(model) in map(os.path.realpath, named)
    return str(model) in named


def explain(error: Exception, model: str) -> ModelError:
    """What ``error`` from loading a model or its tokenizer, from a folder or the hub, means for the user."""
    text = str(error)
    names, link = set[str](), error
    while link is not None:
        names.add(type(link).__name__)
        link = link.__cause__ or link.__context__
    first = text.strip().splitlines()[0] if text.strip() else type(error).__name__
    if "trust_remote_code" in text:
        return ModelError(
            f"{model}: wants to run Python code that comes with it (auto_map in its config), which is only done for a "
            f"model that is named: read the code, then set {CODE_ALLOWED}={model}"
        )
    if Path(model).exists():
        return ModelError(f"{model}: its tokenizer cannot be loaded: {first}")
    if "GatedRepoError" in names or "gated repo" in text:
        return ModelError(
            f"model '{model}' is gated: accept its terms at https://huggingface.co/{model}, then set HF_TOKEN to a"
            " token of that account (https://huggingface.co/settings/tokens), or give a local model folder"
        )
    if "RepositoryNotFoundError" in names or "is not a valid model identifier" in text or "HFValidationError" in names:
        return ModelError(
            f"'{model}' is neither a model folder here nor a model on the hub; check the spelling, for a private"
            " model set HF_TOKEN, or give a local folder"
        )
    if names & {"OfflineModeIsEnabled", "LocalEntryNotFoundError", "ConnectionError", "ConnectError"}:
        return ModelError(
            f"'{model}' is no folder here and not in the cache, and the hub cannot be reached; check the network and"
            " HF_HUB_OFFLINE, or give a local model folder"
        )
    return ModelError(f"'{model}' cannot be had from the hub: {first}; check the name, or give a local model folder")


def ensure_pad_token(tokenizer: Any, model_vocab: int) -> bool:
    """Give ``tokenizer`` a PAD token that is neither EOS nor BOS, and return whether the model's embeddings
    (``model_vocab`` rows) must grow to ``len(tokenizer)``.

    A model whose PAD is its EOS never learns to stop, because the loss masks PAD.  A token that the vocabulary already
    has and no text uses is taken where there is one (Llama 3.1's ``<|finetune_right_pad_id|>``, ``<pad>``, ``<unk>``
    that is not EOS, …); else ``<|pad|>`` is added, as for GPT-2.
    """
    taken = {tokenizer.eos_token_id, tokenizer.bos_token_id} - {None}
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id in taken:
        vocab = tokenizer.get_vocab()
        free = next((token for token in _PAD_CANDIDATES if token in vocab and vocab[token] not in taken), None)
        # A token added past the end of the tokenizer may still lie inside a model whose vocabulary is padded.
        tokenizer.add_special_tokens({"pad_token": free or PAD_TOKEN})
    return len(tokenizer) > model_vocab


def adds_bos(tokenizer: Any) -> bool:
    """Whether the tokenizer puts BOS before a text by itself."""
    return tokenizer.bos_token_id is not None and tokenizer("a").input_ids[:1] == [tokenizer.bos_token_id]


def set_encoder_prompts(tokenizer: Any) -> None:
    """Mark the tokenizer as that of an encoder-decoder model: a prompt is a text of its own, read by the encoder, and
    the answer is one too."""
    tokenizer.encoder_prompts = True


def set_encoder_ends(tokenizer: Any) -> None:
    """Let CLS and SEP be BOS and EOS where a tokenizer has none (BERT's): a row is then a text as it tokenises one."""
    if tokenizer.eos_token is None and tokenizer.sep_token is not None:
        tokenizer.eos_token = tokenizer.sep_token
        if tokenizer.bos_token is None:
            tokenizer.bos_token = tokenizer.cls_token


def has_encoder_prompts(tokenizer: Any) -> bool:
    """Whether :func:`set_encoder_prompts` marked the tokenizer."""
    return getattr(tokenizer, "encoder_prompts", False)


def set_bos(tokenizer: Any, add: bool) -> None:
    """Make the tokenizer put BOS before a text by itself, or not; saved with it, so that all later stages and other
    programs agree.

    For a model trained on documents that begin with BOS whose tokenizer does not add it.  Raises :class:`ModelError`
    when there is no BOS token to add, or the tokenizer cannot be changed.
    """
    if add and tokenizer.bos_token_id is None:
        raise ModelError("add_bos is set, but the tokenizer has no BOS token")
    if adds_bos(tokenizer) == add:
        return
    tokenizer.add_bos_token = add
    if adds_bos(tokenizer) != add:
        raise ModelError(f"{type(tokenizer).__name__} cannot be told whether to add BOS; pass add_bos with each prompt")
