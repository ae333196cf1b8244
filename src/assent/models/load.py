"""Loading Hugging Face folders and hub names, with errors that a person can act on."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import nn

from assent.data.hub import hub_answers
from assent.data.tokenizers import (
    ensure_pad_token,
    explain,
    load_tokenizer,
    may_run_code,
    set_encoder_ends,
    set_encoder_prompts,
)
from assent.errors import ModelError
from assent.models.adapter_files import attach, chain, in_head, is_adapter, is_quantised
from assent.models.adapters import merged
from assent.models.causal import CausalModel
from assent.models.policy import Policy
from assent.models.quantised import keep_layout, quantisation
from assent.models.scalar import RewardModel, init_scalar_head
from assent.models.seq2seq import Seq2SeqModel

ENSEMBLE = "ensemble.json"
"""The file that names the members of an ensemble of reward models, in their folder."""
_ALIGNMENT = 64
"""Bytes: PyTorch's allocator on a CPU."""
_WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json")


class _ReadHere(BaseModel):
    """What this package itself reads of a configuration; transformers takes whatever stands there."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)
    architectures: list[str] | None = None
    assent_reward_criteria: list[str] = []
    assent_reward_members: int = Field(default=1, ge=1)
    assent_reward_offset: float | list[float] = 0.0


def load_policy(source: str | Path, device: str = "cpu", *, quantise: torch.dtype | None = None) -> Policy:
    """A policy: any causal language model of ``transformers``, or an encoder-decoder such as T5, in float32 master
    weights, dropout off; of an adapter folder, its base with the adapter merged into it.

    ``quantise``: the linear layers in 4 bits, and what products with them are computed in.
    """
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    _check_folder(source)
    if _stored_labels(source) is not None:
        raise ModelError(f"{source}: is a reward model or classifier, expected a language model")
    two_parts = bool(model_config(source).is_encoder_decoder)
    model, info, tokenizer = _load(source, AutoModelForSeq2SeqLM if two_parts else AutoModelForCausalLM, quantise)
    _refuse_missing(source, info["missing_keys"])
    _fit_embeddings(model, tokenizer)
    model = _whole(source, model)
    if two_parts:
        set_encoder_prompts(tokenizer)
    return (Seq2SeqModel if two_parts else CausalModel)(model.eval().to(device), tokenizer)


def context_length(source: str | Path) -> int:
    """Tokens of the longest row that a model takes, by its configuration alone."""
    _check_folder(source)
    return int(getattr(model_config(source), "max_position_embeddings", 1 << 30))


def load_reward_model(source: str | Path, device: str = "cpu") -> RewardModel:
    """A trained reward model.  A folder whose head is missing is an error, never a fresh random head."""
    _check_folder(source)
    config = model_config(source)
    if any("RewardModelWithGating" in name for name in config.architectures or ()):
        from assent.models.gated import GatedRewardModel, RewardModelWithGating

        model, info, tokenizer = _load(source, RewardModelWithGating, config=config)
        _refuse_missing(source, info["missing_keys"])
        return GatedRewardModel(model.eval().to(device), tokenizer)
    model, info, tokenizer = _load_scalar(source)
    missing = [name for name in info["missing_keys"] if in_head(name)]
    if missing:
        raise ModelError(
            f"{source}: the reward head is missing (no weight '{missing[0]}'): this is a language model and not a "
            "reward model; train one from it with `assent reward --model`"
        )
    return RewardModel(_whole(source, model).eval().to(device), tokenizer)


def load_classifier(source: str | Path, device: str = "cpu") -> RewardModel:
    """A sequence-classification model of any number of classes, its logits where a reward model has its heads."""
    from transformers import AutoModelForSequenceClassification

    _check_folder(source)
    if _stored_labels(source) is None and Path(source).is_dir():
        raise ModelError(f"{source}: is no sequence-classification model; a classifier has a head with its classes")
    model, info, tokenizer = _load(source, AutoModelForSequenceClassification)
    _refuse_missing(source, info["missing_keys"])
    return RewardModel(_whole(source, model).eval().to(device), tokenizer)


def reward_model_folders(source: str | Path) -> list[str]:
    """The reward models of a source: its members where it is the folder of an ensemble, else itself."""
    index = Path(source) / ENSEMBLE
    if not index.is_file():
        return [str(source)]
    try:
        members = json.loads(index.read_text(encoding="utf-8"))["members"]
        return [str(Path(source) / str(member)) for member in members]
    except (ValueError, KeyError, TypeError):
        raise ModelError(f"{index}: expected the names of the members of an ensemble; train it again") from None


def new_reward_model(
    source: str | Path,
    seed: int,
    device: str = "cpu",
    criteria: Sequence[str] = (),
    members: int = 1,
    *,
    merge: bool = True,
    quantise: torch.dtype | None = None,
) -> RewardModel:
    """A reward model to be trained: the trunk of ``source``, and a scalar head in place of its output layer.

    With ``criteria`` it has one head for each, which the configuration names; with ``members`` it has so many heads for
    the same thing.  A ``source`` that is a reward model itself keeps its heads, and must be of the same criteria.  An
    adapter is merged into its base, or on top of it where not to ``merge``; ``quantise`` is that of
    :func:`load_policy`.
    """
    model, info, tokenizer = _load_scalar(source, tuple(criteria), members, quantise)
    model = _whole(source, model) if merge else model
    if members > 1:
        model.config.assent_reward_members = members
        model.config.id2label = {head: f"member-{head + 1}" for head in range(members)}
        model.config.label2id = {name: head for head, name in model.config.id2label.items()}
    _fit_embeddings(model, tokenizer)
    model.config.pad_token_id = tokenizer.pad_token_id
    if criteria:
        model.config.assent_reward_criteria = list(criteria)
        model.config.id2label = dict(enumerate(criteria))
        model.config.label2id = {name: head for head, name in enumerate(criteria)}
    head = getattr(model, "score", None) or getattr(model, "classifier", None)
    if info["missing_keys"] and isinstance(head, nn.Linear):
        init_scalar_head(head, seed)
    return RewardModel(model.eval().to(device), tokenizer)


def _load_scalar(
    source: str | Path, criteria: tuple[str, ...] | None = None, members: int = 1, quantise: torch.dtype | None = None
) -> tuple[Any, dict[str, Any], Any]:
    """A model with one head for each of the ``criteria``, or one for each member; ``None`` = as it was stored."""
    from transformers import AutoModelForSequenceClassification

    _check_folder(source)
    labels, config = _stored_labels(source), model_config(source)
    if labels is None and any("SequenceClassification" in name for name in config.architectures or ()):
        labels = int(config.num_labels)  # of a model on the hub
    if config.is_encoder_decoder:
        raise ModelError(
            f"{source}: is an encoder-decoder model; a reward model is made from a causal model or an encoder"
        )
    stored = tuple(getattr(config, "assent_reward_criteria", ()))
    have_members: int = getattr(config, "assent_reward_members", 1)
    if criteria is None:
        criteria, members = stored, max(have_members, labels or 1)
    elif labels is not None and labels != max(len(stored), have_members):
        raise ModelError(
            f"{source}: the classifier has {labels} labels, and a reward model has one, or one for each criterion that "
            "it was trained on"
        )
    elif labels is not None and members != have_members:
        raise ModelError(f"{source}: is a reward model of {have_members} members, and {members} are wanted")
    elif labels is not None and criteria != stored:
        have, wanted = (", ".join(names) or "none" for names in (stored, criteria))
        raise ModelError(
            f"{source}: is a reward model whose criteria are {have}, and those wanted are {wanted}; give the same ones "
            "in the same order, or start from a language model"
        )
    options = {"num_labels": max(members, len(criteria))}
    model, info, tokenizer = _load(source, AutoModelForSequenceClassification, quantise, **options)
    _refuse_missing(source, [name for name in info["missing_keys"] if not in_head(name)])
    if is_adapter(source) and labels is not None:  # what its heads are, the base does not know
        for name in ("id2label", "label2id", *(name for name in vars(config) if name.startswith("assent_"))):
            setattr(model.config, name, getattr(config, name))
    return model, info, tokenizer


def _load(
    source: str | Path, kind: Any, quantise: torch.dtype | None = None, **options: Any
) -> tuple[Any, dict[str, Any], Any]:
    """The model by an Auto class of transformers with its adapters, what it says about the weights, the tokenizer."""
    base, *adapters = chain(source)
    online = hub_answers(base)
    tokenizer = load_tokenizer(source, local_files_only=not online)
    if kind.__name__ == "AutoModelForSequenceClassification":
        set_encoder_ends(tokenizer)
    options |= {"dtype": torch.float32, "output_loading_info": True, "local_files_only": not online}
    options |= {"use_safetensors": True, "trust_remote_code": may_run_code(base)}  # a pickle is code, too
    if quantise is not None or any(map(is_quantised, adapters)):
        options |= quantisation(quantise or torch.float32)
    model, info = _guarded(base, lambda: kind.from_pretrained(base, **options))
    keep_layout(model)
    if adapters:
        _fit_embeddings(model, tokenizer)
        brought = attach(model, adapters)
        info = {**info, "missing_keys": [name for name in info["missing_keys"] if name not in brought]}
    _refuse_non_finite(source, model)
    _align(model)
    return model, info, tokenizer


def _whole(source: str | Path, model: Any) -> Any:
    """The model with the adapters of ``source``, where it is an adapter folder, merged into it, all its own again."""
    return merged(model).requires_grad_(True) if len(chain(source)) > 1 else model


def model_config(source: str | Path) -> Any:
    """The configuration in the folder; of an adapter that has none, its base's."""
    from transformers import AutoConfig

    stored = source if (Path(source) / "config.json").is_file() else chain(source)[0]
    options = {"local_files_only": not hub_answers(stored), "trust_remote_code": may_run_code(stored)}
    config = _guarded(stored, lambda: AutoConfig.from_pretrained(str(stored), **options))
    try:
        _ReadHere.model_validate(
            {name: getattr(config, name) for name in _ReadHere.model_fields if hasattr(config, name)}
        )
    except ValidationError as error:
        first = error.errors()[0]
        what = f"{'.'.join(map(str, first['loc']))}: {first['msg'][:1].lower()}{first['msg'][1:]}"
        raise ModelError(f"{stored}: config.json: {what}; copy the model folder again") from None
    return config


