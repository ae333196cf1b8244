"""A recipe from a manifest alone: what was made once can be made again, and is checked to be the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from assent.errors import RunError
from assent.pipeline.graph import Node, build_graph
from assent.pipeline.recipe import Recipe, recipe_from
from assent.runs.manifest import Manifest, find_manifest, read_manifest


def recipe_of_manifest(
    path: str | Path, overrides: Sequence[str] = (), *, people: bool = False, wait: bool = False
) -> Recipe:
    """The recipe that makes a finished stage again, from the manifest in its folder (or the manifest's own path).

    Raises :class:`RunError` where an input is not what it was, or this assent would make something else; not with
    ``overrides``, which ask for something else.
    """
    manifest = manifest_at(path)
    if not manifest.recipe:
        raise RunError(f"{path}: its manifest was written before manifests held their recipe; run the recipe itself")
    try:
        stages = {name: dict(entry["values"]) for name, entry in manifest.recipe.items()}
        digests = {name: (str(entry["identity"]), dict(entry["inputs"])) for name, entry in manifest.recipe.items()}
    except (KeyError, TypeError, ValueError):
        raise RunError(f"{path}: the recipe in its manifest was edited; run the recipe itself") from None
    recipe = recipe_from({"name": f"{manifest.stage}-again", "stages": stages}, overrides, people=people, wait=wait)
    if all(override.startswith("out=") for override in overrides):
        for node in build_graph(recipe):
            _check_same(node, *digests[node.name], path)
    return recipe


def manifest_at(path: str | Path) -> Manifest:
    """The manifest of the finished stage that a path lies in, or is.  Raises :class:`RunError` where there is none."""
    folder = find_manifest(path) if Path(path).exists() else None
    if folder is None:
        raise RunError(f"{path}: no finished stage there; give a stage's folder, or its manifest.json")
    return read_manifest(folder)


def _check_same(node: Node, identity: str, inputs: Mapping[str, Any], path: str | Path) -> None:
    if node.identity == identity:
        return
    changed = [item.source for item in node.inputs if item.parent is None and inputs.get(item.label) != item.digest]
    if changed:
        raise RunError(
            f"{path}: {' and '.join(changed)} changed since stage '{node.name}' read it, so the same cannot be made "
            "again; put it back, or run the recipe for a new result"
        )
    raise RunError(
        f"{path}: this version of assent makes something else of stage '{node.name}'; install the version that the "
        "manifest names as its code"
    )


def compared(manifest: Manifest, folder: Path) -> str:
    """Whether the files of ``folder`` have the bytes that the manifest promises, in a sentence."""
    again = read_manifest(folder).outputs
    other = sorted(
        name for name in manifest.outputs.keys() | again.keys() if manifest.outputs.get(name) != again.get(name)
    )
    if not other:
        return f"{folder}: all {len(again)} files have the same digests as those of the manifest"
    return f"{folder}: other bytes than those of the manifest in {', '.join(other)} (another machine rounds otherwise)"
