"""Principles to judge by, one drawn at random for each question (Bai et al. 2022, arXiv:2212.08073, section 4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from assent.errors import DataError
from assent.types import short_id

DEFAULT = Path(__file__).with_name("constitution.yaml")
"""Helpful, honest, harmless and considerate."""


@dataclass(frozen=True)
class Principle:
    """One principle, in three questions."""

    name: str
    compare: str
    """Asked of several answers: which is better by it."""
    critique: str
    """Asked of one: what in it offends against the principle."""
    revise: str
    """What is to be done about that."""


def read_constitution(path: str | Path = DEFAULT) -> list[Principle]:
    """The principles of a YAML file: a list of mappings with name, compare, critique and revise.

    Raises :class:`DataError` naming the file and the principle.
    """
    try:
        given: Any = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"cannot be read as YAML ({' '.join(str(error).split())})", path) from None
    if not isinstance(given, list) or not given:
        raise DataError("expected a list of principles", path)
    return [_principle(item, number, path) for number, item in enumerate(given, 1)]


def _principle(item: Any, number: int, path: str | Path) -> Principle:
    names = [part.name for part in fields(Principle)]
    if not isinstance(item, dict) or set(item) != set(names):
        raise DataError(f"principle {number}: expected the keys {', '.join(names)}", path)
    empty = [name for name in names if not isinstance(item[name], str) or not item[name].strip()]
    if empty:
        raise DataError(f"principle {number}: '{empty[0]}' is no text", path)
    return Principle(**{name: item[name].strip() for name in names})


def drawn(principles: Sequence[Principle], seed: int, *question: Any) -> Principle:
    """One of the principles, each as likely, by the question's content: the same question has the same one."""
    return principles[int(short_id("principle", seed, *question), 16) % len(principles)]
