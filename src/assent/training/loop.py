"""The one training loop.  It names no algorithm.

A step: each objective's source gives a batch (a data set's, or rollouts scored just now); the columns its algorithm
needs are computed without gradient; ``prepare`` turns them into advantages and the like; then come the optimiser
updates, over microbatches of a token budget, each part by its own denominator over the whole optimiser batch.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch

from assent.algorithms.base import State
from assent.algorithms.batch import Batch
from assent.errors import NonFiniteError
from assent.training.callbacks import Callback, StepEvent
from assent.training.checkpoint import load_newest, save_checkpoint
from assent.training.gradient import Sums, accumulate, add_means, microbatch_rows
from assent.training.objective import Objective
from assent.training.optim import LoopSettings, OptimSettings, place_epsilon, schedule
from assent.training.reduce import mismatch
from assent.training.roles import Roles
from assent.training.signals import StopAsked
from assent.types import short_id

_COMPUTED = ("ref_logprobs", "old_logprobs", "values")


@dataclass
class Training:
    """A run of the loop.  :meth:`run` takes up where the newest checkpoint in ``folder`` left off."""

    objectives: Sequence[Objective]
    roles: Roles
    optimizers: Mapping[str, torch.optim.Optimizer]
    """By the names of ``roles.trained``."""
    optim: OptimSettings
    loop: LoopSettings
    total_steps: int
    folder: Path
    callbacks: Sequence[Callback]
    seed: int
    say: Any = print

    def __post_init__(self) -> None:
        self.step = 0
        self.states: list[State] = [o.algorithm.initial_state(o.settings) for o in self.objectives]

    def run(self) -> None:
        """Train to ``total_steps`` or until a callback stops the run.  Ctrl-C and SIGTERM save first."""
        self.restore()
        for callback in self.callbacks:
            callback.start(self.step)
        with StopAsked() as stop:
            done = False
            while self.step < self.total_steps and not done:
                begun = time.perf_counter()
                figures, tokens = self.one_step()
                event = StepEvent(self.step, self.total_steps, figures, time.perf_counter() - begun, tokens, self.roles)
                done = sum(callback.after_step(event) for callback in self.callbacks) > 0  # every one is called
                if stop.asked or (self.step % self.loop.save_steps == 0 and self.step < self.total_steps and not done):
                    self.save()
                stop.raise_if_asked()

    def one_step(self) -> tuple[dict[str, float], int]:
        """One batch of each objective and its updates; the figures, and the real tokens of the batches."""
        factor = schedule(self.optim, self.step, self.total_steps)
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = group["peak_lr"] * factor
        figures: dict[str, float] = {"learning_rate": self.optim.learning_rate * factor}
        prepared: list[Batch] = []
        for index, objective in enumerate(self.objectives):
            batch, found = objective.source.batch(self.step)
            batch = annotate(batch, objective.algorithm.needs, self.roles, self.loop.token_budget)
            found |= mismatch(batch)  # of all rows: prepare may leave some out, or bring others
            batch, self.states[index], made = objective.algorithm.prepare(batch, objective.settings, self.states[index])
            figures |= objective.named({**found, **made})
            prepared.append(batch)
        seed = int(short_id(self.seed, self.step), 16)
        planned = list(
            zip(*(o.update_batches(b, seed) for o, b in zip(self.objectives, prepared, strict=True)), strict=True)
        )
        sums: Sums = {}
        updates, enough = 0, False
        while updates < len(planned) and not enough:
            enough = self._one_update(planned[updates], sums, figures)
            updates += 1
        figures |= means(sums)
        if len(planned) > 1:
            figures["updates"] = float(updates)
        self.step += 1
        return figures, int(sum(batch.mask.sum() for batch in prepared))

    def _one_update(self, batches: Sequence[Batch], sums: Sums, figures: dict[str, float]) -> bool:
        """Every objective's gradient, and one step of the optimisers; whether an algorithm has had enough."""
        enough = False
        for objective, batch in zip(self.objectives, batches, strict=True):
            found = self._accumulate(objective, batch)
            enough |= objective.algorithm.enough(means(found), objective.settings)
            add_means(sums, objective.named(found))
        figures["grad_norm"] = self._update(batches)
        return enough

    def _accumulate(self, objective: Objective, batch: Batch) -> Sums:
        budget, fail = self.loop.token_budget, self._stop_non_finite
        return accumulate(
            objective.algorithm, objective.settings, objective.coefficient, self.roles, batch, budget, fail
        )

    def _update(self, batches: Sequence[Batch]) -> float:
        norms: list[float] = []
        for name, optimizer in self.optimizers.items():
            norm = torch.nn.utils.clip_grad_norm_(self.roles.trained[name].parameters(), self.optim.max_grad_norm)
            if not bool(torch.isfinite(norm)):
                self._stop_non_finite(f"the gradient of the {name} is not finite", batches)
            norms.append(float(norm))
            place_epsilon(optimizer, self.optim)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return sum(x * x for x in norms) ** 0.5

    def _stop_non_finite(self, what: str, batches: Sequence[Batch]) -> NoReturn:
        path = self.folder / "nonfinite-batch.pt"
        torch.save([{"tokens": b.tokens, "mask": b.completion_mask, **b.columns} for b in batches], path)
        raise NonFiniteError(
            f"{what} at step {self.step + 1}: the batch is saved in {path}; lower learning_rate or give it a warm-up, "
            "use dtype float32, or look in that batch for a damaged row"
        )

    def save(self) -> None:
        """Write a checkpoint: all that advances, as one."""
        save_checkpoint(self.folder / "checkpoints", self.step, self._state(), self.loop.save_total_limit)

    def _state(self) -> dict[str, Any]:
        return {
            "weights": {name: module.state_dict() for name, module in self.roles.trained.items()},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "states": [dict(state) for state in self.states],
            "callbacks": [callback.state() for callback in self.callbacks],
            "rng": torch.get_rng_state(),
        }

    def restore(self) -> None:
        """Go on from the newest checkpoint of the folder, or begin."""
        saved = load_newest(self.folder / "checkpoints", self.say)
        if saved is None:
            torch.manual_seed(self.seed)
            return
        for name, weights in saved["weights"].items():
            self.roles.trained[name].load_state_dict(weights)
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(saved["optimizers"][name])
        self.states = list(saved["states"])
        for callback, state in zip(self.callbacks, saved["callbacks"], strict=True):
            callback.restore(state)
        torch.set_rng_state(saved["rng"])
        self.step = int(saved["step"])
        self.say(f"going on from step {self.step} of {self.total_steps}")


def annotate(batch: Batch, needs: frozenset[str], roles: Roles, token_budget: int) -> Batch:
    """The batch with the columns among ``needs`` that models give, computed without gradient."""
    wanted = [name for name in _COMPUTED if name in needs]
    if not wanted:
        return batch
    made = {name: torch.zeros(batch.tokens.shape, device=batch.tokens.device) for name in wanted}
    for rows in microbatch_rows(batch, token_budget, roles.packing):
        micro = batch.select(rows)
        for name in wanted:
            made[name][rows, : micro.tokens.shape[1]] = roles.column(name, micro).float()
    return batch.with_columns(**made)


def means(sums: Sums) -> dict[str, float]:
    """The figures themselves, from their sums and counts."""
    return {name: float(mean.total / mean.count.clamp(min=1e-12)) for name, mean in sums.items()}
