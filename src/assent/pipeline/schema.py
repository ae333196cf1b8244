"""The settings of every kind of stage, read from ``schema.json`` without importing pydantic, torch or a stage.

Settings are declared once, beside their owner.  ``python -m assent.pipeline.schema`` imports every stage and writes
them down here; help, ``plan`` and the first check of a recipe read what it wrote, and a test fails when it is stale.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assent.errors import RecipeError, nearest
from assent.pipeline.stages import STAGES

if TYPE_CHECKING:
    from assent.pipeline.stage import Stage

PATH = Path(__file__).with_name("schema.json")


@dataclass(frozen=True, slots=True)
class StageSchema:
    """What is known of a kind of stage without loading it."""

    kind: str
    summary: str
    version: int
    verb: bool
    """Whether the command line offers it as a verb of its own."""
    properties: Mapping[str, Mapping[str, Any]]
    """Setting -> its JSON schema, as pydantic writes it."""
    required: frozenset[str]
    definitions: Mapping[str, Any]
    """What ``#/$defs/...`` in the properties points at."""
    trains: bool = False
    """Whether several processes can run it together."""

    @property
    def inputs(self) -> dict[str, str]:
        """Settings that name inputs -> the kind of artifact."""
        return {name: item["artifact"] for name, item in self.properties.items() if "artifact" in item}

    @property
    def settings(self) -> dict[str, Mapping[str, Any]]:
        """The properties that are not inputs."""
        return {name: item for name, item in self.properties.items() if "artifact" not in item}


@cache
def stage_schemas() -> Mapping[str, StageSchema]:
    """Kind -> schema, from ``schema.json``."""
    return from_table(json.loads(PATH.read_text(encoding="utf-8")))


def stage_schema(kind: str, where: str) -> StageSchema:
    """The schema of a kind.  Raises :class:`RecipeError`, beginning with ``where``, for an unknown one."""
    known = stage_schemas()
    if kind not in known:
        hint = nearest(kind, known) or f"; known kinds: {', '.join(sorted(known))}"
        raise RecipeError(f"{where}: unknown kind of stage '{kind}'{hint}")
    return known[kind]


def from_table(table: Mapping[str, Any]) -> dict[str, StageSchema]:
    """The schemas that :func:`generate` wrote."""
    return {
        kind: StageSchema(
            kind=kind,
            summary=entry["summary"],
            version=entry["version"],
            verb=entry["verb"],
            trains=entry["trains"],
            properties=entry["settings"].get("properties", {}),
            required=frozenset(entry["settings"].get("required", ())),
            definitions=entry["settings"].get("$defs", {}),
        )
        for kind, entry in table["stages"].items()
    }


def load_stage(kind: str) -> Stage:
    """Import the stage of a kind; this is where torch gets loaded."""
    module, _, attribute = STAGES[kind].partition(":")
    stage: Stage = getattr(import_module(module), attribute)
    if stage.kind != kind:
        raise ValueError(f"the stage table has '{kind}' for a stage that calls itself '{stage.kind}'")
    return stage


def generate() -> dict[str, Any]:
    """Import every stage and describe it."""
    stages: dict[str, Any] = {}
    for kind in sorted(STAGES):
        stage = load_stage(kind)
        stages[kind] = {
            "summary": stage.summary,
            "version": stage.version,
            "verb": stage.verb,
            "trains": stage.trains,
            "settings": _without_titles(stage.Settings.model_json_schema()),
        }
    return {"stages": stages}


def dumps(table: Mapping[str, Any]) -> str:
    """The text of ``schema.json``."""
    return json.dumps(table, indent=1, ensure_ascii=False) + "\n"


def _without_titles(value: Any, within_properties: bool = False) -> Any:
    """pydantic's schema less its ``title`` lines, which repeat the names; a setting may itself be called ``title``."""
    if isinstance(value, dict):
        return {
            key: _without_titles(item, key in ("properties", "$defs"))
            for key, item in value.items()
            if within_properties or key != "title" or not isinstance(item, str)
        }
    return [_without_titles(item) for item in value] if isinstance(value, list) else value


# --- one schema for whole recipes, for editors -----------------------------------------------------------------------


