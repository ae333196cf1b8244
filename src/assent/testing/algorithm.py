"""A check for anyone's algorithm: :func:`check_algorithm` proves what the loop relies on, or says what is wrong.

.. code-block:: python

    def test_my_algorithm():
        check_algorithm(MY_ALGORITHM)
        check_algorithm(MY_ALGORITHM, MySettings(beta=0.5))

The batches and the toy policy that gives the outputs are those of :mod:`assent.testing.synthetic`; where gradients are
looked at one by one, the outputs are leaf tensors.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from assent.algorithms.base import Algorithm, Loss, Mean, Part
from assent.algorithms.batch import COLUMNS, Batch, Outputs
from assent.testing.synthetic import Toy, packed_forward, synthetic_batch, toy_forward, toy_policy
from assent.training.reduce import reduce_loss

__all__ = ["check_algorithm", "synthetic_batch", "toy_forward", "toy_policy"]

_DATA = frozenset({"text", "demonstrations", "comparisons", "judgements", "rollouts"})
_EXACT = 1e-9
_POLICY_COLUMNS = ("ref_logprobs", "old_logprobs")

Forward = Callable[[Toy, Batch, frozenset[str]], Outputs]


@dataclass(frozen=True)
class _Result:
    """What one optimiser batch gave: the reduced loss, the gradient by parameter, the figures."""

    total: float
    gradients: Mapping[str, Tensor]
    figures: Mapping[str, float]


def check_algorithm(algorithm: Algorithm, settings: Any = None, *, finite_differences: bool = True) -> None:
    """Raise ``AssertionError``, in a sentence, if ``algorithm`` breaks the contract of :mod:`assent.algorithms.base`.

    ``settings`` default to ``algorithm.Settings()``.  ``finite_differences=False`` is for losses that stop gradients on
    purpose (a detached importance weight), whose gradient is not the derivative of their value.
    """
    settings = algorithm.Settings() if settings is None else settings
    for seed in (0, 1):
        batch = synthetic_batch(seed)
        _check_declaration(algorithm)
        prepared = _check_prepare(algorithm, settings, batch)
        _check_weights(algorithm, settings, prepared, seed)
        _check_invariance(algorithm, settings, batch, seed)
        _check_masked(algorithm, settings, prepared, seed)
        _check_packing(algorithm, settings, batch, seed)
        if finite_differences and seed == 0:
            _check_finite_differences(algorithm, settings, prepared, seed)
        _check_dtypes(algorithm, settings, batch, seed)
        _check_extremes(algorithm, settings, prepared)


def _check_declaration(algorithm: Algorithm) -> None:
    for field, named, known in (
        ("data", algorithm.data, _DATA),
        ("needs", algorithm.needs, frozenset(COLUMNS)),
        ("outputs", algorithm.outputs, frozenset(f.name for f in fields(Outputs))),
    ):
        _true(algorithm, named <= known, f"`{field}` names {sorted(named - known)}, which is not of {sorted(known)}")
    _true(algorithm, bool(algorithm.outputs), "`outputs` is empty: a loss without outputs has no gradient")


def _check_prepare(algorithm: Algorithm, settings: Any, batch: Batch) -> Batch:
    """``prepare`` reads the columns that it needs, changes nothing in place, and returns plain state and figures."""
    given = _needed(algorithm, batch)
    before = {name: value.clone() for name, value in given.columns.items()}
    state = algorithm.initial_state(settings)
    kept = copy.deepcopy(state)
    prepared, after, figures = algorithm.prepare(given, settings, state)
    for name, value in before.items():
        _true(algorithm, torch.equal(value, given.columns[name]), f"prepare changes the column '{name}' in place")
    _true(algorithm, dict(state) == dict(kept), "prepare changes its state in place; it must return a new one")
    try:
        json.dumps(dict(after))
    except TypeError as error:
        raise AssertionError(f"{algorithm.name}: prepare's state is not plain data: {error}") from None
    for name, value in figures.items():
        fine = isinstance(value, float) and math.isfinite(value)
        _true(algorithm, fine, f"prepare's figure '{name}' is {value!r}, not a finite float")
    return prepared


def _check_weights(algorithm: Algorithm, settings: Any, batch: Batch, seed: int) -> None:
    """Weights belong to the terms, hang on the batch alone, and their counts add up over microbatches."""
    toy = toy_policy(seed)
    parts = algorithm.weights(batch, settings)
    loss = algorithm.loss(toy_forward(toy, batch, algorithm.outputs), batch, settings)
    _true(algorithm, set(parts) == set(loss.terms), f"parts {sorted(parts)} but terms {sorted(loss.terms)}")
    strange = sorted(set(loss.coefficients) - set(loss.terms))
    _true(algorithm, not strange, f"coefficients {strange} belong to no term")
    for name, part in parts.items():
        shape = tuple(loss.terms[name].shape)
        given = tuple(part.weights.shape)
        _true(algorithm, given == shape, f"the weights of '{name}' are of shape {given}, its terms of shape {shape}")
        wide = part.weights.dtype in (torch.float32, torch.float64)  # products with bfloat16 terms are then float32
        _true(algorithm, wide, f"the weights of '{name}' are in {part.weights.dtype}, not in float32")
        _true(algorithm, part.count.dim() == 0, f"the count of '{name}' is not a scalar")
        _true(algorithm, not part.weights.requires_grad, f"the weights of '{name}' carry a gradient")
    for name, mean in loss.metrics.items():
        _true(algorithm, not mean.total.requires_grad, f"the metric '{name}' carries a gradient: detach it")
        fine = bool(torch.isfinite(mean.total)) and bool(torch.isfinite(mean.count))
        _true(algorithm, fine, f"the metric '{name}' is {float(mean.total)} over {float(mean.count)}")
    algorithm.loss(toy_forward(toy_policy(seed + 7), batch, algorithm.outputs), batch, settings)
    for name, part in algorithm.weights(batch, settings).items():
        same = torch.equal(part.weights, parts[name].weights) and torch.equal(part.count, parts[name].count)
        _true(algorithm, same, f"the weights of '{name}' hang on something besides the batch")
    for split in (_halves, _by_group):
        micro = [algorithm.weights(batch.select(rows), settings) for rows in split(batch)]
        for name, part in parts.items():
            total = sum(float(m[name].count) for m in micro)
            _near(algorithm, total, float(part.count), f"the counts of '{name}' do not add up over microbatches")


def _check_invariance(algorithm: Algorithm, settings: Any, batch: Batch, seed: int) -> None:
    """Microbatches, padding and the order of rows change neither loss nor gradient nor figures."""
    toy = toy_policy(seed)
    whole = _run(algorithm, settings, batch, toy)
    _true(
        algorithm,
        any(bool(g.any()) for g in whole.gradients.values()),
        "the gradient is zero: the loss does not reach the outputs it names",
    )
    for split, kind in ((_halves, "two microbatches"), (_by_group, "one microbatch per group")):
        _same(algorithm, whole, _run(algorithm, settings, batch, toy, split), f"with {kind}")
    for garbage in (0.0, 3.0):
        _same(algorithm, whole, _run(algorithm, settings, _padded(batch, 3, garbage), toy), "with the padding")
    order = torch.randperm(batch.rows, generator=torch.Generator().manual_seed(seed))
    _same(algorithm, whole, _run(algorithm, settings, batch.select(order), toy), "with the order of the rows")


def _check_masked(algorithm: Algorithm, settings: Any, batch: Batch, seed: int) -> None:
    """Positions outside the completion get exactly no gradient; so do rows in no pair, where the loss is of pairs."""
    leaves, outputs = _leaves(algorithm, batch, seed)
    _reduced(algorithm, settings, batch, outputs).backward()
    for name, leaf in leaves.items():
        if leaf.grad is None or name == "scores":
            continue
        leaked = float(leaf.grad[~batch.completion_mask].abs().max())
        _true(algorithm, leaked == 0.0, f"masked positions of '{name}' get gradient (up to {leaked:.3g})")


def _check_packing(algorithm: Algorithm, settings: Any, batch: Batch, seed: int) -> None:
    """A packed forward pass, of the whole or of two microbatches, changes neither loss nor gradient nor figures."""
    toy = toy_policy(seed)
    whole = _run(algorithm, settings, batch, toy)
    for split in (None, _halves):
        _same(algorithm, whole, _run(algorithm, settings, batch, toy, split, packed_forward), "with packing")


def _check_finite_differences(algorithm: Algorithm, settings: Any, batch: Batch, seed: int) -> None:
    leaves, outputs = _leaves(algorithm, batch, seed)
    _reduced(algorithm, settings, batch, outputs).backward()
    step = 1e-6
    for name, leaf in leaves.items():
        gradient = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
        flat = leaf.detach().reshape(-1)
        for i in range(flat.numel()):
            ends: list[float] = []
            for shift in (step, -step):
                moved = flat.clone()
                moved[i] += shift
                changed = replace(outputs, **{name: moved.reshape(leaf.shape)})
                ends.append(_reduced(algorithm, settings, batch, changed).item())
            slope, given = (ends[0] - ends[1]) / (2 * step), float(gradient.reshape(-1)[i])
            _true(
                algorithm,
                abs(slope - given) <= 1e-6 + 1e-4 * abs(slope),
                f"the gradient of '{name}' at entry {i} is {given:.8g}, but finite differences give {slope:.8g}",
            )


def _check_dtypes(algorithm: Algorithm, settings: Any, batch: Batch, seed: int) -> None:
    double = _run(algorithm, settings, batch, toy_policy(seed))
    single = _run(algorithm, settings, _cast(batch, torch.float32), toy_policy(seed, torch.float32))
    scale = max(float(g.abs().max()) for g in double.gradients.values())
    _near(algorithm, single.total, double.total, "float32 and float64 disagree on the loss", 2e-5)
    for name, gradient in double.gradients.items():
        gap = float((single.gradients[name].double() - gradient).abs().max())
        _true(algorithm, gap <= 1e-4 * scale, f"float32 and float64 disagree on the gradient of {name} by {gap:.3g}")
    half = _cast(batch, torch.float32)
    prepared, _, _ = algorithm.prepare(_needed(algorithm, half), settings, algorithm.initial_state(settings))
    leaves, outputs = _leaves(algorithm, prepared, seed, torch.bfloat16)
    total = _reduced(algorithm, settings, prepared, outputs)
    _finite(algorithm, total, leaves, "with bfloat16 outputs")


def _check_extremes(algorithm: Algorithm, settings: Any, batch: Batch) -> None:
    """A policy that moved far from the old one: ratios must be clamped in log space, before exp."""
    batch = _cast(batch, torch.float32)
    for logprob in (-0.001, -300.0):
        old = {n: torch.full_like(batch[n], -300.0 - logprob) for n in _POLICY_COLUMNS if n in batch.columns}
        leaves, outputs = _leaves(algorithm, batch, 0, torch.float32)
        if "logprobs" in leaves:
            leaves["logprobs"] = torch.full(batch.tokens.shape, logprob, requires_grad=True)
            outputs = replace(outputs, logprobs=leaves["logprobs"])
        moved = batch.with_columns(**old)
        _finite(algorithm, _reduced(algorithm, settings, moved, outputs), leaves, "far from the old policy")


def _needed(algorithm: Algorithm, batch: Batch) -> Batch:
    """The batch with the columns that the algorithm asked for, and no other."""
    return replace(batch, columns={name: v for name, v in batch.columns.items() if name in algorithm.needs})


def _by_group(batch: Batch) -> list[Tensor]:
    return [(batch.groups == group).nonzero()[:, 0] for group in batch.groups.unique()]


def _halves(batch: Batch) -> list[Tensor]:
    """Every other group; one half where there is but one."""
    groups = _by_group(batch)
    return [torch.cat(half) for half in (groups[1::2], groups[::2]) if half]


def _run(
    algorithm: Algorithm,
    settings: Any,
    batch: Batch,
    toy: Toy,
    split: Callable[[Batch], list[Tensor]] | None = None,
    forward: Forward = toy_forward,
) -> _Result:
    """One optimiser batch as the loop does it: prepare the whole, then ``split`` what that returned (which may be fewer
    rows, or others) into microbatches of whole groups; ``None`` leaves it whole, with its padding."""
    for value in toy.values():
        value.grad = None
    prepared, _, made = algorithm.prepare(_needed(algorithm, batch), settings, algorithm.initial_state(settings))
    counts = _counts(algorithm.weights(prepared, settings))
    total, sums = 0.0, dict[str, Mean]()
    for micro in [prepared] if split is None else [prepared.select(rows) for rows in split(prepared)]:
        loss = algorithm.loss(forward(toy, micro, algorithm.outputs), micro, settings)
        part = reduce_loss(loss.terms, loss.coefficients, algorithm.weights(micro, settings), counts)
        _true(algorithm, part.requires_grad, "the loss has no gradient: a term was detached")
        part.backward()
        total += float(part.detach())
        sums = _added(sums, loss)
    figures = {**made, **{name: float(m.total / m.count) for name, m in sums.items() if float(m.count)}}
    gradients = {n: torch.zeros_like(v) if v.grad is None else v.grad.clone() for n, v in toy.items()}
    return _Result(total, gradients, figures)


def _added(sums: dict[str, Mean], loss: Loss) -> dict[str, Mean]:
    none = Mean(torch.zeros(()), torch.zeros(()))
    before: Callable[[str], Mean] = lambda name: sums.get(name, none)  # noqa: E731
    return {n: Mean(before(n).total + m.total, before(n).count + m.count) for n, m in loss.metrics.items()}


def _counts(parts: Mapping[str, Part]) -> dict[str, Tensor]:
    return {name: part.count for name, part in parts.items()}


def _reduced(algorithm: Algorithm, settings: Any, batch: Batch, outputs: Outputs) -> Tensor:
    parts = algorithm.weights(batch, settings)
    loss = algorithm.loss(outputs, batch, settings)
    return reduce_loss(loss.terms, loss.coefficients, parts, _counts(parts))


def _leaves(
    algorithm: Algorithm, batch: Batch, seed: int, dtype: torch.dtype = torch.float64
) -> tuple[dict[str, Tensor], Outputs]:
    """The toy's outputs as leaf tensors."""
    outputs = toy_forward(toy_policy(seed), batch, algorithm.outputs)
    leaves = {name: getattr(outputs, name).detach().to(dtype).requires_grad_() for name in sorted(algorithm.outputs)}
    return leaves, replace(outputs, **leaves)


