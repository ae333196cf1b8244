"""Weights, gradients and optimiser state in shards over the processes, by PyTorch's FSDP2 and its checkpoints.

Each trained model is there twice: whole, as the rest of the package knows it, and in shards, as it trains.  The whole
one holds no weights while it trains; it is filled where something reads it (:func:`whole`), and for good at the end.
"""

from __future__ import annotations

import copy
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed import HashStore  # pyright: ignore[reportPrivateImportUsage]
from torch.distributed.checkpoint import load, save  # pyright: ignore[reportPrivateImportUsage]
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_model_state_dict,
    set_state_dict,
)
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from assent.errors import RecipeError
from assent.models.adapters import load_trained_state, trained_state
from assent.models.scalar import ValueHead
from assent.rollout.engine import EncodedPrompt, Engine
from assent.training import distributed
from assent.training.roles import Roles
from assent.types import Completion, SamplingSettings

_FORWARDS = ("hidden", "values", "scores")
"""What our models are run by: FSDP gathers their weights before it."""


@dataclass(frozen=True)
class Halves:
    """One model twice."""

    whole: nn.Module
    sharded: nn.Module


class Sharding:
    """The roles of a run with their models in shards."""

    def __init__(self, roles: Roles) -> None:
        """Replaces the models in ``roles`` by sharded ones; a value head is too small to be worth it."""
        if any(not p.requires_grad for module in roles.trained.values() for p in module.parameters()):
            raise RecipeError(
                "sharding: fsdp splits a model of which every weight is trained, and an adapter's base is not; leave "
                "sharding out, or train without an adapter"
            )
        if not dist.is_initialized():
            dist.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
        self.mesh = init_device_mesh(roles.device.type, (distributed.size(),))
        self.halves: dict[str, Halves] = {}
        self.roles = roles
        for name in ("policy", "critic", "reward", "reference"):
            module = getattr(roles, name)
            if module is not None and not isinstance(module, ValueHead):
                halves = Halves(module, _sharded(_copy_of(module), self.mesh))
                setattr(roles, name, halves.sharded)
                if name != "reference":
                    self.halves[name] = halves
        for halves in self.halves.values():  # only now: models may share layers
            _empty(halves.whole)

    @contextmanager
    def whole(self, *names: str) -> Generator[None]:
        """The whole models of these roles (all of them where none is named) hold the weights as they are now."""
        chosen = [self.halves[name] for name in names or self.halves]
        try:
            for halves in chosen:
                _fill(halves)
            yield
        finally:
            for halves in chosen:
                _empty(halves.whole)

    def end(self) -> None:
        """The whole models get the weights for good, and their places in the roles back."""
        for name, halves in self.halves.items():
            _fill(halves)
            setattr(self.roles, name, halves.whole)

    def engine(self, engine: Engine) -> Engine:
        """``engine``, which samples the whole policy, filled while it does."""
        return _FilledEngine(engine, self)


class _FilledEngine:
    def __init__(self, engine: Engine, sharding: Sharding) -> None:
        self.engine, self.sharding, self.promises = engine, sharding, engine.promises

    def generate(self, prompts: Any, sampling: SamplingSettings, n: int = 1) -> list[Completion]:
        """See :class:`assent.rollout.engine.Engine`."""
        given: list[EncodedPrompt] = list(prompts)
        with self.sharding.whole("policy"):
            return self.engine.generate(given, sampling, n)

    def close(self) -> None:
        self.engine.close()


def _copy_of(module: nn.Module) -> nn.Module:
    tokenizer = getattr(module, "tokenizer", None)
    return copy.deepcopy(module, {id(tokenizer): tokenizer})


