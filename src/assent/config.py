"""The base of all settings: frozen, strict, documented, and declared once beside their owner."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from assent.errors import RecipeError, nearest


class Settings(BaseModel):
    """Frozen settings.  An unknown key is an error; the docstring under a field is its help text."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


S = TypeVar("S", bound=Settings)


def make_settings(cls: type[S], values: dict[str, Any], where: str) -> S:
    """Build settings, or raise a :class:`RecipeError` that names ``where``, the key and what was expected."""
    try:
        return cls(**values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            hint = nearest(key, cls.model_fields)
            raise RecipeError(f"{where}: unknown setting '{key}'{hint}") from None
        if first["type"] == "missing":
            raise RecipeError(f"{where}: setting '{key}' is required and missing") from None
        message = first["msg"].removeprefix("Value error, ")
        if not key:  # a check of several settings together
            raise RecipeError(f"{where}: {message}") from None
        raise RecipeError(f"{where}: setting '{key}': {message} (got {first['input']!r})") from None
