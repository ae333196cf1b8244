"""assent: the whole loop of reinforcement learning from human feedback.  Importing it does not import torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from assent.pipeline.recipe import load_recipe
    from assent.pipeline.run import run, run_stage

__version__ = "0.1.0"
__all__ = ["__version__", "load_recipe", "run", "run_stage"]

_LAZY = {"run": "assent.pipeline.run", "run_stage": "assent.pipeline.run", "load_recipe": "assent.pipeline.recipe"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'assent' has no attribute '{name}'")
