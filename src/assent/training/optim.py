"""Optimiser and learning-rate schedule, under the names that users of ``transformers`` know."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from pydantic import Field, field_validator
from torch import nn

from assent.config import Settings
from assent.training.trackers import TrackerName, missing


class OptimSettings(Settings):
    """How weights are updated."""

    learning_rate: float = Field(default=1e-4, gt=0.0)
    """Peak learning rate of AdamW."""
    lr_scheduler_type: Literal["linear", "cosine", "constant"] = "linear"
    """Schedule after the warm-up: linear or cosine decay to zero, or constant."""
    warmup_ratio: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of the steps in which the learning rate rises linearly from zero."""
    warmup_steps: int = Field(default=0, ge=0)
    """Steps of warm-up; takes precedence over warmup_ratio when not zero."""
    weight_decay: float = Field(default=0.0, ge=0.0)
    """Decoupled weight decay, not applied to biases and norms."""
    max_grad_norm: float = Field(default=1.0, gt=0.0)
    """Gradients are clipped to this global norm."""
    adam_beta1: float = Field(default=0.9, ge=0.0, lt=1.0)
    """AdamW's beta 1."""
    adam_beta2: float = Field(default=0.999, ge=0.0, lt=1.0)
    """AdamW's beta 2."""
    adam_epsilon: float = Field(default=1e-8, gt=0.0)
    """AdamW's epsilon, outside the square root; its size matters where gradients are small."""
    adam_epsilon_placement: Literal["pytorch", "tensorflow"] = "pytorch"
    """Where epsilon is added: to the root of the second moment once its bias is corrected, or before that (TensorFlow),
    which makes the first updates smaller."""


class LoopSettings(Settings):
    """How batches become optimiser updates, and when the run is saved."""

    token_budget: int = Field(default=8192, gt=0)
    """Padded tokens per microbatch: memory, not mathematics; the gradient does not depend on it."""
    save_steps: int = Field(default=50, gt=0, json_schema_extra={"identity": False})
    """Steps that a kill costs at most; a checkpoint is begun a tenth of that early, and written meanwhile."""
    save_total_limit: int = Field(default=2, gt=0, json_schema_extra={"identity": False})
    """Checkpoints kept; the best weights so far are part of each."""
    report_to: tuple[TrackerName, ...] = Field(default=(), json_schema_extra={"identity": False})
    """Experiment trackers that get the figures of each step too, as they come."""
    tracking_project: str = Field(default="assent", min_length=1, json_schema_extra={"identity": False})
    """The project (experiment) that the run belongs to there."""
    run_name: str | None = Field(default=None, json_schema_extra={"identity": False})
    """What the run is called there; unset = the run's folder and the stage."""
    sharding: Literal["none", "fsdp"] = "none"
    """What each of several processes holds: all weights; or, for a model too large for one, its shards of weights,
    gradients and optimiser state (FSDP)."""
    deterministic: bool = False
    """On a GPU, only kernels that give the same bits each time, so that resume is exact there too; slower.  On a CPU it
    always is."""

    @field_validator("report_to")
    @classmethod
    def _installed(cls, names: tuple[TrackerName, ...]) -> tuple[TrackerName, ...]:
        absent = missing(names)
        if absent:
            raise ValueError(f"{absent} is not installed here; pip install {absent}, or take it out")
        return names


def build_optimizer(
    named: Iterable[tuple[str, nn.Parameter]], settings: OptimSettings, learning_rate: float
) -> torch.optim.AdamW:
    """AdamW over the parameters that train; those of one dimension (biases, norms) do not decay.

    The ratio of ``learning_rate`` to the settings' own is kept by the schedule, so a critic may have a rate of its own.
    """
    trained = [(name, p) for name, p in named if p.requires_grad]
    groups = [
        {"params": [p for _, p in trained if p.dim() > 1], "weight_decay": settings.weight_decay},
        {"params": [p for _, p in trained if p.dim() <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=learning_rate,
        betas=(settings.adam_beta1, settings.adam_beta2),
        eps=settings.adam_epsilon,
        fused=True,
    )
    for group in optimizer.param_groups:
        group["peak_lr"] = learning_rate
    return optimizer


def build_optimizers(
    trained: Mapping[str, nn.Module], settings: OptimSettings, rates: Mapping[str, float] | None = None
) -> dict[str, torch.optim.AdamW]:
    """One for each trained role; a role that ``rates`` names has that learning rate, any other the settings' own."""
    return {
        role: build_optimizer(module.named_parameters(), settings, (rates or {}).get(role, settings.learning_rate))
        for role, module in trained.items()
    }


def place_epsilon(optimizer: torch.optim.Optimizer, settings: OptimSettings) -> None:
    """Before an update: epsilon where the settings want it (Kingma & Ba 2015, arXiv:1412.6980, end of section 2).

    TensorFlow's lr sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + eps) is PyTorch's update, with the bias of v corrected,
    for an epsilon of eps / sqrt(1 - b2^t).  Huang et al. 2024 ("The N Implementation Details of RLHF with PPO") found
    6 times the approximate KL in PPO's first updates by PyTorch's placement.
    """
    if settings.adam_epsilon_placement == "pytorch":
        return
    for group in optimizer.param_groups:
        done = optimizer.state.get(group["params"][0], {}).get("step", 0)
        group["eps"] = settings.adam_epsilon / math.sqrt(1.0 - settings.adam_beta2 ** (int(done) + 1))


def schedule(settings: OptimSettings, step: int, total: int) -> float:
    """The factor on the peak learning rate at ``step`` (from 0) of ``total``: a pure function, so resume is exact."""
    warmup = settings.warmup_steps or math.ceil(settings.warmup_ratio * total)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(1, total - warmup)
    if settings.lr_scheduler_type == "linear":
        return max(0.0, 1.0 - progress)
    if settings.lr_scheduler_type == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
    return 1.0
