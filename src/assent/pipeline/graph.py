"""The stages of a recipe with their inputs looked up and their identities known, before anything has run.

The identity of a stage is the digest of its kind, version, settings, seed and inputs.  An input that another stage
makes counts by that stage's identity, a local path by its content, a function by the content of the file that it stands
in (not of those which that file imports), a hub name by the name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

from assent.errors import RecipeError, nearest
from assent.pipeline import schema
from assent.pipeline.check import Mismatch, conform
from assent.pipeline.recipe import Recipe, StageSpec, input_items, parse_reference
from assent.runs.adapter import bases_of
from assent.runs.digest import digest_json, digest_path

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*([:@][\w./:@+-]+)?")
_BARE_NAMES = re.compile(
    r"(gpt2|gpt2-medium|gpt2-large|gpt2-xl|distilgpt2|openai-gpt|bert-base-(un)?cased|roberta-(base|large)"
    r"|t5-(small|base|large)|imdb|sst2|glue|rotten_tomatoes|ag_news|wikitext)([:@][\w./:@+-]+)?"
)
_FILE_ENDINGS = (
    ".jsonl", ".json", ".csv", ".tsv", ".parquet", ".txt", ".gz", ".zst", ".xz", ".zip", ".tar", ".arrow", ".yaml",
    ".yml", ".db", ".md", ".safetensors", ".bin", ".pt", ".gguf",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ResolvedInput:
    """One input of a stage, looked up."""

    key: str
    label: str
    """``key``, or ``key[1]`` in a list of inputs, ``key.name`` in a mapping."""
    source: str
    """As the recipe has it."""
    artifact: str
    digest: str
    """What enters the stage's identity; empty for a store."""
    parent: str | None = None
    """The stage of this recipe that makes it; ``None`` when it is a path or a hub name."""
    subpath: str = ""
    """The file within the parent's folder; empty for the folder."""
    path: Path | None = None
    """The local path; ``None`` for a hub name and for what a stage makes."""


@dataclass(frozen=True, slots=True)
class Node:
    """One stage, ready to be compared with what lies on the disk."""

    spec: StageSpec
    version: int
    settings: Mapping[str, Any]
    """All settings that are not inputs, defaults included."""
    inputs: tuple[ResolvedInput, ...]
    identity: str

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def parents(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(item.parent for item in self.inputs if item.parent is not None))


def build_graph(recipe: Recipe) -> tuple[Node, ...]:
    """The nodes in the order of the recipe.

    Raises :class:`RecipeError`, naming file, line and key, for an input path that is not there.
    """
    base = None if recipe.path is None else recipe.path.parent
    nodes: dict[str, Node] = {}
    for spec in recipe.stages:
        nodes[spec.name] = build_node(spec, nodes, base)
    return tuple(nodes.values())


def build_node(spec: StageSpec, earlier: Mapping[str, Node], base: Path | None) -> Node:
    """The node of one stage, given those before it.  ``base`` is the folder that the recipe lies in."""
    stage = schema.stage_schema(spec.kind, spec.where)
    inputs = tuple(_resolve(spec, *item, earlier, base) for item in input_items(spec))
    settings = _settings(spec, stage)
    unmarked = {key: value for key, value in settings.items() if stage.properties[key].get("identity", True)}
    identity = digest_json(
        {
            "kind": spec.kind,
            "version": stage.version,
            "settings": unmarked,
            "seed": spec.seed,
            "inputs": {item.label: item.digest for item in inputs if item.digest},
        }
    )
    return Node(spec, stage.version, settings, inputs, identity)


def _settings(spec: StageSpec, stage: schema.StageSchema) -> dict[str, Any]:
    """The settings with defaults filled in, so that writing a default down changes no identity."""
    result: dict[str, Any] = {}
    for key, item in stage.settings.items():
        if key in spec.values:
            result[key] = spec.values[key]
        elif "default" in item:
            try:
                result[key] = conform(item["default"], item, stage.definitions)
            except Mismatch:  # a default may lie outside its own type, as pydantic allows
                result[key] = item["default"]
    return result


