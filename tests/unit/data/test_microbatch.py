"""Plans and orders by hand; their laws are in the property tests."""

import numpy as np
import pytest

from assent.data.microbatch import epoch_order, plan_microbatches


def test_a_plan_by_hand():
    assert plan_microbatches([5, 1, 4, 2, 3], None, 8) == [[1, 3], [4, 2], [0]]
    assert plan_microbatches([5, 1, 4, 2, 3], None, 10) == [[1, 3, 4], [2, 0]]
    assert plan_microbatches([], None, 10) == []


def test_groups_stay_whole_even_over_the_budget():
    assert plan_microbatches([3, 1, 3, 1, 9, 9], [7, 8, 7, 8, 9, 9], 12) == [[1, 3, 0, 2], [4, 5]]


def test_packed_rows_fill_the_budget_by_their_sum():
    assert plan_microbatches([5, 1, 6, 3], None, 10, packed=True) == [[2, 3, 1], [0]]
    assert plan_microbatches([5, 1, 6, 3], [0, 1, 1, 0], 10, packed=True) == [[0, 3], [1, 2]]
    assert plan_microbatches([5, 30, 4], None, 10, packed=True) == [[1], [0, 2]]
    assert plan_microbatches([5, 1, 6, 3], None, 100, packed=True) == [[2, 0, 3, 1]]
    # padded to the longest, the same rows would not go together
    assert plan_microbatches([5, 1, 6, 3], None, 15, packed=True) == [[2, 0, 3, 1]]


def test_arguments_that_do_not_fit():
    with pytest.raises(ValueError, match="token_budget"):
        plan_microbatches([1], None, 0)
    with pytest.raises(ValueError, match="2 lengths but 1 groups"):
        plan_microbatches([1, 2], [0], 5)


def test_an_epoch_is_known_without_those_before_it_and_stays_what_it_is():
    assert epoch_order(8, seed=3, epoch=2).tolist() == epoch_order(8, seed=3, epoch=2).tolist()
    orders = {tuple(epoch_order(50, seed, epoch).tolist()) for seed in range(4) for epoch in range(4)}
    assert len(orders) == 16
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert epoch_order(5, -1, 0).dtype == np.int64
    # A run resumed with another version of the code must see the same order.
    assert epoch_order(8, seed=0, epoch=0).tolist() == [5, 0, 6, 1, 7, 2, 4, 3]