def _sharded(module: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """The module in shards: each transformer block apart, and the rest (embeddings, head) together.

    The rest stays gathered between the states and their log-probabilities, which read the head's weight themselves.
    Gradients are added up over the processes, and not averaged.
    """
    blocks = {name for part in module.modules() if isinstance(part, PreTrainedModel) for name in _blocks_of(part)}
    for part in list(module.modules()):
        if type(part).__name__ in blocks:
            fully_shard(part, mesh=mesh, reshard_after_forward=True)
    fully_shard(module, mesh=mesh, reshard_after_forward=False)
    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.set_gradient_divide_factor(1.0)
            part.set_force_sum_reduction_for_comms(True)  # gloo scales no sums
    for method in _FORWARDS:
        if hasattr(module, method):
            register_fsdp_forward_method(module, method)
    return module


def _blocks_of(model: PreTrainedModel) -> set[str]:
    return set(model._no_split_modules or ())  # pyright: ignore[reportPrivateUsage]


@torch.no_grad()
def _fill(halves: Halves) -> None:
    rest(halves.sharded)
    shards = dict(halves.sharded.named_parameters())
    for name, parameter in halves.whole.named_parameters():
        shard = shards[name]
        assert isinstance(shard, DTensor)
        parameter.data = shard.full_tensor()
    buffers = dict(halves.sharded.named_buffers())
    for name, buffer in halves.whole.named_buffers():
        buffer.copy_(buffers[name])


def _empty(whole: nn.Module) -> None:
    for parameter in whole.parameters():
        parameter.data = parameter.data.new_empty(0)


# --- what the loop asks ----------------------------------------------------------------------------------------------


def is_sharded(roles: Roles) -> bool:
    """Whether all processes must run these models together, pass by pass."""
    return bool(sharded_roles(roles))


def sharded_roles(roles: Roles) -> dict[str, nn.Module]:
    """The trained models in shards, by role."""
    return {name: module for name, module in roles.trained.items() if isinstance(module, FSDPModule)}


def rest(*modules: nn.Module | None) -> None:
    """Let go of gathered weights that a pass without gradient has left behind."""
    for module in modules:
        if isinstance(module, FSDPModule):
            module.reshard()


def sum_gradients_at_next(roles: Roles, wanted: bool) -> None:
    """Whether the next backward pass adds the gradients up over the processes, or keeps them for a later one."""
    for module in roles.trained.values():
        if isinstance(module, FSDPModule):
            module.set_requires_gradient_sync(wanted)


def full_weights(module: nn.Module) -> dict[str, Any]:
    """What is trained of a module, whole and on the CPU where it is in shards: in the first process, empty in the
    others."""
    if not isinstance(module, FSDPModule):
        return dict(trained_state(module))
    return get_model_state_dict(module, options=StateDictOptions(full_state_dict=True, cpu_offload=True))


def load_full_weights(module: nn.Module, weights: dict[str, Any]) -> None:
    """Put whole weights, which every process has, into a module."""
    if isinstance(module, FSDPModule):
        set_model_state_dict(module, weights, options=StateDictOptions(full_state_dict=True))
    else:
        load_trained_state(module, weights)


def save_shards(roles: Roles, optimizers: Mapping[str, torch.optim.Optimizer], folder: Path | None) -> None:
    """Write weights and optimiser state of all sharded roles into the first process's ``folder``, each its shards.

    An optimiser that has made no update yet has no state: PyTorch would make one that counts an update.
    """
    begun = {name: optimizer for name, optimizer in optimizers.items() if optimizer.state}
    save(_states(roles, begun), checkpoint_id=distributed.broadcast(folder))


def load_shards(roles: Roles, optimizers: Mapping[str, torch.optim.Optimizer], folder: Path) -> None:
    """Read them back, in shards of as many processes as there are now."""
    states = _states(roles, optimizers)
    load(states, checkpoint_id=folder)
    for name, module in sharded_roles(roles).items():
        state, optimizer = states[name], optimizers.get(name)
        set_state_dict(
            module,
            _listed(optimizer),
            model_state_dict=state["weights"],
            optim_state_dict=state["optimizer"],
        )


def _listed(optimizer: torch.optim.Optimizer | None) -> list[torch.optim.Optimizer]:
    return [] if optimizer is None else [optimizer]


def _states(roles: Roles, optimizers: Mapping[str, torch.optim.Optimizer]) -> dict[str, Any]:
    states: dict[str, Any] = {}
    for name, module in sharded_roles(roles).items():
        rest(module)
        weights, moments = get_state_dict(module, _listed(optimizers.get(name)))
        states[name] = {"weights": weights, "optimizer": moments}
    return states
