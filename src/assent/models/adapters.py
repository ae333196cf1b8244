"""LoRA adapters on a frozen base that several roles share (Hu et al. 2021, arXiv:2106.09685), by ``peft``.

A role is a tree of modules of its own whose leaves, the layers that own weights, are the base's: a policy with the
adapter that is trained, the reference without it, a critic with another.  No tree ever changes which adapters are on,
so nothing has to be switched before a forward pass, nor be right again when the backward pass recomputes one.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from assent.config import Settings
from assent.errors import ModelError, RecipeError, nearest
from assent.models.plain import NotPlain

TRAINED = "trained"
"""The name of the adapter that is trained; those below it are frozen."""

M = TypeVar("M", bound=nn.Module)


class AdapterSettings(Settings):
    """What is trained of a model."""

    adapter: Literal["none", "lora", "qlora"] = "none"
    """Train all weights (none), or a low-rank adapter of the linear layers over frozen weights that policy, reference,
    critic and reward model share (lora), those in 4 bits (qlora; needs bitsandbytes)."""
    lora_r: int = Field(default=16, gt=0)
    """Rank of the adapter."""
    lora_alpha: float = Field(default=32.0, gt=0.0)
    """The adapter counts lora_alpha / lora_r."""
    lora_target_modules: list[str] | None = Field(default=None, min_length=1)
    """Names of the layers with an adapter, such as q_proj; unset = all linear layers but the head."""
    merge: bool = True
    """Save the model with the adapter merged into it, the adapter beside it in adapter/; off = the adapter alone."""


class DropoutSettings(AdapterSettings):
    """Of trainings that compare no log-probabilities."""

    lora_dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout before the adapter, while it trains."""


class Place(NamedTuple):
    """A layer with adapters and where it hangs."""

    parent: nn.Module
    name: str
    layer: Any
    """A :class:`peft.tuners.lora.LoraLayer`."""


