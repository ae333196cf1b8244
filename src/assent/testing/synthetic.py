"""Batches and outputs for checks of algorithms, without a model.

The batches have groups of different sizes, rows of different lengths, a completion in two turns, pairs with ties,
margins and soft labels, and every column.  The outputs come from a toy policy: logits by the token before.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from assent.algorithms.batch import COLUMNS, Batch, Outputs, Pairs

_VOCABULARY = 7
_GROUP_SIZES = (3, 1, 4, 2)

Toy = dict[str, Tensor]


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
        "heads": torch.zeros(rows, dtype=torch.float64),
        "advantages": noise(rows, width),
        "returns": noise(rows, width),
        "mismatched": (torch.arange(rows) % 2).double(),
        "row_weights": torch.rand(rows, generator=draw, dtype=torch.float64),
        "kl_baseline": torch.full((rows,), 0.3, dtype=torch.float64),
        "uncertainty": noise(rows).abs(),
        "costs": noise(rows).sigmoid(),
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


def packed_forward(toy: Toy, batch: Batch, wanted: frozenset[str]) -> Outputs:
    """What a packed forward pass gives: the rows behind one another in one long row, and laid out to [B, T] again.

    It holds other numbers than :func:`toy_forward` where no loss may look: padding is zero, and a row's first token is
    told by the last token of the row before it.
    """
    real = batch.mask
    one = torch.ones(1, int(real.sum()), dtype=torch.bool)
    long = toy_forward(toy, replace(batch, tokens=batch.tokens[real][None], mask=one), wanted - {"scores"})

    def laid_out(value: Tensor) -> Tensor:
        return value.new_zeros(real.shape).masked_scatter(real, value[0])

    named = {name: laid_out(getattr(long, name)) for name in wanted - {"scores"}}
    if "scores" in wanted:
        named["scores"] = laid_out(toy["reward"][batch.tokens[real]][None]).sum(1, keepdim=True)
    return replace(long, **named)
