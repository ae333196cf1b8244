"""The one training loop.  It names no algorithm.

A step: each objective's source gives a batch (a data set's, or rollouts scored just now); the columns its algorithm
needs are computed without gradient; ``prepare`` turns them into advantages and the like; then come the optimiser
updates, over microbatches of a token budget, each part by its own denominator over the whole optimiser batch.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch.distributed.tensor import DTensor

from assent.algorithms.base import State
from assent.algorithms.batch import Batch
from assent.errors import NonFiniteError
from assent.models.adapters import load_trained_state, trained_state
from assent.rewards.source import Pending
from assent.training import distributed, sharding
from assent.training.callbacks import Absent, Callback, StepEvent
from assent.training.checkpoint import Saver, load, load_newest, name_of
from assent.training.gradient import Sums, accumulate, add_means, idle, microbatch_rows
from assent.training.memory import TokenBudget
from assent.training.objective import Objective
from assent.training.optim import LoopSettings, OptimSettings, place_epsilon, schedule
from assent.training.randomness import generator_states, restore_generators, seed_all, use_deterministic_kernels
from assent.training.reduce import mismatch
from assent.training.roles import Roles
from assent.training.signals import StopAsked
from assent.training.sources import Drawing
from assent.training.timing import Phase, forget_phases, phase, take_phases
from assent.training.unfinished import Unfinished
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
    """0 where nobody knows how many there will be."""
    folder: Path
    callbacks: Sequence[Callback]
    seed: int
    say: Any = print

    def __post_init__(self) -> None:
        self.step = 0
        self.states: list[State] = [o.algorithm.initial_state(o.settings) for o in self.objectives]
        self.unfinished: Unfinished | None = None
        """The step after ``self.step``, once its batches are made."""
        self.phases: dict[str, Phase] = {}
        """Of the last step."""
        self.budget = TokenBudget(self.loop.token_budget, self.say, sharding.is_sharded(self.roles))
        self.saver = Saver(self.folder / "checkpoints", self.loop.save_total_limit)
        if not distributed.is_main():
            self.callbacks = [callback if callback.everywhere else Absent() for callback in self.callbacks]
        use_deterministic_kernels(self.loop.deterministic)

    def run(self) -> None:
        """Train to ``total_steps`` or until a callback stops the run.

        Ctrl-C and SIGTERM save first: at once while a batch is being made, else after the update at work.  Several
        processes that train together stop after the same update, also where one was making a batch.
        """
        self.restore()
        forget_phases()
        for callback in self.callbacks:
            callback.start(self.step)
        early = self.loop.save_steps // 10  # so long may the writing take before the loop waits for it
        with StopAsked() as stop, contextlib.closing(self.saver), contextlib.ExitStack() as ends:
            for callback in self.callbacks:
                ends.callback(callback.end)
            done = False
            while self.step < self.total_steps and not done:
                begun = time.perf_counter()
                figures, tokens = self.one_step(stop)
                if self.saver.begun_at is not None and self.step > self.saver.begun_at + early:
                    self.saver.wait()
                seconds = time.perf_counter() - begun
                event = StepEvent(self.step, self.total_steps, figures, seconds, tokens, self.roles, self.phases)
                done = sum(callback.after_step(event) for callback in self.callbacks) > 0  # every one is called
                done = distributed.any_of(done)
                due = self.step % (self.loop.save_steps - early) == 0 and self.step < self.total_steps and not done
                asked = stop.agreed()
                if asked or due:
                    self.begin_saving()
                if asked:
                    raise KeyboardInterrupt

    def one_step(self, stop: StopAsked | None = None) -> tuple[dict[str, float], int]:
        """One batch of each objective and its updates; the figures, and the real tokens of the batches.

        Where ``stop`` asks for it, saves what is done so far and raises ``KeyboardInterrupt``.
        """
        factor = schedule(self.optim, self.step, self.total_steps)
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = group["peak_lr"] * factor
        made = self.unfinished or self._batches_made(factor, stop)
        self.unfinished = made
        seed = int(short_id(self.seed, self.step), 16)
        parts = (o.update_batches(b, seed) for o, b in zip(self.objectives, made.batches, strict=True))
        planned = list(zip(*parts, strict=True))
        enough = False
        while made.updates < len(planned) and not enough:
            if stop is not None and stop.agreed():
                self.begin_saving()
                raise KeyboardInterrupt
            enough = self._one_update(planned[made.updates], made.sums, made.figures)
            made.updates += 1
        figures = made.figures | means(made.sums)
        if len(planned) > 1:
            figures["updates"] = float(made.updates)
        self.phases = take_phases(self.roles, self.objectives, made.batches, made.updates)
        self.unfinished = None
        self.step += 1
        return figures, int(sum(batch.mask.sum() for batch in made.batches))

    def _batches_made(self, factor: float, stop: StopAsked | None) -> Unfinished:
        """The batches of a step, ready to train on.  A signal interrupts it: nothing has changed yet but the random
        number generators, which are put back before all is saved."""
        before = generator_states()
        figures: dict[str, float] = {"learning_rate": self.optim.learning_rate * factor}
        prepared: list[Batch] = []
        states: list[State] = []
        alone = distributed.size() == 1
        try:
            with stop.at_once() if stop is not None and alone else contextlib.nullcontext():
                for objective, state in zip(self.objectives, self.states, strict=True):
                    batch, found = objective.source.batch(self.step)
                    with phase("columns"):
                        batch = self._annotated(batch, objective)
                    found |= mismatch(batch)  # of all rows: prepare may leave some out, or bring others
                    batch, state, made = objective.algorithm.prepare(batch, objective.settings, state)
                    figures |= objective.named({**found, **made})
                    prepared.append(batch)
                    states.append(state)
        except (KeyboardInterrupt, Pending) as stopped:
            if stop is not None and (alone or isinstance(stopped, Pending)):
                restore_generators(before)
                self.begin_saving()
                if isinstance(stopped, Pending):
                    self.saver.wait()
            raise
        self.states = states
        return Unfinished(prepared, figures)

    def _annotated(self, batch: Batch, objective: Objective) -> Batch:
        needs, roles = objective.algorithm.needs, self.roles
        return self.budget.within(lambda tokens: annotate(batch, needs, roles, tokens), batch.tokens.shape[1])

    def _one_update(self, batches: Sequence[Batch], sums: Sums, figures: dict[str, float]) -> bool:
        """Every objective's gradient, and one step of the optimisers; whether an algorithm has had enough."""
        longest = max(batch.tokens.shape[1] for batch in batches)
        enough = False
        for objective, found in zip(
            self.objectives, self.budget.within(lambda tokens: self._gradient(batches, tokens), longest), strict=True
        ):
            enough |= objective.algorithm.enough(means(found), objective.settings)
            add_means(sums, objective.named(found))
        with phase("optimiser"):
            figures["grad_norm"] = self._update(batches)
        return enough

    def _gradient(self, batches: Sequence[Batch], tokens: int) -> list[Sums]:
        """From nothing, so that it can be begun again with smaller microbatches."""
        for module in self.roles.trained.values():
            module.zero_grad(set_to_none=True)
        fail = self._stop_non_finite
        with phase("gradient"):
            found = [
                accumulate(o.algorithm, o.settings, o.coefficient, self.roles, batch, tokens, fail)
                for o, batch in zip(self.objectives, batches, strict=True)
            ]
            distributed.sum_gradients(self.roles.trained.values())
            return [distributed.sum_means(sums, self.roles.device) for sums in found]

    def _update(self, batches: Sequence[Batch]) -> float:
        norms: list[float] = []
        for name, optimizer in self.optimizers.items():
            norm = torch.nn.utils.clip_grad_norm_(self.roles.trained[name].parameters(), self.optim.max_grad_norm)
            norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
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
        """Write a checkpoint: all that advances, as one.  It is on the disk when this returns."""
        self.begin_saving()
        self.saver.wait()

    def begin_saving(self) -> None:
        """The same, beside what comes next; :attr:`saver` can be waited for.  The first of several processes writes."""
        distributed.check_equal(self.roles.trained)
        shards = partial(sharding.save_shards, self.roles, self.optimizers)
        if not distributed.is_main():
            if sharding.is_sharded(self.roles):
                shards(None)
            return
        files = {name: path for callback in self.callbacks for name, path in callback.files().items()}
        logs = [path for callback in self.callbacks for path in callback.logs()]
        updates = self.unfinished.updates if self.unfinished else 0
        beside = shards if sharding.is_sharded(self.roles) else None
        self.saver.begin(self.step, self._state(), files, name_of(self.step, updates), logs, beside)

    def _state(self) -> dict[str, Any]:
        """All but what is in shards, which each process writes itself."""
        apart = sharding.sharded_roles(self.roles)
        whole = {name: module for name, module in self.roles.trained.items() if name not in apart}
        return {
            "weights": {name: trained_state(module) for name, module in whole.items()},
            "optimizers": {name: o.state_dict() for name, o in self.optimizers.items() if name not in apart},
            "states": [dict(state) for state in self.states],
            "callbacks": [callback.state() for callback in self.callbacks],
            "generators": generator_states(),
            "token_budget": self.budget.tokens,
            "unfinished": self.unfinished.state() if self.unfinished else None,
            "drawn": [o.source.drawn() if isinstance(o.source, Drawing) else None for o in self.objectives],
        }

    def restore(self) -> None:
        """Go on from the newest checkpoint of the folder, or begin."""
        found = load_newest(self.saver.folder, self.say) if distributed.is_main() else None
        place = distributed.broadcast(found and (found.folder, int(found.state["step"])))
        if found is None and place is not None:
            found = load(*place)
        if found is None:
            seed_all(self.seed)
            return
        saved = found.state
        for name, weights in saved["weights"].items():
            load_trained_state(self.roles.trained[name], weights)
        for name, optimizer in saved["optimizers"].items():
            self.optimizers[name].load_state_dict(optimizer)
        if sharding.is_sharded(self.roles):
            begun = saved["step"] or (saved["unfinished"] or {}).get("updates")
            sharding.load_shards(self.roles, self.optimizers if begun else {}, found.folder)
        self.states = list(saved["states"])
        for callback, state in zip(self.callbacks, saved["callbacks"], strict=True):
            callback.restore(state, found.folder)
        restore_generators(saved["generators"])
        self.budget.tokens = min(self.budget.tokens, int(saved["token_budget"]))
        for objective, drawn in zip(self.objectives, saved["drawn"], strict=True):
            if isinstance(objective.source, Drawing) and drawn is not None:
                objective.source.take_up(drawn)
        if saved["unfinished"] is not None:
            self.unfinished = Unfinished.restored(saved["unfinished"], self.roles.device)
        self.step = int(saved["step"])
        self.say(f"going on from step {self.step}" + (f" of {self.total_steps}" if self.total_steps else ""))


