"""YAML with the line of every value kept, read by the rules of YAML 1.2.

PyYAML reads YAML 1.1, in which ``1e-4`` is a text, ``no`` is false, ``010`` is eight and ``1:30`` is ninety; in a
recipe each of these would be a trap.  Here numbers are what they look like, and only ``true`` and ``false`` are
booleans.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import yaml

from assent.errors import RecipeError

Path = tuple[str | int, ...]

_TOO_DEEP = "not a recipe: nested too deeply"
_DIGITS = 400
"""Of a whole number; no setting has more."""
_MOST = 100_000
"""Values of a document, those that aliases repeat counted each time: ten lines of them can make a billion."""


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - a class attribute of PyYAML, replaced for this class


_TAG = "tag:yaml.org,2002:"
_PATTERNS: list[tuple[str, str, str]] = [
    ("null", r"~|null|Null|NULL|", "~nN"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9][0-9_]*|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
     "-+.0123456789"),
    ("merge", r"<<", "<"),
]  # fmt: skip
for _name, _pattern, _first in _PATTERNS:
    _Loader.add_implicit_resolver(
        _TAG + _name, re.compile(rf"^(?:{_pattern})$"), [*_first, *([""] * (_name == "null"))]
    )


def parse(text: str, where: str) -> tuple[Any, dict[Path, int]]:
    """The value of a YAML document and the line, from 1, of every place in it.

    Raises :class:`RecipeError`, naming ``where`` and the line, for what is not YAML, for duplicate keys, for tags.
    """
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{where}, line {mark.line + 1}" if mark else where
        raise RecipeError(f"{place}: not YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise RecipeError(f"{where}: not YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise RecipeError(f"{where}: {_TOO_DEEP}") from None
    lines: dict[Path, int] = {}
    if node is None:
        return None, lines
    try:
        return _Builder(where, lines).value(node, (), ()), lines
    except RecursionError:
        raise RecipeError(f"{where}: {_TOO_DEEP}") from None


def parse_value(text: str, where: str) -> Any:
    """The value of a short YAML text such as the right side of ``--set key=value``; empty text is ``None``."""
    return parse(text, where)[0]


class _Builder:
    def __init__(self, where: str, lines: dict[Path, int]) -> None:
        self.where, self.lines = where, lines
        self.values = 0

    def value(self, node: yaml.Node, path: Path, above: tuple[int, ...]) -> Any:
        self.lines.setdefault(path, node.start_mark.line + 1)
        self.values += 1
        if self.values > _MOST:
            raise self.error(node, f"more than {_MOST} values, counting what aliases (*) repeat")
        if id(node) in above:
            raise self.error(node, "an alias (*) contains itself")
        above = (*above, id(node))
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path, above)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, index), above) for index, item in enumerate(node.value)]
        return self.scalar(node)

    def mapping(self, node: yaml.MappingNode, path: Path, above: tuple[int, ...]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        merged: list[yaml.Node] = []
        own: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == _TAG + "merge":
                merged += value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                raise self.error(key_node, "a key must be a word")
            key = self.text(key_node)
            if key in own:
                raise self.error(key_node, f"'{key}' is given twice, first in line {own[key]}")
            own[key] = line
            self.lines[(*path, key)] = line
            result[key] = self.value(value_node, (*path, key), above)
        for item in merged:
            if not isinstance(item, yaml.MappingNode):
                raise self.error(item, "'<<' takes a mapping, or a list of mappings")
            result = {**self.mapping(item, path, above), **result}
        for key, line in own.items():
            self.lines[(*path, key)] = line
        return result

    def text(self, node: yaml.Node) -> str:
        """The words of a key or value; what no file name or setting can hold is refused."""
        found = str(node.value)
        if "\0" in found:
            raise self.error(node, "a text with the character NUL (\\0) is no name, path or setting")
        try:
            found.encode()
        except UnicodeEncodeError:
            raise self.error(node, "half of a surrogate pair (\\ud800 to \\udfff) is no character") from None
        return found

    def scalar(self, node: yaml.Node) -> Any:
        kind = node.tag.removeprefix(_TAG)
        if kind not in _SCALARS:
            raise self.error(node, f"the tag '{node.tag}' is not used in recipes")
        try:
            return _SCALARS[kind](self.text(node))
        except ValueError:
            raise self.error(node, f"'{node.value}' is not a value of the tag '{node.tag}'") from None

    def error(self, node: yaml.Node, message: str) -> RecipeError:
        return RecipeError(f"{self.where}, line {node.start_mark.line + 1}: {message}")


def _integer(text: str) -> int:
    if len(text) > _DIGITS:
        raise ValueError
    return int(text, 16) if text.lower().startswith("0x") else int(text)


_SCALARS: dict[str, Callable[[str], Any]] = {
    "null": lambda text: None,
    "bool": lambda text: text.lower() == "true",
    "int": _integer,
    "float": lambda text: float(text.lower().replace(".inf", "inf").replace(".nan", "nan")),
    "str": str,
}
