"""Measures what this machine does at most: matrix products at the shapes of a transformer's layers, and a copy."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import date

import torch

from assent.models.device import pick_device
from assent.runs.machine import Peak, cpu_name

ROWS = 2048
SHAPES = ((288, 768), (768, 768), (1024, 4096))
"""In and out of a layer; the fastest of them counts."""
COPIED = 256 * 2**20
SECONDS = 0.3
"""Of each measurement."""


def measure() -> Peak:
    """The peak of the device that would be used; takes some seconds, of an otherwise idle machine."""
    device = torch.device(pick_device())
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()
    rates = {
        dtype: max(_matmul(ROWS, *shape, dtype, device) for shape in SHAPES)
        for dtype in (torch.float32, torch.bfloat16)
    }
    source = torch.ones(COPIED, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    bandwidth = 2 * COPIED / _best(lambda: target.copy_(source), device)
    return Peak(name, rates[torch.float32], rates[torch.bfloat16], bandwidth, date.today().isoformat())


def _matmul(rows: int, inner: int, outer: int, dtype: torch.dtype, device: torch.device) -> float:
    """FLOP/s of [rows, inner] @ [inner, outer]."""
    left = torch.randn(rows, inner, device=device).to(dtype)
    right = torch.randn(outer, inner, device=device).to(dtype)
    return 2 * rows * inner * outer / _best(lambda: torch.nn.functional.linear(left, right), device)


def _best(work: Callable[[], object], device: torch.device) -> float:
    """The least seconds of one call."""

    def once() -> float:
        begun = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - begun

    once()
    least, end = once(), time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        least = min(least, once())
    return least
