"""Measures what this machine does at most: matrix products at the shapes of a transformer's layers, and a copy."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import date

import torch

from assent.models.device import pick_device
from assent.runs.machine import Peak, cpu_name

SHAPES = {
    "cpu": ((2048, 288, 768), (2048, 768, 768), (2048, 1024, 4096)),
    "cuda": ((8192, 2048, 8192), (8192, 4096, 4096), (8192, 8192, 8192)),
}
"""Rows, and in and out of a layer; the fastest of them counts."""
COPIED = {"cpu": 256 * 2**20, "cuda": 2**30}
SECONDS = 0.3
"""Of each measurement."""
QUEUED = 8
"""Calls in a row before a GPU is waited for, so that launching and waiting are no part of what it can do."""


def measure() -> Peak:
    """The peak of the device that would be used; takes some seconds, of an otherwise idle machine."""
    device = torch.device(pick_device())
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()
    rates = {
        dtype: max(_matmul(*shape, dtype, device) for shape in SHAPES[device.type])
        for dtype in (torch.float32, torch.bfloat16)
    }
    copied = COPIED[device.type]
    source = torch.ones(copied, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    bandwidth = 2 * copied / _best(lambda: target.copy_(source), device)
    return Peak(name, rates[torch.float32], rates[torch.bfloat16], bandwidth, date.today().isoformat())


def _matmul(rows: int, inner: int, outer: int, dtype: torch.dtype, device: torch.device) -> float:
    """FLOP/s of [rows, inner] @ [inner, outer]."""
    left = torch.randn(rows, inner, device=device).to(dtype)
    right = torch.randn(outer, inner, device=device).to(dtype)
    return 2 * rows * inner * outer / _best(lambda: torch.nn.functional.linear(left, right), device)


def _best(work: Callable[[], object], device: torch.device) -> float:
    """The least seconds of one call."""

    def once() -> float:
        calls = QUEUED if device.type == "cuda" else 1
        begun = time.perf_counter()
        for _ in range(calls):
            work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return (time.perf_counter() - begun) / calls

    once()
    least, end = once(), time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        least = min(least, once())
    return least
