"""Training on a data set: everything between examples and a trained model that is the same for every algorithm."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field

from assent.algorithms.base import Algorithm
from assent.data.microbatch import epoch_order
from assent.errors import RecipeError
from assent.training.callbacks import Evaluation, MetricsLog, ShowProgress
from assent.training.distributed import join, rank, row_shares, sum_means
from assent.training.gradient import Sums, add_means, idle, microbatch_rows
from assent.training.loop import Training, annotate, means
from assent.training.objective import Objective
from assent.training.optim import LoopSettings, OptimSettings, build_optimizers
from assent.training.roles import Roles
from assent.training.sharding import Sharding, is_sharded, rest
from assent.training.sources import DatasetSource, Example, collate, longest_row, with_mismatched
from assent.training.trackers import Trackers


class DatasetSettings(OptimSettings, LoopSettings):
    """Training on a data set, under the names that users of ``transformers`` know."""

    batch_size: int = Field(default=32, gt=0)
    """Examples per optimiser step (a ranking of K answers is one example); memory is bounded by token_budget."""
    num_train_epochs: float = Field(default=1.0, gt=0.0)
    """Passes over the data."""
    max_steps: int | None = Field(default=None, gt=0)
    """Optimiser steps; takes precedence over num_train_epochs."""
    max_length: int | None = Field(default=None, gt=1)
    """Longest row in tokens; unset = the model's context."""
    overlong: Literal["error", "truncate", "drop"] = "error"
    """What to do with a row over max_length: stop, cut the answer on the right, or leave it out (counted)."""
    empty: Literal["error", "skip"] = "error"
    """What to do with a row whose text is empty: stop, or leave it out (counted)."""
    eval_split: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the examples held out for evaluation."""
    eval_steps: int | None = Field(default=None, gt=0)
    """Steps between evaluations; unset = once an epoch."""
    early_stopping_patience: int | None = Field(default=None, gt=0)
    """Stop after this many evaluations without improvement; unset = never."""
    load_best_model_at_end: bool = False
    """End with the weights that evaluated best."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of matrix products; weights and optimiser state are float32 in both."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, a third more time."""
    packing: bool = False
    """Lay rows behind one another instead of padding them to the longest: fewer microbatches for rows of very different
    lengths; causal models only."""


@dataclass(frozen=True)
class Task:
    """What to train, on what, and where to write."""

    roles: Roles
    algorithm: Algorithm
    examples: Sequence[Example]
    held_out: Sequence[Example]
    settings: Any
    """A :class:`DatasetSettings` that is also the algorithm's settings."""
    pad: int
    folder: Path
    seed: int
    progress: Any
    say: Callable[[str], None]
    metric: str = "loss"
    """The evaluation figure that decides the best weights."""
    greater_is_better: bool = False


