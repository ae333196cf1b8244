"""Where tensors live."""

from __future__ import annotations

import os

import torch


def pick_device() -> str:
    """``cuda`` where there is a usable GPU, the launcher's choice among several; else ``cpu``.

    On a GPU attention is not left to cuDNN from then on: it plans each new shape of a batch for tens of milliseconds,
    forward and backward, and microbatches seldom have one twice.
    """
    if not torch.cuda.is_available():
        return "cpu"
    torch.backends.cuda.enable_cudnn_sdp(False)
    place = os.environ.get("LOCAL_RANK")
    return "cuda" if place is None else f"cuda:{int(place) % torch.cuda.device_count()}"
