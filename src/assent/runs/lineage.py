"""From any artifact back to everything that shaped it, by walking manifests to their parents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assent.errors import RunError
from assent.runs.digest import SHORT
from assent.runs.folder import STAGES
from assent.runs.manifest import InputRecord, Manifest, find_manifest, has_manifest, read_manifest


@dataclass(frozen=True, slots=True)
class Node:
    """A finished stage and what it was made from."""

    folder: Path
    manifest: Manifest
    inputs: tuple[tuple[InputRecord, Node | None], ...]
    """Each input with the stage that made it; ``None`` when no stage did or its folder is gone."""


def trace(path: str | Path) -> tuple[Node, ...]:
    """The lineage of an artifact: a file or folder within a finished stage, or a run's folder (its last stages).

    Raises :class:`RunError` when no finished stage made ``path``, or when a manifest on the way is damaged.
    """
    start = Path(path)
    if not start.exists():
        raise RunError(f"{start}: no such file or folder")
    folder = find_manifest(start)
    known: dict[Path, Node] = {}
    if folder is not None:
        return (_node(folder, known, ()),)
    folders = [item for item in sorted((start / STAGES).glob("*")) if has_manifest(item)]
    if not folders:
        raise RunError(f"{start}: no finished stage made this; give a stage's folder, a file in it, or a run's folder")
    nodes = [_node(item.resolve(), known, ()) for item in folders]
    used = {parent.folder for node in nodes for _, parent in node.inputs if parent is not None}
    return tuple(node for node in nodes if node.folder not in used)


def _node(folder: Path, known: dict[Path, Node], above: tuple[Path, ...]) -> Node:
    if folder in above:
        raise RunError(f"{folder}: its manifest names itself among its own parents, so it was edited")
    if folder not in known:
        manifest = read_manifest(folder)
        parents: list[tuple[InputRecord, Node | None]] = []
        for item in manifest.inputs:
            parent = _parent_folder(folder, item)
            parents.append((item, None if parent is None else _node(parent, known, (*above, folder))))
        known[folder] = Node(folder, manifest, tuple(parents))
    return known[folder]


def _parent_folder(folder: Path, item: InputRecord) -> Path | None:
    """Where the stage that made an input lies now: as recorded, or beside ``folder`` when the run was moved."""
    if item.parent is None:
        return None
    candidates = [folder / item.parent_folder] if item.parent_folder else []
    candidates += sorted(folder.parent.glob(f"*-{item.parent[:SHORT]}"))
    for candidate in candidates:
        if has_manifest(candidate) and read_manifest(candidate).identity == item.parent:
            return candidate.resolve()
    return None


def as_json(node: Node) -> dict[str, Any]:
    """The lineage as plain JSON types; a parent that several stages share appears under each."""
    manifest = node.manifest
    return {
        "stage": manifest.stage,
        "kind": manifest.kind,
        "identity": manifest.identity,
        "folder": str(node.folder),
        "created": manifest.created,
        "seed": manifest.seed,
        "code": manifest.code,
        "settings": dict(manifest.settings),
        "metrics": dict(manifest.metrics),
        "inputs": [
            {
                "name": item.name,
                "source": item.source,
                "digest": item.digest,
                "path": item.path,
                "made_by": None if parent is None else as_json(parent),
            }
            for item, parent in node.inputs
        ],
    }


def as_text(nodes: tuple[Node, ...]) -> str:
    """The lineage as a tree for people; a stage that stands above already is named, not repeated."""
    shown: set[Path] = set()
    return "\n".join(line for node in nodes for line in _lines(node, "", shown))


def _lines(node: Node, label: str, shown: set[Path]) -> Iterator[str]:
    manifest = node.manifest
    head = f"{label}{manifest.stage} ({manifest.kind}) {manifest.identity[:SHORT]}"
    if node.folder in shown:
        yield f"{head}, see above"
        return
    shown.add(node.folder)
    yield f"{head}  seed {manifest.seed}, {manifest.wall_seconds:.1f} s, assent {manifest.code}"
    for index, (item, parent) in enumerate(node.inputs):
        last = index == len(node.inputs) - 1
        branch, stem = ("└─ ", "   ") if last else ("├─ ", "│  ")
        if parent is None:
            yield f"{branch}{item.name}: {_leaf(item)}"
            continue
        for number, line in enumerate(_lines(parent, f"{item.name}: ", shown)):
            yield (branch if number == 0 else stem) + line


def _leaf(item: InputRecord) -> str:
    if item.parent is not None:
        return f"{item.source} {item.parent[:SHORT]} (its folder is gone)"
    if item.artifact == "code":
        return f"{item.source} {item.digest[:SHORT]} (code)"
    if item.path is None:
        return f"{item.source} (hub)"
    return f"{item.source} {item.digest[:SHORT]}" if item.digest else f"{item.source} (store)"