def split_examples(examples: list[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Hold out a ``share`` of the examples, chosen by ``seed``."""
    if share == 0.0:
        return examples, []
    order = epoch_order(len(examples), seed, 1 << 20)
    count = max(1, round(share * len(examples)))
    if count >= len(examples):
        raise RecipeError(f"eval_split {share} of {len(examples)} examples leaves nothing to train on")
    return [examples[int(i)] for i in order[count:]], [examples[int(i)] for i in order[:count]]


def train(task: Task) -> dict[str, float]:
    """Train, and return the figures of the last step and of the last (or best) evaluation."""
    join()
    settings: DatasetSettings = task.settings
    roles, device = task.roles, task.roles.device
    roles.bf16 = settings.dtype == "bfloat16"
    enable_checkpointing(roles, settings.gradient_checkpointing)
    roles.use_packing(settings.packing)
    sharding = Sharding(roles) if settings.sharding == "fsdp" else None
    mismatched = "mismatched" in task.algorithm.needs
    source = DatasetSource(task.examples, settings.batch_size, task.seed, task.pad, device, mismatched=mismatched)
    if settings.batch_size > len(task.examples):
        task.say(f"batch_size {settings.batch_size} is more than the {len(task.examples)} examples: each step has all")
    # The last batch of the last epoch is filled up from the next: no example is left out, as none comes short within.
    total = settings.max_steps or math.ceil(settings.num_train_epochs * len(task.examples) / source.batch_size)
    shown = ShowProgress(task.progress, task.algorithm.name, {"loss": "loss", "accuracy": "accuracy"})
    evaluation = None
    if task.held_out:
        evaluation = Evaluation(
            lambda: evaluate_loss(task),
            task.folder,
            every=settings.eval_steps or source.steps_per_epoch,
            metric=f"eval_{task.metric}",
            greater_is_better=task.greater_is_better,
            patience=settings.early_stopping_patience,
            keep_best=settings.load_best_model_at_end,
        )
    elif settings.early_stopping_patience or settings.load_best_model_at_end:
        raise RecipeError("early_stopping_patience and load_best_model_at_end need eval_data or eval_split")
    training = Training(
        objectives=[Objective(source, task.algorithm, settings)],
        roles=roles,
        optimizers=build_optimizers(roles.trained, settings),
        optim=settings,
        loop=settings,
        total_steps=total,
        folder=task.folder,
        callbacks=[
            *([evaluation] if evaluation else []),
            MetricsLog(task.folder, evaluation),
            Trackers(task.folder, settings, task.say, evaluation),
            shown,
        ],
        seed=task.seed,
        say=task.say,
    )
    training.run()
    figures: dict[str, float] = {"steps": float(training.step), "examples": float(len(task.examples))}
    if evaluation:
        evaluation.load_best(roles)
        figures |= evaluation.best_figures if settings.load_best_model_at_end else evaluation.last
    if sharding is not None:
        sharding.end()
    return figures


@torch.no_grad()
def evaluate_loss(task: Task) -> Mapping[str, float]:
    """The algorithm's own figures over the held-out examples, each over all of them: ``eval_loss`` and so on.

    They are one batch, prepared as the batches of training are; only the forward passes are by token budget.
    """
    settings, algorithm, sums = task.settings, task.algorithm, Sums()
    examples = task.held_out
    if "mismatched" in algorithm.needs:
        examples = with_mismatched(examples, longest_row(examples))
    batch = collate(examples, task.pad, task.roles.device)
    batch = annotate(batch, algorithm.needs, task.roles, settings.token_budget)
    batch, _, figures = algorithm.prepare(batch, settings, algorithm.initial_state(settings))
    shares = [batch.select(rows) for rows in row_shares(batch)]
    plans = [microbatch_rows(share, settings.token_budget, task.roles.unpadded) for share in shares]
    for rows in plans[rank()]:
        micro = shares[rank()].select(rows)
        loss = algorithm.loss(task.roles.forward(micro, algorithm.outputs), micro, settings)
        add_means(sums, loss.metrics)
    if is_sharded(task.roles):
        for _ in range(max(map(len, plans)) - len(plans[rank()])):
            task.roles.forward(idle(batch), algorithm.outputs)
        rest(*task.roles.trained.values())
    found = means(sum_means(sums, task.roles.device))
    return {f"eval_{name}": value for name, value in {**figures, **found}.items()}


def enable_checkpointing(roles: Roles, wanted: bool) -> None:
    """Switch activation recomputation on in every trained Hugging Face model."""
    for module in roles.trained.values():
        model = getattr(module, "model", None)
        if wanted and model is not None:
            enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
            enable({"use_reentrant": False})
            model.disable_input_require_grads()  # a hook that only reentrant checkpoints need
            model.train()  # transformers checkpoints only in training mode; dropout is switched off apart from it
            for part in model.modules():
                if isinstance(part, torch.nn.Dropout):
                    part.p = 0.0
                elif isinstance(getattr(part, "attention_dropout", None), float):  # a number, not a module, in most
                    part.attention_dropout = 0.0
