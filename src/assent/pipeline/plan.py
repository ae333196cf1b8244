"""What would run, and why: the recipe's identities compared with the manifests in the run's folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from assent.errors import RunError
from assent.pipeline.graph import Node, build_graph
from assent.pipeline.recipe import Recipe
from assent.runs.digest import SHORT
from assent.runs.folder import RunFolder
from assent.runs.manifest import Manifest, has_manifest, newest_manifest, read_manifest

Action = Literal["run", "resume", "done"]


@dataclass(frozen=True, slots=True)
class PlannedStage:
    """What would become of one stage."""

    name: str
    kind: str
    digest: str
    """The stage's identity."""
    action: Action
    reason: str
    node: Node
    folder: Path
    """Where the finished stage lies or will lie."""


def plan(recipe: Recipe) -> list[PlannedStage]:
    """The stages in order, with what would be done with each and why.  Loads no stage and changes nothing.

    Raises :class:`~assent.errors.RecipeError` for a missing input and :class:`RunError` for a damaged manifest.
    """
    run = RunFolder(recipe.out)
    planned: dict[str, PlannedStage] = {}
    for node in build_graph(recipe):
        action, reason = _decide(node, run, planned)
        folder = run.stage(node.name, node.identity)
        planned[node.name] = PlannedStage(node.name, node.spec.kind, node.identity, action, reason, node, folder)
    return list(planned.values())


def is_done(folder: Path, identity: str) -> bool:
    """Whether ``folder`` is whole and of this identity.

    Raises :class:`RunError` when its manifest is damaged, or when it has none.
    """
    if not folder.exists():
        return False
    if not has_manifest(folder):
        raise RunError(f"{folder}: has no manifest, so it is no finished stage; delete it or move it away")
    if read_manifest(folder).identity != identity:
        raise RunError(f"{folder}: belongs to a stage of another identity; delete it to have this one run")
    return True


def _decide(node: Node, run: RunFolder, planned: Mapping[str, PlannedStage]) -> tuple[Action, str]:
    if is_done(run.stage(node.name, node.identity), node.identity):
        return "done", "nothing changed"
    if run.partial(node.name, node.identity).is_dir():
        return "resume", "was interrupted"
    newest = newest_manifest(run.stages, node.name)
    if newest is None:
        waits = [name for name in node.parents if planned[name].action != "done"]
        return "run", "never ran" + (f"; after {', '.join(waits)}" if waits else "")
    return "run", "; ".join(_changes(node, newest, planned)) or "its folder is gone"


def _changes(node: Node, old: Manifest, planned: Mapping[str, PlannedStage]) -> list[str]:
    """What differs between a stage and the manifest of its newest run, in words."""
    if old.kind != node.spec.kind:
        return [f"kind changed: {old.kind} -> {node.spec.kind}"]
    changes: list[str] = []
    if old.version != node.version:
        changes.append(f"the stage's code changed: version {old.version} -> {node.version}")
    if old.seed != node.spec.seed:
        changes.append(f"seed changed: {old.seed} -> {node.spec.seed}")
    settings = _differences(old.settings, node.settings)
    if settings:
        more = f" and {len(settings) - 3} more" if len(settings) > 3 else ""
        changes.append(f"settings changed: {', '.join(settings[:3])}{more}")
    return changes + _input_changes(node, old, planned)


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    found: list[str] = []
    for key in dict.fromkeys([*new, *old]):
        before, after = old.get(key), new.get(key)
        if before == after:
            continue
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += _differences(before, after, f"{prefix}{key}.")
        else:
            found.append(f"{prefix}{key} {_short(before)} -> {_short(after)}")
    return found


def _input_changes(node: Node, old: Manifest, planned: Mapping[str, PlannedStage]) -> list[str]:
    before = {item.name: item for item in old.inputs}
    now = {item.label: item for item in node.inputs}
    changes: list[str] = []
    for label, item in now.items():
        was = before.get(label)
        if was is None or was.digest == item.digest:
            if was is None:
                changes.append(f"new input {label}: {item.source}")
            continue
        if was.source != item.source:
            changes.append(f"{label} changed: {was.source} -> {item.source}")
        elif item.parent is not None:
            verb = "changed" if planned[item.parent].action == "done" else f"will {planned[item.parent].action}"
            changes.append(f"parent {item.parent} {verb}")
        else:
            changes.append(f"{item.source} changed")
    changes += [f"input {label} was removed" for label in before if label not in now]
    return list(dict.fromkeys(changes))


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 40 else text[:37] + "..."


def as_text(planned: list[PlannedStage]) -> str:
    """The plan as aligned lines."""
    width = max(len(item.name) for item in planned)
    lines = [f"{item.name:<{width}}  {item.digest[:SHORT]}  {item.action:<6}  {item.reason}" for item in planned]
    todo = sum(item.action != "done" for item in planned)
    lines.append(f"{todo} of {len(planned)} stages would run" if todo else "everything is done")
    return "\n".join(lines)


def as_json(planned: list[PlannedStage]) -> list[dict[str, Any]]:
    """The plan as plain JSON types."""
    return [
        {
            "stage": item.name,
            "kind": item.kind,
            "identity": item.digest,
            "action": item.action,
            "reason": item.reason,
            "folder": str(item.folder),
        }
        for item in planned
    ]
