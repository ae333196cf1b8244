"""A state as a few flat tensors, one for each dtype, and the plain data around them.

A small model has a hundred tensors with its optimiser's; to write each by itself costs more than its bytes do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

_ALONE = -1
"""Instead of a place in a flat tensor: the whole of one is this tensor."""


class Flattener:
    """Copies states off the device, into memory that is kept for the next: fresh pages cost five times the copy."""

    def __init__(self) -> None:
        self._kept: dict[torch.dtype, Tensor] = {}

    @torch.no_grad()
    def flattened(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """The state in memory of its own, as :func:`unflattened` takes it, until the next call.

        A tensor that is there twice, as tied weights are, is held once.  One that does not lie in memory row by row is
        left by itself, so that it comes back with its strides.  A ``torch.Size`` comes back as a tuple.
        """
        tensors: list[Tensor] = []
        plain = _taken_out(state, tensors)
        numbers = {dtype: number for number, dtype in enumerate(dict.fromkeys(tensor.dtype for tensor in tensors))}
        members: dict[torch.dtype, list[Tensor]] = {dtype: [] for dtype in numbers}
        filled = dict.fromkeys(numbers, 0)
        alone: list[Tensor] = []
        places: dict[tuple[Any, ...], tuple[int, int]] = {}
        keys = [_key(tensor) for tensor in tensors]
        for key, tensor in zip(keys, tensors, strict=True):
            if key in places:
                continue
            if tensor.is_contiguous():
                places[key] = numbers[tensor.dtype], filled[tensor.dtype]
                filled[tensor.dtype] += tensor.numel()
                members[tensor.dtype].append(tensor)
            else:
                places[key] = len(numbers) + len(alone), _ALONE
                alone.append(tensor.to("cpu", copy=True))
        self._kept = {dtype: self._memory(dtype, size) for dtype, size in filled.items()}
        for dtype, found in members.items():
            _copy([tensor.view(-1) for tensor in found], self._kept[dtype])
        return {"plain": plain, "places": [places[key] for key in keys], "flat": [*self._kept.values(), *alone]}

    def _memory(self, dtype: torch.dtype, size: int) -> Tensor:
        """That of the last time, if it has the size: what is written is all of it."""
        kept = self._kept.get(dtype)
        return kept if kept is not None and kept.numel() == size else torch.empty(size, dtype=dtype)


def unflattened(flattened: Mapping[str, Any]) -> Any:
    """The state, with every tensor in memory of its own: where it starts in there may change how a kernel adds."""
    return _put_back(flattened["plain"], iter(flattened["places"]), flattened["flat"])


def _copy(parts: list[Tensor], memory: Tensor) -> None:
    """The parts one after another into the memory."""
    if parts and all(part.device == memory.device for part in parts):
        torch.cat(parts, out=memory)  # a quarter of the time that small copies take
        return
    for part, place in zip(parts, memory.split([part.numel() for part in parts]), strict=True):
        place.copy_(part)


def _key(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()


def _taken_out(value: Any, tensors: list[Tensor]) -> Any:
    """The value with each tensor's shape in its stead."""
    if isinstance(value, Tensor):
        tensors.append(value)
        return value.shape
    if isinstance(value, torch.Size):
        return tuple(value)
    if isinstance(value, dict):
        return {key: _taken_out(item, tensors) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_taken_out(item, tensors) for item in value)
    return value


def _put_back(value: Any, places: Iterator[tuple[int, int]], flat: list[Tensor]) -> Any:
    if isinstance(value, torch.Size):
        number, start = next(places)
        if start == _ALONE:
            return flat[number].clone()
        return flat[number][start : start + value.numel()].view(value).clone()
    if isinstance(value, dict):
        return {key: _put_back(item, places, flat) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_put_back(item, places, flat) for item in value)
    return value
