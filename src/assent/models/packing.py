"""Rows of a batch laid behind one another in one sequence, instead of each padded to the longest.

Position ids start again with each row.  transformers takes that as the sign of a packed sequence and lets no row attend
to another, where it gets neither an attention mask nor a cache (``find_packed_sequence_indices`` of its masking_utils).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from assent.errors import ModelError
from assent.models.fused import fused_states
from assent.models.seq2seq import EncoderDecoder


class Packed(NamedTuple):
    """N real tokens of B rows in one sequence."""

    tokens: Tensor
    """[1, N] token ids."""
    positions: Tensor
    """[1, N] place of each within its row."""


def pack(tokens: Tensor, mask: Tensor) -> Packed:
    """The real tokens of right-padded rows [B, T], row behind row."""
    places = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
    return Packed(tokens[mask][None], places[mask][None])


def unpack(states: Tensor, mask: Tensor) -> Tensor:
    """States [1, N, D] of packed tokens as [B, T, D] where ``mask`` [B, T] was; zero on the padding."""
    out = states.new_zeros(*mask.shape, states.shape[-1])
    return out.index_put((mask,), states[0])


@torch.no_grad()
def check_packing(trunk: nn.Module) -> None:
    """Raise :class:`ModelError` where rows laid behind one another see each other: found by trying it."""
    problem = "has an encoder" if isinstance(trunk, EncoderDecoder) else None
    if problem is None:
        tokens = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 0]], device=next(trunk.parameters()).device)
        mask = tokens > 0
        apart, packed = (causal_states(trunk, tokens, mask, packing)[mask] for packing in (False, True))
        if not torch.allclose(packed, apart, rtol=1e-3, atol=1e-3 * float(apart.abs().max())):
            problem = f"({type(trunk).__name__}) does not keep rows apart by their position ids"
    if problem:
        raise ModelError(f"packing: this model {problem}; leave packing out")


def causal_states(trunk: nn.Module, tokens: Tensor, mask: Tensor, packing: bool) -> Tensor:
    """Last hidden states [B, T, D] of right-padded tokens [B, T] by a causal trunk, packed for it or as they are."""
    fused = fused_states(trunk, tokens, mask)
    if fused is not None:
        return fused
    if not packing or len(tokens) == 1:
        return trunk(input_ids=tokens, use_cache=False).last_hidden_state
    packed = pack(tokens, mask)
    states = trunk(input_ids=packed.tokens, position_ids=packed.positions, use_cache=False).last_hidden_state
    return unpack(states, mask)
