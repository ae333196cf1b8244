"""How a run stands, from its event log, its lock and its manifests."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from assent.errors import RunError
from assent.pipeline.outcome import figures
from assent.runs.events import EventLog
from assent.runs.folder import RunFolder
from assent.runs.lock import lock_holder
from assent.runs.manifest import has_manifest, read_manifest

_STATES = {"finished": "done", "started": "running"}


def status(path: str | Path) -> dict[str, Any]:
    """The state of a run and of each of its stages, as plain JSON types; times in seconds.

    Raises :class:`RunError` when ``path`` is no run's folder.
    """
    run = RunFolder(Path(path))
    events = EventLog(run.events).read()
    if not events:
        raise RunError(f"{path}: is not a run's folder; give runs/NAME")
    holder = lock_holder(run.lock_file)
    stages: dict[str, dict[str, Any]] = {}
    state, message = "", ""
    for event in events:
        what, _, how = str(event.get("event", "")).partition("_")
        if what == "run":
            state, message = _STATES.get(how, how), "" if how == "started" else message
            if how == "started":
                stages = {name: stages.get(name, {"stage": name, "state": "not yet"}) for name in event["stages"]}
        elif what == "stage" and "stage" in event:  # not where it was published
            state_of_stage = {
                "state": _STATES.get(how, how),
                "since": event["time"],
                "message": event.get("message", ""),
            }
            stages[event["stage"]] = {"stage": event["stage"], **state_of_stage}
            message = event.get("message", "")
    for name, entry in stages.items():
        if entry["state"] == "running" and holder is None:
            entry["state"] = "killed"
        if entry["state"] == "done" and has_manifest(run.path / name):
            manifest = read_manifest(run.path / name)
            entry.update(kind=manifest.kind, wall_seconds=manifest.wall_seconds, metrics=dict(manifest.metrics))
    if state == "running" and holder is None:
        state = "killed"
    state = "finished" if state == "done" else state
    return {
        "run": str(path),
        "state": state,
        "message": message,
        "holder": holder,
        "last": events[-1]["time"],
        "stages": list(stages.values()),
    }


def as_text(found: dict[str, Any]) -> str:
    """The status as lines for people."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found["last"]))
    by = f" by process {found['holder']['pid']}" if found["holder"] else ""
    lines = [f"{found['run']}: {found['state']}{by}, last event {when}"]
    width = max([len(item["stage"]) for item in found["stages"]] + [5])
    for item in found["stages"]:
        seconds = f"{item['wall_seconds']:8.1f} s" if "wall_seconds" in item else ""
        lines.append(f"  {item['stage']:<{width}}  {item['state']:<11}{seconds}{figures(item.get('metrics', {}))}")
    if found["message"]:
        lines.append(found["message"])
    if found["state"] in ("interrupted", "killed", "failed", "waiting"):
        lines.append(f"'assent run' of the same recipe goes on from there; {found['run']}/recipe.yaml has a copy")
    return "\n".join(line.rstrip() for line in lines)
