"""Rewards from a Python function of prompt and completion text."""

from __future__ import annotations

import importlib
import importlib.util
import math
import os
import traceback
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
            values.append(self._value(prompt, completion))
        return Scores(tuple(values))

    def _value(self, prompt: Prompt, completion: Completion) -> float:
        try:
            value = float(self.function(prompt, completion.text))
        except Exception as error:  # the function is the user's own
            said = " ".join(f"{type(error).__name__}: {error}".split())
            raise DataError(
                f"{self.name} failed on completion '{completion.id}' ({said}{_where(error)}); it is called with a "
                "Prompt and the completion's text, and must return a number"
            ) from error
        if not math.isfinite(value):
            raise DataError(f"{self.name} gave {value} for completion '{completion.id}': a reward must be finite")
        return value


def load_function(spec: str) -> Callable[[Prompt, str], float]:
    """The function that ``module:function`` or ``path.py:function`` names."""
    where, _, name = spec.rpartition(":")
    if not where:
        raise RecipeError(f"'{spec}': name a function as module:function or path.py:function")
    try:
        module = _load_file(where) if where.endswith(".py") else importlib.import_module(where)
    except RecipeError:
        raise
    except Exception as error:  # the module is the user's own
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise RecipeError(f"'{spec}': {where} cannot be imported ({said}{_where(error)})") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise RecipeError(f"'{spec}': {where} has no function '{name}'{nearest(name, vars(module))}")
    return function  # pyright: ignore[reportReturnType]


def _where(error: Exception) -> str:
    """File and line of the innermost call, for a person who wrote it."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename != __file__ and not frame.filename.startswith("<")]
    return f", {own[-1].filename}, line {own[-1].lineno}" if own else ""


def _load_file(path: str) -> ModuleType:
    if not os.path.isfile(path):
        raise RecipeError(f"{path}: no such file")
    found = importlib.util.spec_from_file_location(os.path.basename(path)[:-3], path)
    if found is None or found.loader is None:
        raise RecipeError(f"{path}: cannot be read as Python")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module
