"""The files of a run as plain values; what is missing is empty, what is damaged is an error that names it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from assent.errors import RunError

T = TypeVar("T")


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty when the file is not there."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, OSError) as error:
        raise RunError(f"{path}: cannot be read as JSON ({error}); run the stage again") from None
    if not isinstance(found, dict):
        raise RunError(f"{path}: expected a JSON object; run the stage again")
    return found


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The JSON objects of a JSON Lines file; empty when the file is not there."""
    try:
        lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")  # splitlines would also cut at U+2028
    except FileNotFoundError:
        return []
    except (ValueError, OSError) as error:
        raise RunError(f"{path}: cannot be read ({error})") from None
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            if number == len(lines):
                break
            raise RunError(f"{path}, line {number}: not JSON; run the stage again") from None
        if isinstance(row, dict):
            rows.append(row)
    return rows


def number(value: Any) -> float | None:
    """A finite number, or ``None`` for anything else (JSON's ``NaN`` included)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def optional(value: Any, build: Callable[[Any], T]) -> T | None:
    return None if value is None else build(value)
