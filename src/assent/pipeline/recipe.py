"""Recipes: a YAML file read strictly into frozen records, with the place of every value kept for error messages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from assent.errors import RecipeError, nearest
from assent.pipeline import rounds, schema, yamltext
from assent.pipeline.check import Mismatch, conform, shown
from assent.pipeline.overrides import override_value, switch_on
from assent.runs.folder import RESERVED

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_REFERENCE = re.compile(r"\$([A-Za-z0-9][A-Za-z0-9_.-]*)(?:/(.+))?")
_TOP = ("name", "seed", "out", "stages")


@dataclass(frozen=True, slots=True)
class StageSpec:
    """One stage of a recipe."""

    name: str
    kind: str
    values: Mapping[str, Any]
    """Settings and inputs as the recipe gives them; those left out are absent."""
    seed: int
    where: str
    """``FILE, line N`` of the stage."""
    places: Mapping[str, str]
    """Setting -> ``FILE, line N``, or the ``--set`` that gave it."""

    def place(self, key: str) -> str:
        return self.places.get(key, self.where)

    @property
    def title(self) -> str:
        return f"stage '{self.name}'" + (f" (kind {self.kind})" if self.kind != self.name else "")


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe that is right as far as its text goes; nothing has been looked up on the disk yet."""

    name: str
    seed: int
    out: Path
    """The run's folder."""
    stages: tuple[StageSpec, ...]
    path: Path | None
    """The file; ``None`` for a recipe made in Python."""
    text: str
    """The recipe as YAML, overrides included."""

    def stage(self, name: str) -> StageSpec:
        return next(item for item in self.stages if item.name == name)


def load_recipe(path: str | Path, overrides: Sequence[str] = (), *, people: bool = False, wait: bool = False) -> Recipe:
    """Read a recipe file, or ``recipe.yaml`` in a folder.

    ``overrides`` are ``stage.setting=value`` or ``seed=1``, as after ``--set``.  ``people`` asks people instead of
    simulations in every stage that can; ``wait`` serves what they answer in, instead of stopping there.
    Raises :class:`RecipeError` with file and line.
    """
    file = Path(path)
    if file.is_dir() and (file / "recipe.yaml").is_file():
        file = file / "recipe.yaml"
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RecipeError(f"{file}: no such recipe; 'assent init DIR' makes a project with one") from None
    except UnicodeDecodeError:
        raise RecipeError(f"{file}: not a text file in UTF-8, so not a recipe") from None
    except OSError as error:
        raise RecipeError(f"{file}: cannot be read: {error.strerror}") from None
    return parse_recipe(text, str(file), path=file, overrides=overrides, people=people, wait=wait)


def recipe_from(
    value: Mapping[str, Any], overrides: Sequence[str] = (), *, people: bool = False, wait: bool = False
) -> Recipe:
    """A recipe from plain Python values of the same form as the YAML."""
    text = yaml.safe_dump(dict(value), sort_keys=False, allow_unicode=True)
    return parse_recipe(text, "recipe", overrides=overrides, people=people, wait=wait)


def parse_recipe(
    text: str,
    where: str,
    *,
    path: Path | None = None,
    overrides: Sequence[str] = (),
    people: bool = False,
    wait: bool = False,
) -> Recipe:
    """The recipe in a YAML text; see :func:`load_recipe`."""
    tree, lines = yamltext.parse(text, where)
    if tree is None:
        raise RecipeError(f"{where}: the recipe is empty; it needs at least 'stages:'")
    if not isinstance(tree, dict):
        raise RecipeError(f"{where}: expected a mapping with 'stages:', got {shown(tree)}")
    places = {key: f"{where}, line {line}" for key, line in lines.items()}
    for override in overrides:
        override_value(tree, places, override)
    _check_top(tree, places, where)
    for name, wanted in (("people", people), ("wait", wait)):
        if wanted:
            switch_on(tree["stages"], name)
    seed = _seed(tree.get("seed", 0), places.get(("seed",), where))
    entries = rounds.unroll(tree["stages"], places, where)
    stages = tuple(_stage(name, entry, seed, places) for name, entry in entries.items())
    _check_references(stages)
    name = _name(tree, places, where, path)
    if overrides or people or wait:
        text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
    return Recipe(name, seed, Path(tree.get("out") or Path("runs") / name), stages, path, text)


# --- inputs ----------------------------------------------------------------------------------------------------------


def parse_reference(value: str) -> tuple[str, str] | None:
    """``$stage/file`` -> (stage, file), the file empty for the whole folder; ``None`` for what names no stage."""
    match = _REFERENCE.fullmatch(value)
    return (match[1], match[2] or "") if match else None


def input_items(spec: StageSpec) -> Iterator[tuple[str, str, str, str]]:
    """Each input given: (setting, label, kind of artifact, value).

    In a list of inputs the label is ``models[1]``, in a mapping ``models.sft``.
    """
    for key, artifact in schema.stage_schema(spec.kind, spec.where).inputs.items():
        value = spec.values.get(key)
        if isinstance(value, str):
            yield key, key, artifact, value
        elif isinstance(value, (list, tuple)):
            for index, item in enumerate(value):
                yield key, f"{key}[{index}]", artifact, str(item)
        elif isinstance(value, Mapping):
            for name, item in value.items():
                if item is not None:
                    yield key, f"{key}.{name}", artifact, str(item)


