"""Where a step's time goes: seconds, tokens and floating-point operations of each phase.

A phase is timed where its work is done (``with phase("sampling")``: two clock readings, and on a GPU a wait for what
was begun); its work is counted once a step from the batches, by the formulas of :mod:`assent.models.cost`.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from assent.algorithms.batch import Batch
from assent.models.cost import Cost
from assent.models.scalar import Critic
from assent.runs.machine import Peak, cpu_name, read_peak
from assent.training.distributed import size
from assent.training.objective import Objective
from assent.training.roles import Roles

PHASES = ("sampling", "scoring", "columns", "gradient", "optimiser")
"""``columns``: log-probabilities of the reference and of the policy that sampled, and values, without gradient;
``gradient``: forward and backward."""

_seconds: dict[str, float] = {}
"""Since the last :func:`take_phases`; a process trains one run at a time."""


@dataclass(frozen=True)
class Phase:
    """One phase of one step."""

    seconds: float
    tokens: int = 0
    """Sampled; scored; or put through a trained model, each pass over a batch counted."""
    flops: float = 0.0
    """0 where the work is not counted."""


@contextmanager
def phase(name: str) -> Generator[None]:
    """Add the time of what is done within to the phase; also when it raises."""
    begun = time.perf_counter()
    try:
        yield
    finally:
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        _seconds[name] = _seconds.get(name, 0.0) + time.perf_counter() - begun


def forget_phases() -> None:
    """Begin anew: what a run that failed in mid-step has left is no time of the next one."""
    _seconds.clear()


def take_phases(
    roles: Roles, objectives: Sequence[Objective], batches: Sequence[Batch], updates: int
) -> dict[str, Phase]:
    """The phases since the last call, with the work that the step's ``batches`` took in ``updates`` of the weights."""
    work: dict[str, tuple[int, float]] = {}
    for objective, batch in zip(objectives, batches, strict=True):
        for name, (tokens, flops) in _work(roles, objective, batch, updates).items():
            before = work.get(name, (0, 0.0))
            work[name] = before[0] + tokens, before[1] + flops
    taken = {name: Phase(seconds, *work.get(name, (0, 0.0))) for name, seconds in _seconds.items()}
    _seconds.clear()
    return taken


def as_row(phases: Mapping[str, Phase], roles: Roles) -> dict[str, dict[str, float]]:
    """For the timing log: seconds, tokens, FLOPs and, where the machine was measured, the share of its peak."""
    device = roles.device
    peak = _peak(torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name())
    rate = None if peak is None else size() * (peak.bfloat16 if roles.bf16 else peak.float32)
    rows: dict[str, dict[str, float]] = {}
    for name, done in phases.items():
        row: dict[str, float] = {"seconds": round(done.seconds, 5)}
        if done.tokens:
            row["tokens"] = done.tokens
        if done.flops:
            row["flops"] = done.flops
            if rate and done.seconds:
                row["share"] = round(done.flops / done.seconds / rate, 4)
        rows[name] = row
    return rows


@cache
def _peak(name: str) -> Peak | None:
    return read_peak(name)


def _work(roles: Roles, objective: Objective, batch: Batch, updates: int) -> dict[str, tuple[int, float]]:
    """Phase -> tokens and FLOPs."""
    algorithm, lengths = objective.algorithm, batch.mask.sum(1).tolist()
    written = int(batch.completion_mask.sum())
    policy, critic, reward = _costs(roles)
    tokens, once = sum(lengths), policy.forward(lengths, written)
    found: dict[str, tuple[int, float]] = {}
    if "scores" in algorithm.needs:
        groups = int(batch.groups.max()) + 1 if batch.rows else 0
        prompts = (tokens - written) * groups / max(1, batch.rows)  # each is read once for all of its samples
        saved = 2.0 * policy.body * (tokens - written - prompts)
        found["sampling"] = written, once - saved
        found["scoring"] = tokens, 0.0
    columns = sum(once for name in ("ref_logprobs", "old_logprobs") if name in algorithm.needs)
    columns += critic.forward(lengths) if "values" in algorithm.needs else 0.0
    if columns:
        found["columns"] = tokens, columns
    wanted = algorithm.outputs
    trained = policy.step(lengths, written) if {"logprobs", "entropy"} & wanted else 0.0
    trained += reward.step(lengths) if "scores" in wanted else 0.0
    trained += critic.step(lengths) if "values" in wanted else 0.0
    passes = updates / objective.minibatches
    found["gradient"] = round(tokens * passes), trained * passes
    return found


_NOTHING = Cost(0, 0, 0, 0, False)


def _costs(roles: Roles) -> tuple[Cost, Cost, Cost]:
    """Of policy, critic (its own trunk) and reward model; kept with the roles."""
    kept: Any = roles.extra.get("costs")
    if kept is None:
        policy = roles.policy
        kept = (
            _NOTHING if policy is None else Cost.of(policy.model, policy.model.get_output_embeddings()),
            Cost.of(roles.critic.trunk) if isinstance(roles.critic, Critic) else _NOTHING,
            _NOTHING if roles.reward is None else Cost.of(roles.reward.trunk),
        )
        roles.extra["costs"] = kept
    return kept
