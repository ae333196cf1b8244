"""The base of all settings: frozen, strict, documented, and declared once beside their owner."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from assent.errors import RecipeError, nearest

ArtifactKind = Literal["model", "data", "folder", "store", "code"]


def Input(kind: ArtifactKind, default: Any = ..., description: str | None = None) -> Any:
    """A settings field that names an input artifact.  ``default`` as in pydantic's ``Field``; ``None`` = may be absent.

    ``model``: a model folder or hub name.  ``data``: a data file, folder or hub dataset.  ``folder``: any folder.
    ``store``: a feedback store that grows; it does not enter the stage's identity (its snapshot does).  ``code``: a
    function as ``module:name`` or ``path.py:name``, by the content of its file.
    """
    return Field(default=default, description=description, json_schema_extra={"artifact": kind})


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
