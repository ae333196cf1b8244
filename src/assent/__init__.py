"""assent: the whole loop of reinforcement learning from human feedback.  Importing it does not import torch."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_LAZY = {
    "run": "assent.pipeline.run",
    "run_stage": "assent.pipeline.run",
    "load_recipe": "assent.pipeline.recipe",
    "Trainer": "assent.training.trainer",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'assent' has no attribute '{name}'")


def __dir__() -> list[str]:
    return [*globals(), *_LAZY]
