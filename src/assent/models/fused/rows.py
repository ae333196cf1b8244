"""Right-padded rows as packed tokens, each shared prefix once.

The state of a causal model at a token is a function of the tokens up to it.  So rows that begin alike (the completions
of one prompt, chosen and rejected) share the packed tokens of what they have in common, and no padding is read at all:
only attention reads the keys of whole rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

SHARED = 8
"""Tokens that rows must have in common at least to share them: a BOS that all have would make all rows one cluster."""


@dataclass(frozen=True)
class PackedRows:
    """N packed tokens of B rows."""

    tokens: Tensor
    """[N] token ids."""
    positions: Tensor
    """[N] place of each within its row."""
    places: Tensor
    """[B, T] the packed token at each place of the padded rows; padding points at the row's last token."""
    paths: Tensor
    """The packed token at each place of each row; rows stand behind one another, sorted, so that like ones meet."""
    starts: Tensor
    """[B + 1] where each row begins in ``paths``."""
    shared: Tensor
    """[B] places at the beginning of each row that a row before it owns; it owns the others, in the packed order."""
    clusters: Tensor
    """[C + 1] the first row of each run of rows that share tokens; a cluster's packed tokens are contiguous."""


def pack_rows(tokens: Tensor, mask: Tensor) -> PackedRows:
    """Pack right-padded ``tokens`` [B, T], real where ``mask`` [B, T] is true."""
    ids, lengths = tokens.numpy(), mask.sum(1).numpy()
    order = sorted(range(len(ids)), key=lambda row: ids[row, : lengths[row]].tolist())
    places = np.zeros(ids.shape, dtype=np.int64)
    kept: list[np.ndarray] = []
    shares: list[int] = []
    count, before = 0, -1
    for row in order:
        length = int(lengths[row])
        shared = _common(ids[before, : lengths[before]], ids[row, :length]) if before >= 0 else 0
        shared = shared if shared >= SHARED else 0
        if shared:
            places[row, :shared] = places[before, :shared]
        places[row, shared:length] = np.arange(count, count + length - shared)
        places[row, length:] = places[row, max(0, length - 1)]
        kept.append(np.arange(shared, length) + row * ids.shape[1])
        shares.append(shared)
        count, before = count + length - shared, row
    chosen = np.concatenate(kept)
    paths = [places[row, : lengths[row]] for row in order]
    return PackedRows(
        tokens=torch.from_numpy(ids.reshape(-1)[chosen]),
        positions=torch.from_numpy(chosen % max(1, ids.shape[1])),
        places=torch.from_numpy(places),
        paths=torch.from_numpy(np.concatenate(paths)),
        starts=torch.from_numpy(np.cumsum([0, *map(len, paths)])),
        shared=torch.tensor(shares),
        clusters=torch.tensor([*(row for row, shared in enumerate(shares) if shared == 0), len(order)]),
    )


def _common(one: np.ndarray, other: np.ndarray) -> int:
    """Tokens that two rows have in common at their beginning."""
    width = min(len(one), len(other))
    differs = one[:width] != other[:width]
    return int(differs.argmax()) if differs.any() else width
