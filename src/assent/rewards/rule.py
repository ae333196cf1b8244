"""Rewards from a Python function of prompt and completion text."""

from __future__ import annotations

import importlib
import importlib.util
import math
import os
from collections.abc import Callable, Sequence
from types import ModuleType

from assent.errors import DataError, RecipeError, nearest
from assent.rewards.source import Scores
from assent.types import Completion, Prompt


class FunctionReward:
    """Scores each completion with ``function(prompt, completion_text) -> float``."""

    def __init__(self, function: Callable[[Prompt, str], float], name: str = "function") -> None:
        self.function = function
        self.name = name

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Scores:
        values: list[float] = []
        for prompt, completion in zip(prompts, completions, strict=True):
            value = float(self.function(prompt, completion.text))
            if not math.isfinite(value):
                raise DataError(f"{self.name} gave {value} for completion '{completion.id}': a reward must be finite")
            values.append(value)
        return Scores(tuple(values))


def load_function(spec: str) -> Callable[[Prompt, str], float]:
    """The function that ``module:function`` or ``path.py:function`` names."""
    where, _, name = spec.rpartition(":")
    if not where:
        raise RecipeError(f"'{spec}': name a function as module:function or path.py:function")
    try:
        module = _load_file(where) if where.endswith(".py") else importlib.import_module(where)
    except ImportError as error:
        raise RecipeError(f"'{spec}': {where} cannot be imported ({error})") from None
    function = getattr(module, name, None)
    if not callable(function):
        raise RecipeError(f"'{spec}': {where} has no function '{name}'{nearest(name, vars(module))}")
    return function  # pyright: ignore[reportReturnType]


def _load_file(path: str) -> ModuleType:
    if not os.path.isfile(path):
        raise RecipeError(f"{path}: no such file")
    found = importlib.util.spec_from_file_location(os.path.basename(path)[:-3], path)
    if found is None or found.loader is None:
        raise RecipeError(f"{path}: cannot be read as Python")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module
