"""Rows of different lengths as one tensor."""

import torch

from assent.models.padding import pad_right


def test_rows_are_filled_up_on_the_right_and_the_mask_is_of_their_own_tokens():
    tokens, mask = pad_right([[5, 0, 7], (8,), []], 9)
    assert tokens.tolist() == [[5, 0, 7], [8, 9, 9], [9, 9, 9]]
    assert mask.tolist() == [[True] * 3, [True, False, False], [False] * 3]
    assert (tokens.dtype, mask.dtype) == (torch.int64, torch.bool)
    assert pad_right([], 0)[0].shape == (0, 0)
