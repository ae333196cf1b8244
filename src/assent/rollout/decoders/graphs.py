"""The decoder of PyTorch's operations on a GPU, with each step as one launch.

A step is some fifteen kernels a layer, of a few microseconds each, and Python takes longer to launch one than a GPU to
run it.  So a step of a number of rows over a number of columns, with the draw behind it, is recorded as a CUDA graph
once and replayed.  The numbers are those of the same kernels launched one by one.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from assent.rollout.decoders.transformer import FEWEST, TorchDecoder, lanes
from assent.rollout.decoders.weights import Weights
from assent.types import SamplingSettings

COLUMNS = 64
"""Numbers of columns are multiples of this: so many steps share a graph, and attend to fewer masked ones than that."""


@dataclass(frozen=True)
class _Step:
    """A recorded step: what it reads, and what it leaves there each time."""

    graph: torch.cuda.CUDAGraph
    given: tuple[Tensor, ...]
    drawn: tuple[Tensor, Tensor, Tensor]


class GraphedDecoder(TorchDecoder):
    """Decodes up to ``slots`` rows of up to ``length`` tokens with weights as they are now."""

    def __init__(self, weights: Weights, slots: int, length: int) -> None:
        self.most = max(FEWEST, lanes(slots))
        super().__init__(weights, slots, length)
        self.steps: dict[tuple[int, int], _Step | None] = {}
        """By rows and columns; ``None`` for a step that was launched once, and is recorded if it comes again."""
        self.memory = torch.cuda.graph_pool_handle()

    def rows(self, count: int) -> int:
        """All slots, or half of them, or half of that...: few graphs, which need no more memory than all slots do."""
        rows = self.most
        while (fewer := max(FEWEST, lanes(rows // 2))) >= count and fewer < rows:
            rows = fewer
        return rows

    def width(self, positions: Tensor) -> int:
        """Columns that a step at ``positions`` attends to."""
        return min(-(-super().width(positions) // COLUMNS) * COLUMNS, len(self.columns))

    def sample(
        self,
        tokens: Tensor,
        positions: Tensor,
        uniforms: Tensor,
        sampling: SamplingSettings,
        stop: Tensor,
        young: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As :meth:`TorchDecoder.sample`; ``sampling`` and ``stop`` are the same in all calls.  What it returns is
        overwritten by the next call."""
        if sampling.logit_bias or torch.are_deterministic_algorithms_enabled():  # both copy from the CPU in mid-step
            return super().sample(tokens, positions, uniforms, sampling, stop, young)
        width = self.width(positions)
        key, given = (len(tokens), width), (tokens, positions, uniforms, young)
        if key not in self.steps:
            self.steps[key] = None
            with _beside(self.w.device):  # so that what kernels set up there on first use is not recorded
                return self.draw(width, *given, sampling, stop)
        step = self.steps[key] or self._recorded(width, given, sampling, stop)
        self.steps[key] = step
        for place, value in zip(step.given, given, strict=True):
            place.copy_(value)
        step.graph.replay()
        return step.drawn

    def _recorded(self, width: int, given: tuple[Tensor, ...], sampling: SamplingSettings, stop: Tensor) -> _Step:
        """The step as a graph; nothing is computed yet."""
        kept = tuple(torch.empty_like(value) for value in given)
        graph = torch.cuda.CUDAGraph()
        with _beside(self.w.device):
            # Other threads may allocate meanwhile: they write checkpoints and load rewards.
            graph.capture_begin(pool=self.memory, capture_error_mode="thread_local")
            try:
                tokens, positions, uniforms, young = kept
                drawn = self.draw(width, tokens, positions, uniforms, young, sampling, stop)
            finally:
                graph.capture_end()
        return _Step(graph, kept, drawn)


def records(weights: Weights) -> bool:
    """Whether steps of these weights can be recorded; ``ASSENT_KERNELS=off`` in the environment forbids it."""
    return weights.device.type == "cuda" and os.environ.get("ASSENT_KERNELS") != "off"


@contextmanager
def _beside(device: torch.device) -> Generator[None]:
    """Work on a stream of its own, between what was asked of the current one before and after."""
    outer, inner = torch.cuda.current_stream(device), _stream(device)
    inner.wait_stream(outer)
    with torch.cuda.stream(inner):
        yield
    outer.wait_stream(inner)


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """One for all decoders: each stream keeps a work space for matrix products."""
    return torch.cuda.Stream(device)