def _resolve(
    spec: StageSpec,
    key: str,
    label: str,
    artifact: str,
    source: str,
    earlier: Mapping[str, Node],
    base: Path | None,
) -> ResolvedInput:
    reference = parse_reference(source)
    if reference is not None:
        parent, subpath = reference
        digest = "" if artifact == "store" else digest_json(["stage", earlier[parent].identity, subpath])
        return ResolvedInput(key, label, source, artifact, digest, parent=parent, subpath=subpath)
    if artifact == "store":
        path = None if "://" in source else Path(source).expanduser()
        return ResolvedInput(key, label, source, artifact, "", path=path)
    typed = spec.place(key).startswith("--")
    if artifact == "code":
        return _function(spec, key, label, source, None if typed else base)
    found, looked = _find(source, None if typed else base)
    if found is not None:
        made = ResolvedInput(key, label, source, artifact, "", path=found)
        return replace(made, digest=content_digest(made))
    if artifact in ("model", "data") and is_hub_name(source):
        return ResolvedInput(key, label, source, artifact, digest_json(["hub", source]))
    raise RecipeError(f"{spec.place(key)}: '{label}' of {spec.title}: {_missing(source, artifact, looked)}")


def _function(spec: StageSpec, key: str, label: str, source: str, base: Path | None) -> ResolvedInput:
    """A function of the user's, by the content of its file; a module that no file is found for counts by its name."""
    where, _, name = source.rpartition(":")
    if not where.endswith(".py"):
        file = module_file(where)
        digest = digest_json(["module", source] if file is None else ["code", name, digest_path(file)])
        return ResolvedInput(key, label, source, "code", digest)
    found, looked = _find(where, base)
    if found is None:
        raise RecipeError(f"{spec.place(key)}: '{label}' of {spec.title}: {_missing(where, 'code', looked)}")
    made = ResolvedInput(key, label, source, "code", "", path=found)
    return replace(made, digest=content_digest(made))


def content_digest(item: ResolvedInput) -> str:
    """The digest of an input that is a local path, as it lies on the disk now; empty when it is gone."""
    if item.path is None or not item.path.exists():
        return ""
    if item.artifact == "code":
        return digest_json(["code", item.source.rpartition(":")[2], digest_path(item.path)])
    below = bases_of(item.path) if item.artifact == "model" else []  # an adapter is nothing without its base
    content = [digest_path(base) if Path(base).exists() else base for base in below]
    return digest_json(["content", digest_path(item.path), *content])


def module_file(name: str) -> Path | None:
    """The file of a module, found without importing it or the packages it lies in; ``None`` where there is none."""
    places: Sequence[str] | None = None
    spec: ModuleSpec | None = None
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        try:
            spec = PathFinder.find_spec(".".join(parts[:depth]), places)
        except (ImportError, ValueError):
            return None
        if spec is None:
            return None
        places = list(spec.submodule_search_locations or ())
    return Path(spec.origin) if spec is not None and spec.has_location and spec.origin else None


def is_hub_name(source: str) -> bool:
    """Whether a string that is no local path can be meant as the name of a model or data set on the hub."""
    if source.startswith(("./", "../", "/", "~", ".\\")) or source.lower().endswith(_FILE_ENDINGS):
        return False
    return bool(_HUB_NAME.fullmatch(source) or _BARE_NAMES.fullmatch(source))


def _find(source: str, base: Path | None) -> tuple[Path | None, list[Path]]:
    """A path in a recipe is looked for beside the recipe, then from the current folder, as a typed one only is."""
    path = Path(source).expanduser()
    candidates = [path] if path.is_absolute() or base is None else list(dict.fromkeys([base / path, path]))
    return next((item for item in candidates if item.exists()), None), candidates


def _missing(source: str, artifact: str, looked: list[Path]) -> str:
    if not source:
        return "expected a path, got an empty text"
    names: list[str] = []
    for path in looked:
        if path.parent.is_dir():
            names += [item.name for item in path.parent.iterdir()]
    places = " nor ".join(f"'{path}'" for path in looked)
    hint = nearest(Path(source).name, names)
    if artifact in ("model", "data") and not hint:
        hint = f"; a {artifact} on the hub is written 'owner/name'"
    return f"there is no file or folder {places}{hint}"
