"""The append-only event log of a run: what was started, finished, interrupted, and when.

One JSON object a line: ``time`` (seconds since the epoch, UTC), ``event``, and what belongs to it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assent.runs.folder import append_jsonl, read_jsonl


@dataclass(frozen=True, slots=True)
class EventLog:
    """The log in one file."""

    path: Path

    def append(self, event: str, **fields: Any) -> None:
        """Add one event; it is on the disk when this returns."""
        append_jsonl(self.path, {"time": round(time.time(), 3), "event": event, **fields})

    def read(self) -> list[dict[str, Any]]:
        """All events, oldest first."""
        return [row for row in read_jsonl(self.path) if isinstance(row, dict)]

    def seconds_spent(self, identity: str) -> float:
        """Seconds that interrupted attempts at a stage of this identity took since it was last finished.

        An attempt that was killed outright could not write its time and is not in the sum.
        """
        spent = 0.0
        for row in self.read():
            if row.get("identity") == identity:
                spent = 0.0 if row["event"] == "stage_finished" else spent + float(row.get("seconds", 0.0))
        return spent
