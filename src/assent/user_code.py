"""Functions and objects that users name: ``module:name`` or ``path.py:name``."""

from __future__ import annotations

import importlib
import importlib.util
import os
import traceback
from types import ModuleType
from typing import Any

from assent.errors import RecipeError, nearest


def load_object(spec: str, what: str) -> Any:
    """What ``module:name`` or ``path.py:name`` names; ``what`` it is meant to be, for the errors.

    Raises :class:`RecipeError` where there is no such thing, or the user's own code fails when it is imported.
    """
    where, _, name = spec.rpartition(":")
    if not where:
        raise RecipeError(f"'{spec}': name a {what} as module:{what} or path.py:{what}")
    try:
        module = _load_file(where) if where.endswith(".py") else importlib.import_module(where)
    except RecipeError:
        raise
    except Exception as error:  # the module is the user's own
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise RecipeError(f"'{spec}': {where} cannot be imported ({said}{place_of(error)})") from error
    if not hasattr(module, name):
        raise RecipeError(f"'{spec}': {where} has no {what} '{name}'{nearest(name, vars(module))}")
    return getattr(module, name)


def place_of(error: Exception, besides: str = "") -> str:
    """File and line of the innermost call, for a person who wrote it; frames in the file ``besides`` do not count."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename not in (__file__, besides) and frame.filename[:1] != "<"]
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
