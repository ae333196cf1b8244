"""Splits a file of lines (JSON Lines, text) into two parts that share no group, the same way on every machine."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import Field

from assent.config import Settings
from assent.errors import DataError
from assent.pipeline.stage import Context, Input, Metrics, Stage
from assent.runs.folder import atomic_write_text


class SplitSettings(Settings):
    """Settings of the split."""

    data: str = Input("data", description="A JSON Lines or text file.")
    share: float = Field(default=0.5, gt=0.0, lt=1.0)
    """Share of the groups that goes into second.jsonl; the rest goes into first.jsonl."""
    group: str | None = None
    """Field whose value keeps rows together: rows that share it land in the same part.  Unset = the whole line."""


def run(settings: SplitSettings, context: Context) -> Metrics:
    """Writes ``first.jsonl`` and ``second.jsonl``."""
    try:
        with open(settings.data, encoding="utf-8") as stream:
            lines = [line.rstrip("\n") for line in stream]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot be read as a text file: {error}", settings.data) from None
    parts: tuple[list[str], list[str]] = ([], [])
    context.progress.start("split", len(lines))
    for number, line in enumerate(lines, 1):
        context.progress.advance()
        if line.strip():
            key = line if settings.group is None else _group(line, settings.group, settings.data, number)
            digest = hashlib.sha256(f"{context.seed}\0{key}".encode()).digest()
            parts[int.from_bytes(digest[:8], "big") / 2**64 < settings.share].append(line)
    context.progress.stop()
    if not all(parts):
        raise DataError(f"has too few groups to split: {len(parts[0])} and {len(parts[1])} rows", settings.data)
    for name, part in zip(("first", "second"), parts, strict=True):
        atomic_write_text(context.out / f"{name}.jsonl", "".join(line + "\n" for line in part))
    return {"first_rows": len(parts[0]), "second_rows": len(parts[1])}


def _group(line: str, field: str, path: str, number: int) -> str:
    try:
        row: Any = json.loads(line)
        return json.dumps(row[field])
    except ValueError:
        raise DataError("not JSON, so it has no group", path, number) from None
    except (KeyError, TypeError):
        raise DataError(f"has no field '{field}' to group by", path, number) from None


STAGE = Stage("split", "Split a file into two parts that share no group", SplitSettings, run)
