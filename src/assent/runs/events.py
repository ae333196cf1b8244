"""The append-only event log of a run: what was started, finished, interrupted, and when.

One JSON object a line: ``time`` (seconds since the epoch, UTC), ``event``, and what belongs to it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from assent.runs.folder import append_jsonl, read_jsonl

_LATEST = 1e11
"""Seconds since the epoch: the year 5138."""


@dataclass(frozen=True, slots=True)
class EventLog:
    """The log in one file."""

    path: Path

    def append(self, event: str, **fields: Any) -> None:
        """Add one event; it is on the disk when this returns."""
        append_jsonl(self.path, {"time": round(time.time(), 3), "event": event, **fields})

    def read(self) -> list[dict[str, Any]]:
        """All events, oldest first."""
        rows = [cast("dict[str, Any]", row) for row in read_jsonl(self.path) if isinstance(row, dict)]
        return [row for row in rows if _is_event(row)]

    def seconds_spent(self, identity: str) -> float:
        """Seconds that interrupted attempts at a stage of this identity took since it was last finished.

        An attempt that was killed outright could not write its time and is not in the sum.
        """
        spent = 0.0
        for row in self.read():
            if row.get("identity") == identity:
                spent = 0.0 if row["event"] == "stage_finished" else spent + float(row.get("seconds", 0.0))
        return spent


def _is_event(row: dict[str, Any]) -> bool:
    """Whether the row is one that :meth:`EventLog.append` wrote, and not what an edit made of it."""
    numbers = [row.get("time"), row.get("seconds", 0.0)]
    if not all(isinstance(number, (int, float)) and 0 <= number < _LATEST for number in numbers):
        return False
    kind = row.get("event")
    if not isinstance(kind, str) or (kind.startswith("stage_") and not isinstance(row.get("stage", ""), str)):
        return False
    stages: Any = row.get("stages", None if kind == "run_started" else [])
    return isinstance(stages, list) and all(isinstance(name, str) for name in cast("list[Any]", stages))
