"""Planning of microbatches by token budget, and the order of an epoch; numbers only, no tensors.

The loop reduces by denominators over the whole optimiser batch, so a plan changes memory and speed, never a gradient.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def plan_microbatches(lengths: Sequence[int], groups: Sequence[int] | None, token_budget: int) -> list[list[int]]:
    """Split rows into microbatches whose padded size, rows x longest row, is at most ``token_budget`` tokens.

    ``lengths[i]`` is the tokens of row i; rows with the same ``groups[i]`` stay in one microbatch (``None``: each row
    is its own group).  A group over the budget by itself gets a microbatch of its own.  Returns indices of rows;
    together the microbatches hold each row once.  Shortest first, so that padding is little; the same input gives the
    same plan.  Raises ``ValueError`` when the arguments do not fit together.
    """
    if token_budget < 1:
        raise ValueError(f"token_budget must be at least 1, got {token_budget}")
    if groups is not None and len(groups) != len(lengths):
        raise ValueError(f"{len(lengths)} lengths but {len(groups)} groups")
    units: dict[int, list[int]] = {}
    for row, group in enumerate(range(len(lengths)) if groups is None else groups):
        units.setdefault(group, []).append(row)
    # Longest row, then first row: a total order, so that the plan does not hang on how groups are numbered.
    ordered = sorted(units.values(), key=lambda rows: (max(lengths[row] for row in rows), rows[0]))
    plan: list[list[int]] = []
    for rows in ordered:
        longest = max(lengths[row] for row in rows)
        if plan and (len(plan[-1]) + len(rows)) * longest <= token_budget:
            plan[-1].extend(rows)
        else:
            plan.append(list(rows))
    return plan


def epoch_order(n: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation of ``range(n)``, int64 ``[n]``, that depends on ``seed`` and ``epoch`` alone.

    Philox is counter-based (Salmon et al. 2011): the epoch enters through the key, so that a resumed run knows the
    order of epoch 7 without having drawn epochs 0 to 6.
    """
    key = np.array([seed % 2**64, epoch % 2**64], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).permutation(n)
