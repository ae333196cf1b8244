"""Every random number generator that a run may draw from, seeded and saved together."""

from __future__ import annotations

import os
import random
from typing import Any

import numpy as np
import torch


def seed_all(seed: int) -> None:
    """Seed Python's, NumPy's and torch's generators: a user's reward function may draw from any of them."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def generator_states() -> dict[str, Any]:
    """The state of each, as plain data and tensors."""
    version, words, normal = random.getstate()
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "python": (version, torch.from_numpy(np.array(words, dtype=np.int64)), normal),
        "numpy": (kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, gauss),
    }


def restore_generators(states: dict[str, Any]) -> None:
    """Put them back; those of GPUs only where as many are there."""
    torch.set_rng_state(states["torch"])
    if states["cuda"] and torch.cuda.device_count() == len(states["cuda"]):
        torch.cuda.set_rng_state_all(states["cuda"])
    version, words, normal = states["python"]
    random.setstate((version, tuple(words.tolist()), normal))
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))


_asked = False
"""Whether a run of this process asked for deterministic kernels, and not its host program."""


def use_deterministic_kernels(wanted: bool) -> None:
    """On a GPU, kernels that give the same bits each time; an operator that has none is an error of torch's own.

    Not ``wanted``: what an earlier run of this process asked for ends; what the program around it asked for stays.
    """
    global _asked
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when the first matrix product is made
        torch.backends.cudnn.benchmark = False
    if wanted or _asked:
        torch.use_deterministic_algorithms(wanted)
    _asked = wanted
