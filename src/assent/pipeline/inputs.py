"""What a stage is handed: inputs resolved to paths that exist, and their records for the manifest."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from assent.errors import RunError, nearest
from assent.pipeline import schema
from assent.pipeline.graph import Node, ResolvedInput, content_digest
from assent.runs.adapter import bases_of
from assent.runs.digest import digest_file, digest_json, digest_path
from assent.runs.manifest import InputRecord, find_manifest, read_manifest


def input_values(node: Node, parents: Mapping[str, Path]) -> dict[str, Any]:
    """The stage's settings as given, each input replaced by a path or hub name.

    ``parents`` are the finished folders of the stages it reads.  Raises :class:`RunError` when a stage did not make
    the file that is asked of it.
    """

    def value(item: ResolvedInput) -> str:
        found = _located(item, parents)
        if item.parent is not None and item.artifact != "store" and found is not None and not found.exists():
            made = sorted(path.name for path in parents[item.parent].iterdir() if not path.name.startswith("."))
            hint = nearest(item.subpath, made) or f"; it made: {', '.join(made)}"
            raise RunError(f"{node.spec.place(item.key)}: stage '{item.parent}' made no '{item.subpath}'{hint}")
        return item.source if found is None else _named(item, found)

    return _replaced(node, value)


def lasting_values(node: Node) -> dict[str, Any]:
    """The stage's settings as another recipe could have them: inputs that no stage makes by their whole paths, those
    that do not enter its identity left out."""
    given = _replaced(node, lambda item: _named(item, item.path.resolve()) if item.path else item.source)
    inputs = {item.key for item in node.inputs}
    kept = schema.stage_schema(node.spec.kind, node.spec.where).properties
    settings = {key: value for key, value in node.settings.items() if kept[key].get("identity", True)}
    return {key: value for key, value in given.items() if key in inputs} | settings


def check_inputs(node: Node, parents: Mapping[str, Path]) -> None:
    """That the inputs still are what the stage's identity says: hours may lie between the plan and the stage.

    Raises :class:`RunError` for a file that was changed since, and for a parent's that was changed after it was made.
    """
    for item in node.inputs:
        if item.path is not None and item.artifact != "store" and content_digest(item) != item.digest:
            raise RunError(
                f"{item.path}: was changed after this run had looked at it, so '{item.label}' of stage "
                f"'{node.name}' is not what was planned; run the same again"
            )
    for name in node.parents:
        manifest = read_manifest(parents[name])
        used = [item.subpath for item in node.inputs if item.parent == name and item.artifact != "store"]
        for file, digest in manifest.outputs.items():
            path = parents[name] / file
            if not any(not part or file == part or file.startswith(f"{part}/") for part in used):
                continue
            if not path.is_file() or digest_file(path) != digest:
                raise RunError(
                    f"{path}: was changed after stage '{name}' had made it; put it back, or delete {parents[name]} to "
                    "have that stage run again"
                )


def _replaced(node: Node, value: Callable[[ResolvedInput], str]) -> dict[str, Any]:
    """The stage's values with each input replaced, lists and mappings of inputs in their form."""
    values = dict(node.spec.values)
    found: dict[str, list[str]] = {}
    for item in node.inputs:
        found.setdefault(item.key, []).append(value(item))
    for key, paths in found.items():  # in the order in which the recipe has them
        given = values[key]
        if isinstance(given, Mapping):
            left = iter(paths)
            values[key] = {name: None if one is None else next(left) for name, one in given.items()}
        else:
            values[key] = paths[0] if isinstance(given, str) else paths
    return values


def _named(item: ResolvedInput, path: Path) -> str:
    return f"{path}:{item.source.rpartition(':')[2]}" if item.artifact == "code" else str(path)


def input_records(node: Node, parents: Mapping[str, Path], folder: Path) -> tuple[InputRecord, ...]:
    """The inputs for the manifest in ``folder``; a path within another finished stage names it as parent.

    The base of an adapter that no stage made is an input as well; one that a stage made has it among its own.
    """
    records: list[InputRecord] = []
    for item in node.inputs:
        path = _located(item, parents)
        parent = None if path is None or item.artifact == "store" else find_manifest(path)
        records.append(_record(item.label, item.source, item.artifact, item.digest, path, parent, folder))
        for base in bases_of(path) if path is not None and parent is None and item.artifact == "model" else ():
            place = Path(base) if Path(base).exists() else None
            digest = digest_json(["hub", base] if place is None else ["content", digest_path(place)])
            made = find_manifest(place) if place else None
            records.append(_record(f"{item.label} base", base, "model", digest, place, made, folder))
    return tuple(records)


def _record(
    name: str, source: str, artifact: str, digest: str, path: Path | None, parent: Path | None, folder: Path
) -> InputRecord:
    return InputRecord(
        name=name,
        source=source,
        artifact=artifact,
        digest=digest,
        path=None if path is None else _written(path, folder),
        parent=None if parent is None else read_manifest(parent).identity,
        parent_folder=None if parent is None else _written(parent, folder),
    )


def _located(item: ResolvedInput, parents: Mapping[str, Path]) -> Path | None:
    if item.parent is None:
        return item.path
    return parents[item.parent] / item.subpath if item.subpath else parents[item.parent]


def _written(path: Path, folder: Path) -> str:
    """Relative within the same run, so that the run can be moved; absolute otherwise."""
    path, home = path.resolve(), folder.resolve().parent
    return os.path.relpath(path, home / folder.name) if path.is_relative_to(home) else str(path)
