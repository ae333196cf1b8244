"""What the command line changes in a recipe before it is checked: ``--set``, ``--people`` and ``--wait``."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

from assent.errors import RecipeError, nearest
from assent.pipeline import schema, yamltext
from assent.pipeline.check import Mismatch, conform, resolve
from assent.pipeline.rounds import CHANGES, STAGES, is_block


def override_value(tree: dict[str, Any], places: dict[yamltext.Path, str], override: str) -> None:
    """Set a value of the recipe; of a block of rounds ``round.collect.answers`` in all, ``round2...`` in one of them.

    Raises :class:`RecipeError` for a stage that the recipe has not, and for text that is no ``KEY=VALUE``.
    """
    where = f"--set {override}"
    key, sign, text = override.partition("=")
    parts = key.strip().split(".")
    if not sign or not all(parts):
        raise RecipeError(f"{where}: expected STAGE.SETTING=VALUE, or seed=N, name=NAME, out=DIR")
    if len(parts) == 1:
        if parts[0] not in ("seed", "name", "out"):
            hint = nearest(parts[0], ("seed", "name", "out")) or "; a stage's setting is STAGE.SETTING=VALUE"
            raise RecipeError(f"{where}: unknown key '{parts[0]}'{hint}")
        tree[parts[0]] = yamltext.parse_value(text, where) if parts[0] == "seed" else text
        places[tuple(parts)] = where
        return
    stages = tree.get(STAGES)
    home, keys, written = _located(stages if isinstance(stages, dict) else {}, parts, where)
    target: Any = tree
    for part in (STAGES, *home):
        if target.get(part) is None:
            target[part] = {}
        target = target[part]
    for part in keys[:-1]:
        start = copy.deepcopy(written.get(part, {}))
        target = target.setdefault(part, start) if isinstance(target, dict) else None
    if not isinstance(target, dict):
        raise RecipeError(f"{where}: '{'.'.join(parts[:-1])}' is no mapping of settings")
    target[keys[-1]] = _typed(text, str(written.get("uses", home[-1])), keys, where)
    path = (STAGES, *home, *keys)
    places[path] = where
    for depth in range(2, len(path)):
        places.setdefault(path[:depth], where)


def _located(stages: Mapping[str, Any], parts: list[str], where: str) -> tuple[list[str], list[str], Mapping[str, Any]]:
    """Where in ``stages`` the values are, the keys that lead on from there, and the stage as it is written."""
    for size in range(len(parts) - 1, 0, -1):  # a stage's name may have dots
        name, keys = ".".join(parts[:size]), parts[size:]
        if name in stages:
            entry = stages[name]
            inner = _mapping(entry).get(STAGES) if is_block(entry) else None
            if isinstance(inner, Mapping) and len(keys) > 1 and keys[0] in inner:
                return [name, STAGES, keys[0]], keys[1:], _mapping(inner[keys[0]])
            return [name], keys, _mapping(entry)
    match = re.fullmatch(r"(.+?)([1-9]\d*)", parts[0])
    if match and is_block(block := stages.get(match[1])) and len(parts) > 2:
        inner = _mapping(_mapping(block).get(STAGES))
        if parts[1] not in inner:
            raise RecipeError(f"{where}: the block '{match[1]}' has no stage '{parts[1]}'{nearest(parts[1], inner)}")
        return [match[1], CHANGES, match[2], parts[1]], parts[2:], {"uses": parts[1], **_mapping(inner[parts[1]])}
    raise RecipeError(f"{where}: the recipe has no stage '{parts[0]}'{nearest(parts[0], stages)}")


def _mapping(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _typed(text: str, kind: str, keys: list[str], where: str) -> Any:
    stage = schema.stage_schemas().get(kind)
    item: Mapping[str, Any] | None = None if stage is None else stage.properties.get(keys[0])
    for key in keys[1:]:
        item = (
            None if item is None or stage is None else resolve(item, stage.definitions).get("properties", {}).get(key)
        )
    return typed_value(text, item or {}, {} if stage is None else stage.definitions, where)


def typed_value(text: str, item: Mapping[str, Any], definitions: Mapping[str, Any], where: str) -> Any:
    """A value typed on a command line: YAML, or the text itself where the setting takes text and YAML says otherwise.

    So ``sft.model=2024`` names a folder, and ``sft.learning_rate=1e-4`` a number.
    """
    problem: RecipeError | None = None
    try:
        value = yamltext.parse_value(text, where)
    except RecipeError as error:
        problem, value = error, text
    for candidate in (value, text):
        try:
            conform(candidate, item, definitions)
            return candidate
        except Mismatch:
            continue
    if problem is not None:
        raise problem
    return value  # the check of the whole recipe says what is wrong with it


def switch_on(stages: dict[str, Any], setting: str) -> None:
    """Set ``setting``, such as ``people``, in every stage that has it, those of a block of rounds included."""
    known = schema.stage_schemas()
    for name, entry in stages.items():
        if not isinstance(entry, (dict, type(None))):
            continue  # the check of the stage says what is wrong with it
        if isinstance(entry, dict) and is_block(entry):
            if isinstance(entry.get(STAGES), dict):
                switch_on(entry[STAGES], setting)
            continue
        kind = str((entry or {}).get("uses", name))
        if kind in known and setting in known[kind].properties:
            stages[name] = {**(entry or {}), setting: True}
