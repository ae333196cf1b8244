"""Adapter folders in ``peft``'s format: ``adapter_config.json`` and ``adapter_model.safetensors``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from assent.errors import ModelError
from assent.models.adapters import TRAINED, in_4_bits, inject
from assent.runs.adapter import ADAPTER_CONFIG, adapter_base

WEIGHTS = "adapter_model.safetensors"
QUANTISED = "quantization.json"
"""Beside an adapter whose base was in 4 bits when it was trained."""
_PREFIX = "base_model.model."
_PLAIN = {
    "use_dora": False,
    "bias": "none",
    "layer_replication": None,
    "target_parameters": None,
    "trainable_token_indices": None,
}
"""What an adapter may say that has more than W + s B A."""


def is_adapter(source: str | Path) -> bool:
    """Whether a folder is an adapter's."""
    return (Path(source) / ADAPTER_CONFIG).is_file()


def chain(source: str | Path) -> list[str]:
    """The whole model at the bottom, then the adapters on it, in order; the source alone where it is a whole model.

    Raises :class:`ModelError` where one does not say what it is for.
    """
    found = [str(source)]
    while (base := adapter_base(found[0])) is not None:
        if not base or base in found:
            raise ModelError(
                f"{found[0]}/{ADAPTER_CONFIG}: expected base_model_name_or_path, the model that the adapter is for"
            )
        found.insert(0, base)
    return found


def is_quantised(source: str | Path) -> bool:
    """Whether the adapter in a folder was trained over a base in 4 bits."""
    return (Path(source) / QUANTISED).is_file()


def is_of_reward_model(source: str | Path) -> bool:
    """Whether the adapter in a folder makes a reward model or classifier of its base."""
    try:
        stored = json.loads((Path(source) / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{source}/{ADAPTER_CONFIG}: not JSON: {error}; copy the adapter again") from None
    return isinstance(stored, dict) and stored.get("task_type") == "SEQ_CLS"


def has_score(source: str | Path) -> bool:
    """Whether the adapter in a folder brings the head of a causal reward model."""
    path = Path(source) / WEIGHTS
    if not path.is_file():
        return False
    try:
        with safe_open(path, "pt") as stored:
            return _PREFIX + "score.weight" in stored.keys()  # noqa: SIM118 - it is no mapping
    except SafetensorError:
        return False  # what loads it says so


def save_adapter(model: nn.Module, folder: Path, base: str) -> None:
    """Write the adapter that is trained, and the head that is trained with it."""
    folder.mkdir(parents=True, exist_ok=True)
    config = dict(getattr(model, "peft_config")[TRAINED].to_dict())  # noqa: B009 - peft adds it
    config |= {"base_model_name_or_path": base, "inference_mode": True}
    plain = {key: sorted(value) if isinstance(value, set) else value for key, value in config.items()}
    text = json.dumps(plain, indent=2, sort_keys=True, default=str)
    (folder / ADAPTER_CONFIG).write_text(text + "\n", encoding="utf-8")
    trained = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    state = {_PREFIX + name.replace(f".{TRAINED}.", "."): value.cpu().contiguous() for name, value in trained.items()}
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
    if any(map(in_4_bits, model.modules())):
        (folder / QUANTISED).write_text(json.dumps({"base": "nf4"}) + "\n", encoding="utf-8")


def in_head(name: str) -> bool:
    """Whether a weight belongs to what a reward model has and a language model has not."""
    return name.split(".")[0] in ("score", "classifier") or "pooler" in name


def attach(model: nn.Module, folders: Sequence[str]) -> set[str]:
    """Put the adapters in ``folders`` on the model, in place and frozen; the names of weights outside adapters, of a
    head, that they brought.  Raises :class:`ModelError` for an adapter of another kind or another model."""
    brought: set[str] = set()
    for number, folder in enumerate(folders):
        brought |= _attach(model, folder, f"frozen{number}")
    return brought


def _attach(model: nn.Module, folder: str, name: str) -> set[str]:
    stored = _read(folder)
    try:
        inject(model, _config(folder), name)
    except (TypeError, ValueError) as error:  # of a file that was edited, or of another model
        raise ModelError(f"{folder}: this adapter is not for its base: {str(error).splitlines()[0]}") from None
    own = dict(model.named_parameters())
    expected = {n for n in own if f".{name}." in n}
    state = {_renamed(key, name): value for key, value in stored.items()}
    head = {key for key in state if key in own and in_head(key)}
    strange = sorted(key for key, value in state.items() if key not in expected | head or own[key].shape != value.shape)
    missing = sorted(expected - state.keys())
    if strange or missing:
        raise ModelError(
            f"{folder}: this adapter is not for its base: weight '{(strange or missing)[0]}' is "
            f"{'no adapter of a layer that the base has' if strange else 'missing'}; give the adapter its own base, or "
            "merge it with peft first"
        )
    for key, value in state.items():
        own[key].data.copy_(value)
    return head


def _renamed(key: str, name: str) -> str:
    """A weight's name in the model, from its name in the file."""
    key = key.removeprefix(_PREFIX)
    for part in ("lora_A", "lora_B"):
        key = key.replace(f".{part}.weight", f".{part}.{name}.weight")
    return key


def _read(folder: str) -> dict[str, Tensor]:
    path = Path(folder) / WEIGHTS
    if not path.is_file():
        raise ModelError(f"{folder}: no {WEIGHTS} in it; weights in pickle form are not read")
    try:
        stored = load_file(path)
    except SafetensorError as error:
        raise ModelError(f"{path}: the weights are damaged ({error}); copy the adapter again") from None
    for name, value in stored.items():
        if not bool(torch.isfinite(value).all()):
            raise ModelError(f"{path}: weight '{name}' holds NaN or infinity, so the adapter is damaged")
    return stored


def _config(folder: str) -> Any:
    from peft import LoraConfig

    values = json.loads((Path(folder) / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    kind = values.get("peft_type")
    if kind != "LORA":
        raise ModelError(f"{folder}: is a {kind} adapter; only LoRA is read: merge it into its base with peft first")
    for key, plain in _PLAIN.items():
        if values.get(key, plain) != plain:
            raise ModelError(
                f"{folder}: its {key} is {values[key]}, and only plain LoRA is read; merge it into its base with peft "
                "first"
            )
    known = LoraConfig.__dataclass_fields__
    kept = {
        key: value for key, value in values.items() if key in known and key not in ("lora_dropout", "modules_to_save")
    }
    return LoraConfig(**kept)