def _padded(batch: Batch, extra: int, garbage: float) -> Batch:
    """The batch with ``extra`` columns of padding, that hold ``garbage``, other numbers in each tensor."""

    def wider(value: Tensor, factor: int = 1) -> Tensor:
        fill = 0 if value.dtype == torch.bool else garbage * factor
        return torch.nn.functional.pad(value, (0, extra), value=fill) if value.dim() == 2 else value

    columns = {name: wider(value, 2 + i) for i, (name, value) in enumerate(batch.columns.items())}
    return replace(
        batch,
        tokens=wider(batch.tokens),
        mask=wider(batch.mask),
        completion_mask=wider(batch.completion_mask),
        columns=columns,
    )


def _cast(batch: Batch, dtype: torch.dtype) -> Batch:
    columns = {name: value.to(dtype) for name, value in batch.columns.items()}
    return replace(batch, pairs=batch.pairs.to(dtype), columns=columns)


def _same(algorithm: Algorithm, one: _Result, other: _Result, what: str) -> None:
    _near(algorithm, other.total, one.total, f"the loss changes {what}")
    for name, gradient in one.gradients.items():
        gap = float((other.gradients[name] - gradient).abs().max())
        _true(algorithm, gap <= _EXACT, f"the gradient (of the toy's {name}) changes {what}, by {gap:.3g}")
    for name, value in one.figures.items():
        _near(algorithm, other.figures[name], value, f"the figure '{name}' changes {what}")


def _finite(algorithm: Algorithm, total: Tensor, leaves: Toy, what: str) -> None:
    _true(algorithm, bool(torch.isfinite(total)), f"the loss is {total.item()} {what}")
    total.backward()
    for name, leaf in leaves.items():
        fine = leaf.grad is None or bool(torch.isfinite(leaf.grad).all())
        _true(algorithm, fine, f"the gradient of '{name}' is not finite {what}")


def _near(algorithm: Algorithm, value: float, expected: float, message: str, tolerance: float = _EXACT) -> None:
    # `not <=` and no `>`, so that NaN fails
    near = abs(value - expected) <= tolerance * max(1.0, abs(expected))
    _true(algorithm, near, f"{message}: {value:.12g} instead of {expected:.12g}")


def _true(algorithm: Algorithm, condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(f"{algorithm.name}: {message}")