def _check_references(stages: tuple[StageSpec, ...]) -> None:
    order = {spec.name: index for index, spec in enumerate(stages)}
    parents: dict[str, set[str]] = {spec.name: set() for spec in stages}
    for spec in stages:
        for _, _, _, value in input_items(spec):
            reference = parse_reference(value)
            if reference is not None:
                parents[spec.name].add(reference[0])
    for index, spec in enumerate(stages):
        for key, label, _, value in input_items(spec):
            if not value.startswith("$"):
                continue
            where = f"{spec.place(key)}: '{label}' of {spec.title}"
            reference = parse_reference(value)
            if reference is None or ".." in reference[1].split("/"):
                raise RecipeError(f"{where}: '{value}' is not of the form $stage or $stage/file")
            other = reference[0]
            if other not in order:
                hint = nearest(other, order) or f"; stages before it: {', '.join(list(order)[:index]) or 'none'}"
                raise RecipeError(f"{where} names an unknown stage '{other}'{hint}")
            if order[other] >= index:
                cycle = _cycle(spec.name, other, parents)
                if cycle:
                    raise RecipeError(f"{where}: the stages need each other in a cycle: {' -> '.join(cycle)}")
                raise RecipeError(f"{where} names stage '{other}', which comes later; move '{other}' above it")


def _cycle(start: str, via: str, parents: Mapping[str, set[str]]) -> list[str]:
    """A way from ``start`` through ``via`` back to ``start``, or nothing."""
    paths = [[start, via]]
    seen: set[str] = set()
    while paths:
        path = paths.pop()
        if path[-1] == start:
            return path
        if path[-1] not in seen:
            seen.add(path[-1])
            paths += [[*path, parent] for parent in sorted(parents.get(path[-1], ()))]
    return []


# --- the parts of a recipe -------------------------------------------------------------------------------------------


def _check_top(tree: dict[str, Any], places: Mapping[yamltext.Path, str], where: str) -> None:
    for key in tree:
        if key not in _TOP:
            hint = nearest(key, _TOP) or f"; a recipe has {', '.join(_TOP)}"
            raise RecipeError(f"{places.get((key,), where)}: unknown key '{key}' in the recipe{hint}")
    if not isinstance(tree.get("stages"), dict) or not tree["stages"]:
        got = shown(tree["stages"]) if "stages" in tree else "none"
        raise RecipeError(f"{places.get(('stages',), where)}: expected 'stages:' with at least one stage, got {got}")
    out = tree.get("out")
    if out is not None and not isinstance(out, str):
        raise RecipeError(f"{places.get(('out',), where)}: 'out' expected a folder's path, got {shown(out)}")


def _name(tree: Mapping[str, Any], places: Mapping[yamltext.Path, str], where: str, path: Path | None) -> str:
    default = "run" if path is None else path.stem if path.stem != "recipe" else path.resolve().parent.name
    name = tree.get("name", default)
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise RecipeError(
            f"{places.get(('name',), where)}: 'name' expected letters, digits, '-', '_' and '.', got {shown(name)}"
        )
    return name


def _seed(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise RecipeError(f"{where}: 'seed' expected a whole number at least 0, got {shown(value)}")
    return value


def _stage(name: str, entry: Any, seed: int, places: Mapping[yamltext.Path, str]) -> StageSpec:
    here = ("stages", name)
    where = places[here]
    if not NAME.fullmatch(name) or name in RESERVED:
        raise RecipeError(f"{where}: '{name}' cannot be a stage's name; use letters, digits, '-' and '_'")
    entry = {} if entry is None else entry
    if not isinstance(entry, dict):
        raise RecipeError(f"{where}: stage '{name}' expected a mapping of settings, got {shown(entry)}")
    known = schema.stage_schemas()
    kind = entry.get("uses", name)
    if "uses" not in entry and name not in known:
        hint = nearest(name, known) or f"; add 'uses:' with one of: {', '.join(sorted(known))}"
        raise RecipeError(f"{where}: stage '{name}' has no 'uses', and its name is no kind of stage{hint}")
    stage = schema.stage_schema(str(kind), places.get((*here, "uses"), where))
    values = {key: value for key, value in entry.items() if key != "uses"}
    own_seed = _seed(values.pop("seed", seed), places.get((*here, "seed"), where))
    if "seed" in stage.properties:
        values["seed"] = own_seed
    found = {key: places.get((*here, key), where) for key in entry}
    spec = StageSpec(name, stage.kind, values, own_seed, where, found)
    return StageSpec(name, stage.kind, check_values(spec, places), own_seed, where, found)


def check_values(spec: StageSpec, places: Mapping[yamltext.Path, str]) -> dict[str, Any]:
    """A stage's values as its schema wants them.  Raises :class:`RecipeError` naming file, line, key and stage."""
    stage = schema.stage_schema(spec.kind, spec.where)
    result: dict[str, Any] = {}
    for key, value in spec.values.items():
        if key not in stage.properties:
            hint = nearest(key, [*stage.properties, "uses", "seed"])
            raise RecipeError(f"{spec.place(key)}: unknown setting '{key}' in {_kind_title(spec)}{hint}")
        try:
            result[key] = conform(value, stage.properties[key], stage.definitions)
        except Mismatch as error:
            place = places.get(("stages", spec.name, key, *error.path), spec.place(key))
            label = ".".join(str(part) for part in (key, *error.path))
            joint = " " if error.message.startswith("expected") else ": "
            raise RecipeError(f"{place}: '{label}' of {_kind_title(spec)}{joint}{error.message}") from None
    for key in sorted(stage.required - set(result)):
        words = stage.properties[key].get("description", "")
        raise RecipeError(
            f"{spec.where}: {_kind_title(spec)} needs '{key}', which is missing{f': {words}' if words else ''}"
        )
    return result


def _kind_title(spec: StageSpec) -> str:
    return f"stage '{spec.name}' (kind {spec.kind})"
