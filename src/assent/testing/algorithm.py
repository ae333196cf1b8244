"""A check for anyone's algorithm: :func:`check_algorithm` proves what the loop relies on, or says what is wrong.

.. code-block:: python

    def test_my_algorithm():
        check_algorithm(MY_ALGORITHM)
        check_algorithm(MY_ALGORITHM, MySettings(beta=0.5))

The batches are synthetic: groups of different sizes, rows of different lengths, a completion in two turns, ties, soft
labels, every column.  The outputs come from a toy policy (logits by the token before), or are leaf tensors.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from assent.algorithms.base import Algorithm, Loss, Mean, Part
from assent.algorithms.batch import COLUMNS, Batch, Outputs, Pairs
from assent.training.reduce import reduce_loss

_VOCABULARY = 7
_GROUP_SIZES = (3, 1, 4, 2)
_DATA = frozenset({"text", "demonstrations", "comparisons", "judgements", "rollouts"})
_EXACT = 1e-9
_TOKEN_COLUMNS = ("ref_logprobs", "old_logprobs", "values", "advantages", "returns")

Toy = dict[str, Tensor]


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
        if finite_differences and seed == 0:
            _check_finite_differences(algorithm, settings, prepared, seed)
        _check_dtypes(algorithm, settings, batch, seed)
        _check_extremes(algorithm, settings, prepared)


def synthetic_batch(seed: int = 0) -> Batch:
    """Ten rows in four groups, in float64, with every column of :data:`assent.algorithms.base.COLUMNS`."""
    draw = torch.Generator().manual_seed(seed)
    rows, width = sum(_GROUP_SIZES), 12
    lengths = torch.randint(5, width + 1, (rows,), generator=draw)
    lengths[0], lengths[1] = width, 3
    starts = torch.minimum(torch.randint(1, 5, (rows,), generator=draw), lengths - 1)
    place = torch.arange(width)[None, :]
    mask = place < lengths[:, None]
    completion = mask & (place >= starts[:, None])
    completion[0, 6] = False  # a conversation: the policy wrote the tokens on both sides, and not this one
    groups = torch.repeat_interleave(torch.arange(len(_GROUP_SIZES)) * 5 + 2, torch.tensor(_GROUP_SIZES))
    batch = Batch(
        tokens=torch.randint(0, _VOCABULARY, (rows, width), generator=draw),
        mask=mask,
        completion_mask=completion,
        groups=groups,
        pairs=_pairs(draw),
    )
    outputs = toy_forward(toy_policy(seed), batch, frozenset({"logprobs", "values"}))

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    old = outputs.logprobs + 0.3 * noise(rows, width)
    columns = {
        "ref_logprobs": old + 0.5 * noise(rows, width),
        "old_logprobs": old,
        "values": outputs.values + 0.3 * noise(rows, width),
        "scores": noise(rows),
        "ended": (noise(rows) > -0.5).double(),
        "labels": torch.randint(0, 3, (rows,), generator=draw).double() / 2,
        "advantages": noise(rows, width),
        "returns": noise(rows, width),
        "mismatched": (torch.arange(rows) % 2).double(),
        "row_weights": torch.rand(rows, generator=draw, dtype=torch.float64),
    }
    assert set(columns) == set(COLUMNS), f"no synthetic column for {set(COLUMNS) - set(columns)}"
    real = {name: value * completion if value.dim() == 2 else value for name, value in columns.items()}
    return batch.with_columns(**{name: value.detach() for name, value in real.items()})


def _pairs(draw: torch.Generator) -> Pairs:
    """All pairs of each group in a random direction, weighing 1 / C(K, 2), every third one a tie."""
    rows: list[tuple[int, int]] = []
    weights: list[float] = []
    start = 0
    for size in _GROUP_SIZES:
        for a in range(start, start + size):
            for b in range(a + 1, start + size):
                swap = bool(torch.rand((), generator=draw) < 0.5)
                rows.append((b, a) if swap else (a, b))
                weights.append(1 / math.comb(size, 2))
        start += size
    places = torch.arange(len(rows))
    ties = places % 3 == 2
    return Pairs(
        rows=torch.tensor(rows),
        weights=torch.tensor(weights, dtype=torch.float64),
        ties=ties,
        margins=(1.0 + places % 2).double() * ~ties,
        confidence=(1.0 - 0.1 * (places % 4)).double(),
        heads=torch.zeros_like(places),
    )


def toy_policy(seed: int, dtype: torch.dtype = torch.float64) -> Toy:
    """Parameters of the toy: logits and value by the token before, reward by the token."""
    draw = torch.Generator().manual_seed(1000 + seed)
    shapes = {"logits": (_VOCABULARY, _VOCABULARY), "value": (_VOCABULARY,), "reward": (_VOCABULARY,)}
    made = {name: torch.randn(*shape, generator=draw, dtype=torch.float64) for name, shape in shapes.items()}
    return {name: value.to(dtype).requires_grad_() for name, value in made.items()}


def toy_forward(toy: Toy, batch: Batch, wanted: frozenset[str]) -> Outputs:
    """Outputs of the toy.  Masked positions hold numbers like any other: to leave them out is the algorithm's part."""
    before = batch.tokens[:, :-1]
    log_p = torch.log_softmax(toy["logits"], -1)[before]
    first = torch.full_like(batch.tokens[:, :1], -1.5, dtype=log_p.dtype)
    none = torch.zeros(0, dtype=log_p.dtype)
    entropy = torch.cat([-first, -(log_p.exp() * log_p).sum(-1)], 1)
    chosen = torch.cat([first, log_p.gather(2, batch.tokens[:, 1:, None])[..., 0]], 1)
    values = torch.cat([first, toy["value"][before]], 1)
    return Outputs(
        logprobs=chosen if "logprobs" in wanted else none,
        entropy=entropy if "entropy" in wanted else none,
        values=values if "values" in wanted else none,
        scores=(toy["reward"][batch.tokens] * batch.mask).sum(1, keepdim=True) if "scores" in wanted else none,
    )


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
    for rows in _partitions(batch)[1:]:
        micro = [algorithm.weights(batch.select(r), settings) for r in rows]
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
    for count, rows in enumerate(_partitions(batch)[1:]):
        kind = ("two microbatches", "one microbatch per group")[count]
        _same(algorithm, whole, _run(algorithm, settings, batch, toy, rows), f"with {kind}")
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
        old = {n: torch.full_like(batch[n], -300.0 - logprob) for n in _TOKEN_COLUMNS[:2] if n in batch.columns}
        leaves, outputs = _leaves(algorithm, batch, 0, torch.float32)
        if "logprobs" in leaves:
            leaves["logprobs"] = torch.full(batch.tokens.shape, logprob, requires_grad=True)
            outputs = replace(outputs, logprobs=leaves["logprobs"])
        moved = batch.with_columns(**old)
        _finite(algorithm, _reduced(algorithm, settings, moved, outputs), leaves, "far from the old policy")


