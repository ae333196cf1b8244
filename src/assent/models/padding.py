"""Rows of different lengths as one tensor."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def pad_right(rows: Sequence[Sequence[int]], pad: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Rows of token ids as tokens [B, T] int64, ``pad`` behind the shorter ones, and a mask [B, T] of the real ones."""
    width = max((len(row) for row in rows), default=0)
    tokens = torch.full((len(rows), width), pad, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.bool)
    for place, row in enumerate(rows):
        tokens[place, : len(row)] = torch.as_tensor(row, dtype=torch.long)
        mask[place, : len(row)] = True
    return tokens.to(device), mask.to(device)
