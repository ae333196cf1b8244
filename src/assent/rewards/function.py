"""A function of the user's own as a source that can be named, and combined with others."""

from __future__ import annotations

from assent.config import Input, Settings
from assent.rewards.kinds import SourceKind
from assent.rewards.rule import FunctionReward, load_function


class FunctionSettings(Settings):
    """Reward by a function."""

    function: str = Input(
        "code", description="A function of prompt and completion text, as module:function or path.py:function"
    )


def make(settings: FunctionSettings) -> FunctionReward:
    """Raises :class:`~assent.errors.RecipeError` where there is no such function."""
    return FunctionReward(load_function(settings.function), settings.function.rpartition(":")[2])


KIND = SourceKind("function", "Reward by a Python function", FunctionSettings, make)
