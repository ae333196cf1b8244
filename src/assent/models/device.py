"""Where tensors live."""

from __future__ import annotations

import torch


def pick_device() -> str:
    """``cuda`` where there is a usable GPU, else ``cpu``."""
    return "cuda" if torch.cuda.is_available() else "cpu"
