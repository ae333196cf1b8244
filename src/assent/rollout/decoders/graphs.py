"""The decoder of PyTorch's operations on a GPU, with each step as one launch.

A step is some fifteen kernels a layer, of a few microseconds each, and Python takes longer to launch one than a GPU to
run it.  So a step of a number of rows over a number of columns, with the draw and all that is kept of it, is recorded
as a CUDA graph once and replayed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from assent.rollout.decoders.transformer import FEWEST, TorchDecoder, lanes
from assent.rollout.decoders.weights import Weights

COLUMNS = 64
"""Numbers of columns are multiples of this: so many steps share a graph, and attend to fewer masked ones than that."""


@dataclass(frozen=True)
class _Step:
    """A recorded step, and what it leaves each time."""

    graph: torch.cuda.CUDAGraph
    over: Tensor


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

    def advance(self, work: Callable[[], Tensor], rows: int, reach: int) -> Tensor:
        """As :meth:`TorchDecoder.advance`; from the second time on that a step comes, by a graph of it."""
        if torch.are_deterministic_algorithms_enabled():  # a sum is made by the CPU then
            return super().advance(work, rows, reach)
        self.width = min(-(-(reach + 1) // COLUMNS) * COLUMNS, len(self.columns))
        key = rows, self.width
        if key not in self.steps:
            self.steps[key] = None
            with _beside(self.w.device):  # so that what kernels set up there on first use is not recorded
                return work()
        step = self.steps[key] or self._recorded(work)
        self.steps[key] = step
        step.graph.replay()
        return step.over

    def _recorded(self, work: Callable[[], Tensor]) -> _Step:
        """The work as a graph; nothing is computed yet."""
        graph = torch.cuda.CUDAGraph()
        with _beside(self.w.device):
            # Other threads may allocate meanwhile: they write checkpoints and load rewards.
            graph.capture_begin(pool=self.memory, capture_error_mode="thread_local")
            try:
                over = work()
            finally:
                graph.capture_end()
        return _Step(graph, over)


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
