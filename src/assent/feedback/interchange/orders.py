"""Responses from one order of a question's answers into another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard

from assent.feedback.answers import StoredAnswer
from assent.feedback.responses import in_store_order


def put_in_order(answer: StoredAnswer, order: Sequence[int]) -> Any:
    """What an answer says, as positions of ``order``."""
    return reordered(answer.response, answer.order, order)


def reordered(response: Any, seen: Sequence[int], order: Sequence[int]) -> Any:
    """A response in positions of ``seen`` as one in positions of ``order``; both are indices into the question's."""
    inverse = [0] * len(order)
    for position, index in enumerate(order):
        inverse[index] = position
    # in_store_order undoes an order; undoing the inverse applies it.
    return in_store_order(in_store_order(response, seen), inverse)


def is_order(value: Any, count: int) -> TypeGuard[list[int]]:
    """Whether ``value`` has each of 0 to ``count - 1`` once."""
    return isinstance(value, list) and all(type(i) is int for i in value) and sorted(value) == list(range(count))
