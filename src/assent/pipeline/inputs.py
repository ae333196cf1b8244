"""What a stage is handed: inputs resolved to paths that exist, and their records for the manifest."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assent.errors import RunError, nearest
from assent.pipeline.graph import Node, ResolvedInput
from assent.runs.manifest import InputRecord, find_manifest, read_manifest


def input_values(node: Node, parents: Mapping[str, Path]) -> dict[str, Any]:
    """The stage's settings as given, each input replaced by a path or hub name.

    ``parents`` are the finished folders of the stages it reads.  Raises :class:`RunError` when a stage did not make
    the file that is asked of it.
    """
    values = dict(node.spec.values)
    found_paths: dict[str, list[str]] = {}
    for item in node.inputs:
        found = _located(item, parents)
        if item.parent is not None and item.artifact != "store" and found is not None and not found.exists():
            made = sorted(path.name for path in parents[item.parent].iterdir() if not path.name.startswith("."))
            hint = nearest(item.subpath, made) or f"; it made: {', '.join(made)}"
            raise RunError(f"{node.spec.place(item.key)}: stage '{item.parent}' made no '{item.subpath}'{hint}")
        found_paths.setdefault(item.key, []).append(item.source if found is None else str(found))
    for key, paths in found_paths.items():  # in the order in which the recipe has them
        given = values[key]
        if isinstance(given, Mapping):
            values[key] = dict(zip(given, paths, strict=True))
        else:
            values[key] = paths[0] if isinstance(given, str) else paths
    return values


def input_records(node: Node, parents: Mapping[str, Path], folder: Path) -> tuple[InputRecord, ...]:
    """The inputs for the manifest in ``folder``; a path within another finished stage names it as parent."""
    records: list[InputRecord] = []
    for item in node.inputs:
        path = _located(item, parents)
        parent = None if path is None or item.artifact == "store" else find_manifest(path)
        records.append(
            InputRecord(
                name=item.label,
                source=item.source,
                digest=item.digest,
                path=None if path is None else _written(path, folder),
                parent=None if parent is None else read_manifest(parent).identity,
                parent_folder=None if parent is None else _written(parent, folder),
            )
        )
    return tuple(records)


def _located(item: ResolvedInput, parents: Mapping[str, Path]) -> Path | None:
    if item.parent is None:
        return item.path
    return parents[item.parent] / item.subpath if item.subpath else parents[item.parent]


def _written(path: Path, folder: Path) -> str:
    """Relative within the same run, so that the run can be moved; absolute otherwise."""
    path, home = path.resolve(), folder.resolve().parent
    return os.path.relpath(path, home / folder.name) if path.is_relative_to(home) else str(path)