def adapted(model: nn.Module) -> list[Place]:
    """The layers of the model that have an adapter."""
    return [
        Place(parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if is_adapted(child)
    ]


def is_adapted(module: Any) -> bool:
    """Whether a layer has an adapter."""
    return isinstance(getattr(module, "lora_A", None), nn.ModuleDict)


def has_trained(model: nn.Module) -> bool:
    """Whether an adapter of the model is trained."""
    return any(TRAINED in place.layer.lora_A for place in adapted(model))


def add_adapter(
    model: nn.Module, settings: AdapterSettings, seed: int, task: str | None = None, head: Iterable[str] = ()
) -> None:
    """Freeze the model and give it an adapter to be trained, which begins at zero; the same seed, the same weights.

    ``head``: names of modules that are trained whole and get no adapter.  ``task``: what ``peft`` calls the kind of
    model.  Raises :class:`RecipeError` where ``lora_target_modules`` names no layer.
    """
    from peft import LoraConfig

    whole = tuple(head)
    config = LoraConfig(
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,  # pyright: ignore[reportArgumentType]
        target_modules=_targets(model, settings.lora_target_modules, whole),
        modules_to_save=None,
        exclude_modules=[name for name in _linear_names(model) if _within(name, whole)] or None,
        task_type=task,
    )
    inject(model, config, TRAINED, seed)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(f".{TRAINED}." in name or _within(name, whole))
    config.modules_to_save = list(whole) or None
    dropout = getattr(settings, "lora_dropout", 0.0)
    if dropout:
        config.lora_dropout = dropout
        for place in adapted(model):
            place.layer.lora_dropout[TRAINED] = TrainingDropout(dropout)


def inject(model: nn.Module, config: Any, name: str, seed: int = 0) -> None:
    """Give the model, in place, the layers of an adapter; all that it has are on, and frozen."""
    from peft import inject_adapter_in_model

    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is an adapter already
        torch.manual_seed(seed)
        inject_adapter_in_model(config, model, name)
    for place in adapted(model):
        place.layer.set_adapter(list(place.layer.lora_A))
    model.requires_grad_(False)


class TrainingDropout(nn.Module):
    """Dropout that is on where a gradient is asked for, whatever the mode: models here stay in that of evaluation."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, states: Tensor) -> Tensor:
        return F.dropout(states, self.p, training=torch.is_grad_enabled())


def twin(model: M) -> M:
    """A tree of its own over the same weights: the layers that own some are shared, not copied."""
    memo: dict[int, Any] = {}
    for module in model.modules():
        leaf = next(module.children(), None) is None
        if leaf and next(module.parameters(), None) is not None:
            memo[id(module)] = module
        for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
            memo[id(tensor)] = tensor
    return copy.deepcopy(model, memo)


def without_trained(model: M) -> M:
    """A twin without the adapter that is trained: what that one was put on."""
    made = twin(model)
    for parent, name, layer in adapted(made):
        if list(layer.lora_A) == [TRAINED]:
            setattr(parent, name, layer.get_base_layer())
        elif TRAINED in layer.lora_A:
            layer.delete_adapter(TRAINED)
            layer.requires_grad_(False)  # peft takes the next one for the one to train
    return made


@torch.no_grad()
def merged(model: M) -> M:
    """A twin of plain layers, W + s B A in place of W and its adapters; what has no adapter is shared.

    4-bit layers come out in full: what they stand for, not what they were quantised from.
    """
    made = twin(model)
    for parent, name, layer in adapted(made):
        setattr(parent, name, merged_layer(layer))
    for parent in list(made.modules()):
        for name, child in parent.named_children():
            if in_4_bits(child):
                setattr(parent, name, _plain(child, _full_weight(child)))
    for module in made.modules():
        vars(module).pop("peft_config", None)
        if "hf_quantizer" in vars(module):
            module.hf_quantizer.remove_quantization_config(module)  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
            vars(module).pop("is_loaded_in_4bit", None)
    return made


class LowRank(NamedTuple):
    """One adapter of a layer, which adds scale * up @ down @ x."""

    down: Tensor
    """[r, in]"""
    up: Tensor
    """[out, r]"""
    scale: float
    dropout: bool
    """Whether it drops what it reads, while it trains."""


def low_rank(layer: Any) -> list[LowRank]:
    """The adapters of a layer.  Raises :class:`NotPlain` where they are more than that, or not all on."""
    off = layer.disable_adapters or layer.merged or list(layer.active_adapters) != list(layer.lora_A)
    if off or getattr(layer, "lora_variant", None):
        raise NotPlain
    return [
        LowRank(
            layer.lora_A[name].weight,
            layer.lora_B[name].weight,
            float(layer.scaling[name]),
            not isinstance(layer.lora_dropout[name], nn.Identity),
        )
        for name in layer.lora_A
    ]


@torch.no_grad()
def merged_layer(layer: Any) -> nn.Linear | Conv1D:
    """The layer with its adapters in its weight.  Raises :class:`NotPlain` as :func:`low_rank`."""
    base = layer.get_base_layer()
    weight = _full_weight(base)
    for rank in low_rank(layer):
        more = (rank.up @ rank.down) * rank.scale
        weight = weight + (more.T if isinstance(base, Conv1D) else more).to(weight.dtype)
    return _plain(base, weight)


def trained_state(module: nn.Module) -> Mapping[str, Tensor]:
    """What a checkpoint holds of a module: all where all is trained, else what is trained."""
    state, trained = module.state_dict(), _trained_names(module)
    return {name: value for name, value in state.items() if trained is None or name in trained}


def load_trained_state(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Take up what :func:`trained_state` gave.  Raises :class:`ModelError` where it is of another training."""
    trained = _trained_names(module)
    if trained is not None and trained != state.keys():
        raise ModelError(
            "the checkpoint holds other weights than those that are trained now; begin again in an empty folder, or "
            "give the adapter settings it was made with"
        )
    module.load_state_dict(state, strict=trained is None)


def _trained_names(module: nn.Module) -> set[str] | None:
    """``None`` where everything is trained."""
    named = dict(module.named_parameters(remove_duplicate=False))
    trained = {name for name, parameter in named.items() if parameter.requires_grad}
    return None if len(trained) == len(named) else trained


def _targets(model: nn.Module, wanted: list[str] | None, head: tuple[str, ...]) -> list[str]:
    """The last parts of the names of the layers to adapt."""
    there = {name.rpartition(".")[2] for name in _linear_names(model) if not _within(name, head)}
    for name in wanted or ():
        if name not in there:
            raise RecipeError(
                f"lora_target_modules: the model has no linear layer '{name}'{nearest(name, there)}; it has "
                f"{', '.join(sorted(there))}"
            )
    return sorted(wanted or there)


def _linear_names(model: nn.Module) -> Iterator[str]:
    """The linear layers of the model, its output layer aside."""
    head = getattr(model, "get_output_embeddings", lambda: None)()
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | Conv1D) and module is not head and "lora_" not in name:
            yield name.removesuffix(".base_layer")


def _within(name: str, modules: tuple[str, ...]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def in_4_bits(module: nn.Module) -> bool:
    """Whether a layer's weight is quantised."""
    return type(module).__name__ == "Linear4bit" and not is_adapted(module)


def _full_weight(base: Any) -> Tensor:
    if not in_4_bits(base):
        return base.weight.detach()
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(base.weight.data, base.weight.quant_state).float()


def _plain(base: Any, weight: Tensor) -> nn.Linear | Conv1D:
    with torch.device("meta"):
        if isinstance(base, Conv1D):
            made: nn.Linear | Conv1D = Conv1D(base.nf, base.nx)
        else:
            made = nn.Linear(base.in_features, base.out_features, bias=base.bias is not None)
    made.weight = nn.Parameter(weight, requires_grad=False)
    if base.bias is not None:
        made.bias = base.bias
    return made
