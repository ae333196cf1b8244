"""The verbs that run one stage alone, their options made from ``schema.json``: no stage is loaded to show its help."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import click

from assent.pipeline import schema
from assent.pipeline.check import resolve
from assent.pipeline.overrides import typed_value

_TYPES = {"string": "TEXT", "integer": "INTEGER", "number": "NUMBER", "array": "LIST", "object": "MAPPING"}
_INPUTS = {"model": "FOLDER|HUB", "data": "PATH|HUB", "folder": "FOLDER", "store": "STORE", "code": "FUNCTION"}
_OWN = frozenset({"out", "overwrite", "seed", "nproc"})
"""Options that every verb has; a setting of such a name is only reached from a recipe."""

Runner = Callable[[str, dict[str, Any], str, int, bool, int], int | None]


def stage_command(kind: str, runner: Runner) -> click.Command:
    """The verb of a kind.  ``runner`` gets kind, settings, ``--out``, ``--seed``, ``--overwrite`` and ``--nproc``."""
    stage = schema.stage_schemas()[kind]
    options = {name: item for name, item in _flattened(stage).items() if name not in _OWN}

    def callback(out: str, seed: int, overwrite: bool, nproc: int = 1, **given: Any) -> int | None:
        settings: dict[str, Any] = {}
        for name, item in options.items():
            value = given[_variable(name)]
            if value not in (None, ()):
                _put(settings, name.split("."), _parsed(name, value, item, stage))
        return runner(kind, settings, out, seed, overwrite, nproc)

    required = [name for name in options if name in stage.required]
    ordered = [*required, *(name for name in options if name in stage.inputs and name not in required)]
    ordered += [name for name in options if name not in ordered]
    params: list[click.Parameter] = [_option(name, options[name], stage) for name in ordered]
    params[len(required) : len(required)] = [
        click.Option(
            ["--out"], required=True, metavar="FOLDER", help="Where the result goes; made whole or not at all."
        ),
    ]
    params += [
        click.Option(["--seed"], type=click.IntRange(min=0), default=0, show_default=True, help="Seed of all chance."),
        click.Option(["--overwrite"], is_flag=True, help="Replace what is in --out."),
    ]
    if stage.trains:
        params.append(nproc_option())
    return click.Command(kind, callback=callback, params=params, help=stage.summary + ".", short_help=stage.summary)


def nproc_option() -> click.Option:
    """``--nproc``, of every command that trains."""
    return click.Option(
        ["--nproc"],
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Processes that train together, each its share of every batch: one for each GPU, or for some cores.",
    )


def _flattened(stage: schema.StageSchema) -> dict[str, Mapping[str, Any]]:
    """Option name -> schema; the settings within a setting become ``--outer.inner``."""
    found: dict[str, Mapping[str, Any]] = {}

    def visit(prefix: str, properties: Mapping[str, Any]) -> None:
        for name, item in properties.items():
            inner = resolve(item, stage.definitions)
            if inner.get("type") == "object" and "properties" in inner:
                visit(f"{prefix}{name}.", inner["properties"])
            else:
                found[prefix + name] = inner

    visit("", stage.properties)
    return found


def _option(name: str, item: Mapping[str, Any], stage: schema.StageSchema) -> click.Option:
    flag = f"--{name.replace('_', '-')}"
    required, default = name in stage.required, _default(item)
    words = " ".join(item.get("description", "").split())
    words += f"  [default: {default}]" if default is not None and not required else ""
    # an explicit default, even None, would satisfy click where the option is required
    common: dict[str, Any] = {"help": words or None, **({"required": True} if required else {"default": None})}
    if _kind(item, stage) == "boolean":
        return click.Option([f"{flag}/--no-{flag[2:]}", _variable(name)], **common)
    repeated = _kind(item, stage) in ("array", "object")
    return click.Option([flag, _variable(name)], metavar=_metavar(name, item, stage), multiple=repeated, **common)


def _variable(name: str) -> str:
    return "setting_" + name.replace(".", "__").replace("-", "_")


def _kind(item: Mapping[str, Any], stage: schema.StageSchema) -> str:
    """The JSON type of a setting; of several, the first that is not null."""
    item = resolve(item, stage.definitions)
    for key in ("anyOf", "oneOf"):
        if key in item:
            kinds = [_kind(arm, stage) for arm in item[key]]
            return next((kind for kind in kinds if kind != "null"), "null")
    return item.get("type", "string")


def _metavar(name: str, item: Mapping[str, Any], stage: schema.StageSchema) -> str:
    kind = _kind(item, stage)
    if name in stage.inputs:
        word = _INPUTS[stage.inputs[name]]
        return f"NAME={word}" if kind == "object" else word
    arms = [resolve(arm, stage.definitions) for arm in item.get("anyOf", [item])]
    words = [str(word) for arm in arms for word in arm.get("enum", [arm["const"]] if "const" in arm else [])]
    return f"[{'|'.join(words)}]" if words else _TYPES.get(kind, "VALUE")


def _default(item: Mapping[str, Any]) -> str | None:
    value = item.get("default")
    if value is None or value == [] or value == {} or value == "":
        return None
    if isinstance(value, bool):
        return "on" if value else "off"
    return value if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else json.dumps(value)


def _parsed(name: str, value: Any, item: Mapping[str, Any], stage: schema.StageSchema) -> Any:
    """A typed value as the setting wants it; an option of a list may be repeated, or given once as ``[a, b]``."""
    where = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return typed_value(value, item, stage.definitions, where)
    kind = _kind(item, stage)
    parsed = [typed_value(part, {}, {}, where) for part in value]
    if len(parsed) == 1 and isinstance(parsed[0], (dict if kind == "object" else list)):
        return parsed[0]
    if kind == "object":
        pairs = [part.partition("=") for part in value]
        bad = next((pair[0] for pair in pairs if not pair[1]), None)
        if bad is not None:
            raise click.BadParameter(f"expected NAME=VALUE, got '{bad}'", param_hint=f"'{where}'")
        return {key: typed_value(text, {}, {}, where) for key, _, text in pairs}
    return parsed


def _put(settings: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        settings = settings.setdefault(key, {})
    settings[keys[-1]] = value
