"""Planning of microbatches by token budget, and the order of an epoch; numbers only, no tensors.

The loop reduces by denominators over the whole optimiser batch, so a plan changes memory and speed, never a gradient.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LAUNCH_TOKENS = {"cpu": 256, "cuda": 2048}
"""What starting a microbatch costs, in tokens of work: found by timing small models on two cores, where a launch is
mostly Python; a GPU has done ten times as many tokens by then."""


def plan_microbatches(
    lengths: Sequence[int],
    groups: Sequence[int] | None,
    token_budget: int,
    device: str = "cpu",
    packed: bool = False,
) -> list[list[int]]:
    """Split rows into microbatches whose padded size, rows x longest row, is at most ``token_budget`` tokens.

    ``lengths[i]`` is the tokens of row i; rows with the same ``groups[i]`` stay in one microbatch (``None``: each row
    is its own group).  A group over the budget by itself gets a microbatch of its own.  Returns indices of rows;
    together the microbatches hold each row once.  Shortest first, cut where the padding saved is worth more than the
    launch of another microbatch on a ``device`` of this type; the same input gives the same plan.  ``packed``: rows are
    not padded, so it is the sum of their lengths that stays within the budget.  Raises ``ValueError`` where the
    arguments do not fit together.
    """
    if token_budget < 1:
        raise ValueError(f"token_budget must be at least 1, got {token_budget}")
    if groups is not None and len(groups) != len(lengths):
        raise ValueError(f"{len(lengths)} lengths but {len(groups)} groups")
    units: dict[int, list[int]] = {}
    for row, group in enumerate(range(len(lengths)) if groups is None else groups):
        units.setdefault(group, []).append(row)
    if packed:
        return _fill(list(units.values()), lengths, token_budget)
    # Longest row, then first row: a total order, so that the plan does not hang on how groups are numbered.
    longest = {rows[0]: max(lengths[row] for row in rows) for rows in units.values()}
    ordered = sorted(units.values(), key=lambda rows: (longest[rows[0]], rows[0]))
    launch = LAUNCH_TOKENS.get(device, LAUNCH_TOKENS["cpu"])
    width_of = _widths([longest[rows[0]] for rows in ordered], [len(rows) for rows in ordered], token_budget, launch)
    plan: list[list[int]] = []
    width = -1
    for rows in ordered:
        wanted = width_of[longest[rows[0]]]
        if wanted == width and (len(plan[-1]) + len(rows)) * longest[rows[0]] <= token_budget:
            plan[-1].extend(rows)
        else:
            plan.append(list(rows))
        width = wanted
    return [sorted(rows, key=lambda row: (lengths[row], row)) if groups is None else rows for rows in plan]


def _fill(units: Sequence[list[int]], lengths: Sequence[int], token_budget: int) -> list[list[int]]:
    """Groups of rows into as few microbatches as first-fit decreasing finds: at most 11/9 of the fewest, and one."""
    sizes = [sum(lengths[row] for row in rows) for rows in units]
    plan: list[list[int]] = []
    room: list[int] = []
    for unit in sorted(range(len(units)), key=lambda i: (-sizes[i], units[i][0])):
        place = next((i for i, left in enumerate(room) if sizes[unit] <= left), None)
        if place is None:
            plan.append(list(units[unit]))
            room.append(token_budget - sizes[unit])
        else:
            plan[place].extend(units[unit])
            room[place] -= sizes[unit]
    return plan


def _widths(longest: Sequence[int], sizes: Sequence[int], token_budget: int, launch: int) -> dict[int, int]:
    """For each distinct length (ascending in ``longest``), the width that it is padded to.

    Dynamic programming over the cuts between distinct lengths: least sum of padded tokens and launches.
    """
    rows_at: dict[int, int] = {}
    for length, size in zip(longest, sizes, strict=True):
        rows_at[length] = rows_at.get(length, 0) + size
    values = list(rows_at)
    best: list[tuple[float, int]] = [(0.0, 0)]  # cost of the first i lengths, and where their last segment starts
    for end, width in enumerate(values, start=1):
        rows, options = 0, []
        for start in range(end - 1, -1, -1):
            rows += rows_at[values[start]]
            padded = rows * width
            options.append((best[start][0] + padded + launch * -(-padded // token_budget), start))
        best.append(min(options))
    widths: dict[int, int] = {}
    end = len(values)
    while end:
        start = best[end][1]
        widths |= dict.fromkeys(values[start:end], values[end - 1])
        end = start
    return widths


def epoch_order(n: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation of ``range(n)``, int64 ``[n]``, that depends on ``seed`` and ``epoch`` alone.

    Philox is counter-based (Salmon et al. 2011): the epoch enters through the key, so that a resumed run knows the
    order of epoch 7 without having drawn epochs 0 to 6.
    """
    key = np.array([seed % 2**64, epoch % 2**64], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).permutation(n)