def annotate(batch: Batch, needs: frozenset[str], roles: Roles, token_budget: int) -> Batch:
    """The batch with the columns among ``needs`` that models give, computed without gradient.

    Each of several processes computes those of its share, and adds the others' to zeros.
    """
    wanted = [name for name in _COMPUTED if name in needs]
    if not wanted:
        return batch
    made = {name: torch.zeros(batch.tokens.shape, device=batch.tokens.device) for name in wanted}
    shares = distributed.row_shares(batch)
    plans = [microbatch_rows(batch.select(share), token_budget, roles.unpadded) for share in shares]
    for rows in plans[distributed.rank()]:
        rows = shares[distributed.rank()][rows]
        micro = batch.select(rows)
        for name in wanted:
            made[name][rows, : micro.tokens.shape[1]] = roles.column(name, micro).float()
    if sharding.is_sharded(roles):
        for _ in range(max(map(len, plans)) - len(plans[distributed.rank()])):
            for name in wanted:
                roles.column(name, idle(batch))
        sharding.rest(roles.policy, roles.reference, roles.critic)
    return batch.with_columns(**{name: distributed.all_sum(column) for name, column in made.items()})


def means(sums: Sums) -> dict[str, float]:
    """The figures themselves, from their sums and counts."""
    return {name: float(mean.total / mean.count.clamp(min=1e-12)) for name, mean in sums.items()}