def _refuse_missing(source: str | Path, names: Iterable[str]) -> None:
    """A weight that the file has not is random, and a model with random weights inside is no starting point."""
    missing = sorted(names)
    if missing:
        raise ModelError(
            f"{source}: {len(missing)} weights are missing from its files ('{missing[0]}' is one); copy the model "
            "folder again"
        )


@torch.no_grad()
def _align(model: nn.Module) -> None:
    """Move weights to where PyTorch would have allocated them.

    Those of a file lie wherever its header ends, and some matrix kernels round differently by the address of what they
    read: a model, its copy and itself loaded again would differ in the last bit.
    """
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.data_ptr() % _ALIGNMENT:
            tensor.data = tensor.data.clone()


@torch.no_grad()
def _refuse_non_finite(source: str | Path, model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise ModelError(f"{source}: weight '{name}' holds NaN or infinity, so the model is damaged")


def _stored_labels(source: str | Path) -> int | None:
    config = Path(source) / "config.json"
    if not config.is_file():
        return None
    try:
        stored = json.loads(config.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{config}: not JSON: {error}; copy the model folder again") from None
    if not isinstance(stored, dict):
        raise ModelError(f"{config}: expected the settings of a model; copy the model folder again")
    if "SequenceClassification" not in str(stored.get("architectures")):
        return None
    labels = stored.get("id2label")
    return len(labels) if isinstance(labels, (dict, list)) else stored.get("num_labels")


def _fit_embeddings(model: Any, tokenizer: Any) -> None:
    """Grow the embeddings by a PAD of its own where needed; new rows are drawn, the same ones at every load."""
    ensure_pad_token(tokenizer, int(model.config.vocab_size))
    if len(tokenizer) > model.config.vocab_size:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            with _quiet():
                model.resize_token_embeddings(len(tokenizer), mean_resizing=True)


def _check_folder(source: str | Path) -> None:
    """Refuse a folder that cannot be a model before transformers takes the name for one on the hub."""
    path = Path(source)
    looks_local = path.exists() or str(source).startswith((".", "/", "~")) or str(source).count("/") > 1
    if not looks_local:
        return
    if not path.exists():
        raise ModelError(f"{source}: no such model folder")
    if not path.is_dir():
        raise ModelError(f"{source}: is a file; a model is a folder with config.json and model.safetensors")
    base, *adapters = chain(source)
    if adapters:
        if not Path(base).exists() and base.startswith((".", "/", "~")):
            raise ModelError(
                f"{adapters[0]}: its base {base} is not there; put it back, or correct adapter_config.json"
            )
        return _check_folder(base)
    if not (path / "config.json").exists():
        raise ModelError(f"{source}: no config.json in it, so this is not a model folder")
    if not any((path / name).exists() for name in _WEIGHT_FILES):
        raise ModelError(
            f"{source}: no model.safetensors in it; weights in pickle form are not read, convert them with "
            "transformers' save_pretrained"
        )
    if not (path / _WEIGHT_FILES[0]).exists():
        _refuse_pickles(path / _WEIGHT_FILES[1])


def _refuse_pickles(index: Path) -> None:
    """An index may name any file as one of its shards."""
    try:
        shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError, OSError):
        raise ModelError(f"{index}: is no index of weight files; copy the model folder again") from None
    strange = sorted(str(name) for name in shards if not str(name).endswith(".safetensors"))
    if strange:
        raise ModelError(f"{index}: names '{strange[0]}', and weights are read from safetensors files only")


def _guarded(source: str | Path, load: Any) -> Any:
    """Run a transformers loader and turn what it raises into one sentence."""
    from safetensors import SafetensorError
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # the stages show their own progress
    logging.getLogger("transformers.modeling_utils").addFilter(_says_more_than_mask)
    try:
        with _quiet():
            return load()
    except SafetensorError as error:
        raise ModelError(f"{source}: the weights are damaged ({error}); copy the model folder again") from None
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # of a configuration that was edited a library may say anything
        if "size mismatch" in str(error) or "mismatched_sizes" in str(error):
            raise ModelError(
                f"{source}: the weights do not have the shapes that config.json says; copy the model folder again"
            ) from None
        if os.path.isdir(source) and "trust_remote_code" not in str(error):
            raise ModelError(f"{source}: cannot be loaded: {_first_line(error)}") from None
        raise explain(error, str(source)) from None


def _says_more_than_mask(record: logging.LogRecord) -> bool:
    """Rows are padded on the right here, where a causal model needs no mask; the warning is for those on the left."""
    return "strongly recommend passing in an `attention_mask`" not in record.getMessage()


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    """Without the library's reports of missing weights: those that matter are errors here."""
    quiet = logging.getLogger("transformers")
    level = quiet.level
    quiet.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        quiet.setLevel(level)


def _first_line(error: Exception) -> str:
    said = str(error).strip().splitlines()[0] if str(error).strip() else "it is damaged"
    return said if isinstance(error, (OSError, ValueError, RuntimeError)) else f"{type(error).__name__}: {said}"
