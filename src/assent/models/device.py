"""Where tensors live."""

from __future__ import annotations

import os

import torch


def pick_device() -> str:
    """``cuda`` where there is a usable GPU, the launcher's choice among several; else ``cpu``."""
    if not torch.cuda.is_available():
        return "cpu"
    place = os.environ.get("LOCAL_RANK")
    return "cuda" if place is None else f"cuda:{int(place) % torch.cuda.device_count()}"
