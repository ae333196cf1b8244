"""Work that a stage does in portions: each is kept once it is done, so that a killed stage goes on after the last."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from assent.runs.digest import digest_json
from assent.runs.folder import CHECKPOINTS, append_jsonl, read_jsonl

_FILE = "portions.jsonl"


class Portions:
    """The portions of one stage, in its unfinished folder ``out``; one that is torn or was edited is made again."""

    def __init__(self, out: Path, writes: bool = True) -> None:
        """``writes``: whether this process keeps them, and not another that makes the same ones."""
        self._writes = writes
        self._path = out / CHECKPOINTS / _FILE
        self._done: dict[str, Any] = {}
        for row in read_jsonl(self._path):
            if isinstance(row, dict) and row.get("digest") == digest_json([row.get("portion"), row.get("value")]):
                self._done[row["portion"]] = row["value"]

    def get(self, name: str, make: Callable[[], Any]) -> Any:
        """The portion of this name as plain JSON types: as it was kept, or made now and on the disk on return."""
        if name not in self._done:
            value = make()
            if self._writes:
                self._path.parent.mkdir(exist_ok=True)
                append_jsonl(self._path, {"portion": name, "value": value, "digest": digest_json([name, value])})
            self._done[name] = value
        return self._done[name]
