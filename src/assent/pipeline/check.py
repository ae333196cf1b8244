"""Checks values against the part of JSON Schema that pydantic writes, and says what is wrong in words.

It exists because importing a general validator, or pydantic and every stage, would take longer than a recipe's typo
should take to be answered.  When a stage really runs, its own ``Settings`` check everything again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from assent.errors import nearest

Schema = Mapping[str, Any]
Definitions = Mapping[str, Any]


class Mismatch(Exception):
    """A value does not fit.  ``path`` leads to the place within the value, ``message`` says what was expected."""

    def __init__(self, message: str, path: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.message, self.path = message, path


def conform(value: Any, schema: Schema, definitions: Definitions) -> Any:
    """``value`` as its schema wants it (whole floats become integers where those are wanted, integers floats).

    Raises :class:`Mismatch`.
    """
    schema = resolve(schema, definitions)
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return _any_of(value, schema[key], definitions)
    if "const" in schema or "enum" in schema:
        allowed = schema.get("enum", [schema.get("const")])
        if not any(value == item and type(value) is type(item) for item in allowed):
            hint = nearest(value, [str(item) for item in allowed]) if isinstance(value, str) else ""
            raise Mismatch(f"expected {describe(schema, definitions)}, got {shown(value)}{hint}")
        return value
    kind = schema.get("type")
    if kind is None:
        return value
    if kind == "object":
        return _object(value, schema, definitions)
    if kind == "array":
        return _array(value, schema, definitions)
    converted = value
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        converted = int(value)
    if kind == "number" and isinstance(value, int) and not isinstance(value, bool):
        converted = float(value) if abs(value) < 1e300 else math.inf
    fits = isinstance(converted, _PYTHON[kind]) and (kind == "boolean" or not isinstance(value, bool))
    if not (fits and _in_range(converted, schema)):
        raise Mismatch(f"expected {describe(schema, definitions)}, got {shown(value)}")
    return converted


def resolve(schema: Schema, definitions: Definitions) -> Schema:
    """The schema that a ``$ref`` (or an ``allOf`` of one) stands for."""
    while "$ref" in schema or len(schema.get("allOf", ())) == 1:
        target = definitions[schema["$ref"].removeprefix("#/$defs/")] if "$ref" in schema else schema["allOf"][0]
        schema = {**target, **{key: item for key, item in schema.items() if key not in ("$ref", "allOf")}}
    return schema


def describe(schema: Schema, definitions: Definitions) -> str:
    """What a schema asks for, in words: ``a number greater than 0``."""
    schema = resolve(schema, definitions)
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(describe(arm, definitions) for arm in schema[key]))
    if "const" in schema:
        return shown(schema["const"])
    if "enum" in schema:
        return "one of " + ", ".join(str(item) for item in schema["enum"])
    kind = schema.get("type", "")
    if kind == "array":
        return "a list" + _size(schema, "Items") + (f" of {_plural(schema['items'])}" if schema.get("items") else "")
    if kind == "object":
        return "a mapping of settings to values"
    words = {"string": "text", "integer": "a whole number", "number": "a number", "boolean": "true or false"}
    return words.get(kind, "null" if kind == "null" else "a value") + _range(schema) + _size(schema, "Length")


def shown(value: Any) -> str:
    """A value as an error message shows it."""
    if isinstance(value, str):
        return f"the text '{value if len(value) <= 60 else value[:57] + '...'}'"
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "nothing (null)"
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, list) else str(value)


_PYTHON: Mapping[str, Any] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}
_BOUNDS = {
    "exclusiveMinimum": ("greater than", lambda value, bound: value > bound),
    "minimum": ("at least", lambda value, bound: value >= bound),
    "exclusiveMaximum": ("less than", lambda value, bound: value < bound),
    "maximum": ("at most", lambda value, bound: value <= bound),
    "multipleOf": ("a multiple of", lambda value, bound: value % bound == 0),
}


def _in_range(value: Any, schema: Schema) -> bool:
    if isinstance(value, str):
        if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
            return False
        return "pattern" not in schema or re.search(schema["pattern"], value) is not None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if value != value or value in (float("inf"), float("-inf")):
            return False
        return all(test(value, schema[key]) for key, (_, test) in _BOUNDS.items() if key in schema)
    return True


def _range(schema: Schema) -> str:
    bounds = [f"{words} {schema[key]:g}" for key, (words, _) in _BOUNDS.items() if key in schema]
    return "".join(" " + " and ".join(bounds) if bounds else "")


def _size(schema: Schema, unit: str) -> str:
    least, most = schema.get(f"min{unit}"), schema.get(f"max{unit}")
    noun = "characters" if unit == "Length" else "items"
    parts = [f"at least {least}"] if least else []
    parts += [f"at most {most}"] if most is not None else []
    pattern = f" matching {schema['pattern']}" if "pattern" in schema else ""
    return (f" of {' and '.join(parts)} {noun}" if parts else "") + pattern


def _plural(schema: Schema) -> str:
    names = {"string": "texts", "integer": "whole numbers", "number": "numbers", "object": "mappings"}
    return names.get(schema.get("type", ""), "values")


def _any_of(value: Any, arms: list[Schema], definitions: Definitions) -> Any:
    """The first arm that fits; an arm that the value fits as it stands is preferred to one that converts it."""
    results: list[Any] = []
    errors: list[Mismatch] = []
    for arm in arms:
        try:
            results.append(conform(value, arm, definitions))
        except Mismatch as error:
            errors.append(error)
    for result in results:
        if type(result) is type(value):
            return result
    if results:
        return results[0]
    deeper = [error for error in errors if error.path]  # the arm of the right type, with a mistake within
    if len(deeper) == 1:
        raise deeper[0]
    wanted = describe({"anyOf": arms}, definitions)
    raise Mismatch(f"expected {wanted}, got {shown(value)}")


def _object(value: Any, schema: Schema, definitions: Definitions) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise Mismatch(f"expected {describe(schema, definitions)}, got {shown(value)}")
    properties, extra = schema.get("properties", {}), schema.get("additionalProperties", True)
    result: dict[str, Any] = {}
    for key, item in value.items():
        if key not in properties and extra is False:
            raise Mismatch(f"unknown setting '{key}'{nearest(str(key), properties)}", (key,))
        inner = properties.get(key, extra if isinstance(extra, Mapping) else {})
        try:
            result[key] = conform(item, inner, definitions)
        except Mismatch as error:
            raise Mismatch(error.message, (key, *error.path)) from None
    for key in schema.get("required", ()):
        if key not in value:
            raise Mismatch(f"setting '{key}' is required and missing")
    return result


def _array(value: Any, schema: Schema, definitions: Definitions) -> list[Any]:
    if not isinstance(value, list):
        raise Mismatch(f"expected {describe(schema, definitions)}, got {shown(value)}")
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
        raise Mismatch(f"expected {describe(schema, definitions)}, got a list of {len(value)}")
    fixed = schema.get("prefixItems", [])
    result: list[Any] = []
    for index, item in enumerate(value):
        inner = fixed[index] if index < len(fixed) else schema.get("items", {})
        try:
            result.append(conform(item, inner if isinstance(inner, Mapping) else {}, definitions))
        except Mismatch as error:
            raise Mismatch(error.message, (index, *error.path)) from None
    return result