def _needed(algorithm: Algorithm, batch: Batch) -> Batch:
    """The batch with the columns that the algorithm asked for, and no other."""
    return replace(batch, columns={name: v for name, v in batch.columns.items() if name in algorithm.needs})


def _partitions(batch: Batch) -> list[list[Tensor]]:
    """Whole; two microbatches; one per group.  Groups are never split."""
    by_group = [(batch.groups == g).nonzero()[:, 0] for g in batch.groups.unique()]
    halves = [torch.cat(by_group[1::2]), torch.cat(by_group[::2])]
    return [[torch.arange(batch.rows)], halves, by_group]


def _run(
    algorithm: Algorithm, settings: Any, batch: Batch, toy: Toy, partition: Sequence[Tensor] | None = None
) -> _Result:
    """One optimiser batch as the loop does it: prepare the whole, then microbatches of the ``partition``."""
    for value in toy.values():
        value.grad = None
    prepared, _, made = algorithm.prepare(_needed(algorithm, batch), settings, algorithm.initial_state(settings))
    counts = _counts(algorithm.weights(prepared, settings))
    total, sums = 0.0, dict[str, Mean]()
    for rows in partition or [None]:
        micro = prepared if rows is None else prepared.select(rows)
        loss = algorithm.loss(toy_forward(toy, micro, algorithm.outputs), micro, settings)
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
