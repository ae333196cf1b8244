"""A state as a few flat tensors: it comes back as it was, whatever is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from assent.testing.tiny import tiny_causal
from assent.training.flat import Flattener, unflattened

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool]


def same(one: Any, two: Any) -> bool:
    if isinstance(one, Tensor):
        alike = isinstance(two, Tensor) and one.dtype == two.dtype and one.shape == two.shape
        laid_alike = (one.is_contiguous() and two.is_contiguous()) or one.stride() == two.stride()
        return alike and laid_alike and torch.equal(one, two)
    if isinstance(one, dict):
        return isinstance(two, dict) and list(one) == list(two) and all(same(one[key], two[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return type(one) is type(two) and len(one) == len(two) and all(map(same, one, two))
    return type(one) is type(two) and one == two


def tensors() -> st.SearchStrategy[Tensor]:
    def made(dtype: torch.dtype, shape: list[int], turned: bool, start: int) -> Tensor:
        tensor = (torch.arange(torch.Size(shape).numel()) + start).reshape(shape).to(dtype)
        return tensor.transpose(0, -1) if turned and shape else tensor

    shapes = st.lists(st.integers(0, 3), max_size=3)
    return st.builds(made, st.sampled_from(DTYPES), shapes, st.booleans(), st.integers(0, 9))


PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3)
STATES = st.recursive(
    PLAIN | tensors(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=2) | st.integers(), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.dictionaries(st.text(max_size=3), STATES, max_size=4), min_size=1, max_size=3))
def test_whatever_is_in_it_comes_back(states: list[dict[str, Any]]):
    flattener = Flattener()  # what one left in the memory that is kept is not seen in the next
    for state in states:
        assert same(unflattened(flattener.flattened(state)), state)


def test_through_a_file_with_few_tensors_in_it(tmp_path: Path):
    model = tiny_causal().model
    optimizer = torch.optim.AdamW(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    state = {"weights": model.state_dict(), "optimizer": optimizer.state_dict(), "generator": torch.get_rng_state()}
    flat = Flattener().flattened(state)
    assert [tensor.dtype for tensor in flat["flat"]] == [torch.float32, torch.uint8]
    torch.save(flat, tmp_path / "state.pt")
    found = unflattened(torch.load(tmp_path / "state.pt", weights_only=True, mmap=True))
    assert same(found, {**state, "weights": dict(state["weights"])})


def test_tied_weights_are_held_once_and_the_parts_of_one_tensor_each_for_itself():
    whole = torch.arange(12.0)
    state = {"embeddings": whole.view(3, 4), "head": whole.view(3, 4), "first": whole[:4], "after": whole[4:8]}
    flat = Flattener().flattened(state)
    assert flat["flat"][0].numel() == 12 + 4 + 4
    found = unflattened(flat)
    assert same(found, state)
    found["head"].zero_()
    assert torch.equal(found["embeddings"], state["embeddings"]), "what comes back shares no memory"


def test_the_state_may_change_once_it_is_copied_and_the_memory_is_kept():
    flattener, weights = Flattener(), torch.ones(5, requires_grad=True)
    one = flattener.flattened({"weights": weights})
    memory = one["flat"][0].data_ptr()
    with torch.no_grad():
        weights.fill_(2.0)
    assert unflattened(one)["weights"].tolist() == [1.0] * 5
    two = flattener.flattened({"weights": weights})
    assert two["flat"][0].data_ptr() == memory
    assert unflattened(two)["weights"].tolist() == [2.0] * 5
    larger = flattener.flattened({"weights": weights, "more": torch.zeros(3)})
    assert larger["flat"][0].untyped_storage().nbytes() == 8 * 4, "all of the memory is written"
    assert not unflattened(larger)["weights"].requires_grad


def test_a_size_comes_back_as_a_tuple():
    assert unflattened(Flattener().flattened({"shape": torch.Size([2, 3])})) == {"shape": (2, 3)}
