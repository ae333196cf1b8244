"""Selecting rows of a batch; the table of algorithms."""

import pytest
import torch

from assent.algorithms import ALGORITHMS, load_algorithm
from assent.testing.algorithm import synthetic_batch


def test_pairs_follow_their_rows():
    batch = synthetic_batch()
    rows = torch.tensor([6, 9, 0, 2, 8])
    small = batch.select(rows)
    old = {tuple(p): float(w) for p, w in zip(batch.pairs.rows.tolist(), batch.pairs.weights, strict=True)}
    got = {
        (int(rows[a]), int(rows[b])): float(w) for (a, b), w in zip(small.pairs.rows, small.pairs.weights, strict=True)
    }
    assert got == {pair: w for pair, w in old.items() if set(pair) <= set(rows.tolist())}
    assert len(got) == 2
    width = int(batch.mask[rows].sum(1).max())
    assert torch.equal(small.tokens, batch.tokens[rows, :width])
    assert torch.equal(small["old_logprobs"], batch["old_logprobs"][rows, :width])
    assert torch.equal(small["scores"], batch["scores"][rows])
    ties = {tuple(p): bool(t) for p, t in zip(batch.pairs.rows.tolist(), batch.pairs.ties, strict=True)}
    assert [ties[int(rows[a]), int(rows[b])] for a, b in small.pairs.rows] == small.pairs.ties.tolist()


def test_the_width_is_that_of_the_longest_row():
    batch = synthetic_batch()
    assert batch.select(torch.tensor([1])).tokens.shape == (1, 3)


def test_a_column_that_is_not_there_is_named():
    batch = synthetic_batch()
    with pytest.raises(KeyError, match="no column 'teacher'"):
        batch["teacher"]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_names_agree(name: str):
    assert load_algorithm(name).name == name
