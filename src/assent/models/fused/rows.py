"""Right-padded rows as packed tokens, each shared prefix once, and the groups of rows that attention takes together.

The state of a causal model at a token is a function of the tokens up to it.  So rows that begin alike (the completions
of one prompt, chosen and rejected) share the packed tokens of what they have in common, and no padding is read at all:
only attention, whose cost is small, takes whole rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

SCORES = 1 << 21
"""Attention scores held at once: 8 MB, which stay in the cache."""
QUERIES = 256
"""Queries of one block of attention: keys behind the block's last query are not read."""


@dataclass(frozen=True)
class RowGroup:
    """Rows of similar length that attention takes together, padded to the longest."""

    count: int
    """b"""
    places: Tensor
    """[b T] the packed token at each place; padding points at a real token of its row, which nothing behind reads."""
    real: Tensor
    """[M] flat places of real tokens."""
    owned: Tensor
    """[m] flat places whose output is kept: each packed token has one such place over all groups."""


@dataclass(frozen=True)
class PackedRows:
    """N packed tokens of B rows."""

    tokens: Tensor
    """[N] token ids."""
    positions: Tensor
    """[N] place of each within its row."""
    places: Tensor
    """[B, T] the packed token at each place of the padded rows; padding points at the row's last token."""
    groups: Sequence[RowGroup]


def pack_rows(tokens: Tensor, mask: Tensor, heads: int) -> PackedRows:
    """Pack right-padded ``tokens`` [B, T], real where ``mask`` [B, T] is true, for attention of so many ``heads``."""
    ids, lengths = tokens.numpy(), mask.sum(1).numpy()
    order = sorted(range(len(ids)), key=lambda row: ids[row, : lengths[row]].tolist())
    places = np.zeros(ids.shape, dtype=np.int64)
    owned = np.zeros(ids.shape, dtype=bool)
    kept: list[np.ndarray] = []
    count, before = 0, -1
    for row in order:
        length = int(lengths[row])
        shared = _common(ids[before, : lengths[before]], ids[row, :length]) if before >= 0 else 0
        if shared:
            places[row, :shared] = places[before, :shared]
        places[row, shared:length] = np.arange(count, count + length - shared)
        places[row, length:] = places[row, max(0, length - 1)]
        owned[row, shared:length] = True
        kept.append(np.flatnonzero(owned[row]) + row * ids.shape[1])
        count, before = count + length - shared, row
    chosen = np.concatenate(kept) if kept else np.zeros(0, dtype=np.int64)
    return PackedRows(
        tokens=torch.from_numpy(ids.reshape(-1)[chosen]),
        positions=torch.from_numpy(chosen % max(1, ids.shape[1])),
        places=torch.from_numpy(places),
        groups=[_group(rows, places, owned, lengths) for rows in _alike(lengths, heads)],
    )


def _common(one: np.ndarray, other: np.ndarray) -> int:
    """Tokens that two rows have in common at their beginning."""
    width = min(len(one), len(other))
    differs = one[:width] != other[:width]
    return int(differs.argmax()) if differs.any() else width


def _alike(lengths: np.ndarray, heads: int) -> list[np.ndarray]:
    """Rows, shortest first, cut where padding or the scores of a group would grow too much."""
    order = np.argsort(lengths, kind="stable")
    groups: list[list[int]] = []
    for row in order:
        length = max(1, int(lengths[row]))
        if groups:
            first, count = int(lengths[groups[-1][0]]), len(groups[-1])
            fits = heads * (count + 1) * min(length, QUERIES) * length <= SCORES
            if fits and length <= first + max(16, first // 4):
                groups[-1].append(int(row))
                continue
        groups.append([int(row)])
    return [np.array(rows) for rows in groups]


def _group(rows: np.ndarray, places: np.ndarray, owned: np.ndarray, lengths: np.ndarray) -> RowGroup:
    width = max(1, int(lengths[rows].max()))
    real = np.arange(width) < lengths[rows][:, None]
    return RowGroup(
        count=len(rows),
        places=torch.from_numpy(places[rows, :width].reshape(-1)),
        real=torch.from_numpy(np.flatnonzero(real)),
        owned=torch.from_numpy(np.flatnonzero(owned[rows, :width])),
    )