def recipe_schema() -> dict[str, Any]:
    """A JSON Schema (draft 2020-12) of recipes."""
    definitions: dict[str, Any] = {}
    choices: list[Any] = []
    named: dict[str, Any] = {}
    for kind, stage in sorted(stage_schemas().items()):
        definitions[f"stage.{kind}"] = _stage_definition(stage)
        for name, item in stage.definitions.items():
            definitions[f"{kind}.{name}"] = _moved(item, kind)
        choices.append(
            {
                "if": {"required": ["uses"], "properties": {"uses": {"const": kind}}},
                "then": {"$ref": f"#/$defs/stage.{kind}"},
            }
        )
        named[kind] = {
            "if": {"type": "object", "required": ["uses"]},
            "then": {"$ref": "#/$defs/stage"},
            "else": {"$ref": f"#/$defs/stage.{kind}"},
        }
    definitions["stage"] = {
        "type": "object",
        "required": ["uses"],
        "properties": {"uses": {"enum": sorted(stage_schemas()), "description": "The kind of stage."}},
        "allOf": choices,
    }
    definitions["rounds"] = _block_definition(named)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "assent recipe",
        "type": "object",
        "required": ["stages"],
        "additionalProperties": False,
        "properties": {
            "name": {"type": "string", "description": "The run's name; the file's name when left out."},
            "seed": {"type": "integer", "minimum": 0, "default": 0, "description": "Every stage inherits it."},
            "out": {"type": "string", "description": "The run's folder; runs/NAME when left out."},
            "stages": {
                "type": "object",
                "minProperties": 1,
                "description": "Stages in the order in which they run.",
                "properties": named,
                "additionalProperties": {
                    "if": {"type": "object", "required": ["rounds"]},
                    "then": {"$ref": "#/$defs/rounds"},
                    "else": {"$ref": "#/$defs/stage"},
                },
            },
        },
        "$defs": definitions,
    }


def _block_definition(named: Mapping[str, Any]) -> dict[str, Any]:
    """A block of rounds; a stage of it may be several methods, each with a share of the steps."""
    share = {"type": "number", "exclusiveMinimum": 0, "description": "Share of the steps, a weight."}
    methods = {
        "type": "object",
        "required": ["methods", "steps"],
        "properties": {
            "steps": {"type": "integer", "minimum": 1, "description": "Steps of all methods together."},
            "methods": {
                "type": "object",
                "minProperties": 1,
                "description": "Methods in their order, each from the policy of the one before.",
                "additionalProperties": {"type": ["object", "null"], "properties": {"share": share}},
            },
        },
    }

    def one(other: Any) -> dict[str, Any]:
        return {"if": {"type": "object", "required": ["methods"]}, "then": methods, "else": other}

    return {
        "type": "object",
        "description": "Stages that are run in each round.",
        "required": ["rounds", "stages"],
        "properties": {
            "rounds": {"type": "integer", "minimum": 1, "maximum": 1000, "description": "How many rounds."},
            "stages": {
                "type": "object",
                "minProperties": 1,
                "properties": {name: one(item) for name, item in named.items()},
                "additionalProperties": one({"$ref": "#/$defs/stage"}),
            },
            "changes": {
                "type": "object",
                "description": "Round -> stage -> settings that are others in that round.",
                "additionalProperties": {"type": "object", "additionalProperties": {"type": ["object", "null"]}},
            },
        },
        "additionalProperties": False,
    }


def _stage_definition(stage: StageSchema) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "uses": {"const": stage.kind, "description": stage.summary},
        "seed": {"type": "integer", "minimum": 0, "description": "The recipe's seed when left out."},
    }
    properties.update({name: _moved(item, stage.kind) for name, item in stage.properties.items()})
    return {
        "type": "object",
        "description": stage.summary,
        "properties": properties,
        "required": sorted(stage.required),
        "additionalProperties": False,
    }


def _moved(value: Any, kind: str) -> Any:
    """A schema whose references point at the definitions under the kind's own name; our own marks are left out."""
    if isinstance(value, Mapping):
        return {
            key: f"#/$defs/{kind}.{item.removeprefix('#/$defs/')}" if key == "$ref" else _moved(item, kind)
            for key, item in value.items()
            if key not in ("artifact", "identity")
        }
    return [_moved(item, kind) for item in value] if isinstance(value, list) else value


def main() -> int:
    """Write ``schema.json``; with ``--check`` only say whether it is stale (exit status 1)."""
    text = dumps(generate())
    stale = not PATH.exists() or PATH.read_text(encoding="utf-8") != text
    if "--check" in sys.argv[1:]:
        print(f"{PATH}: {'stale; run python -m assent.pipeline.schema' if stale else 'up to date'}")
        return int(stale)
    PATH.write_text(text, encoding="utf-8")
    print(f"{PATH}: {'written' if stale else 'up to date'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
