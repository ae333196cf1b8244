"""Our own records as JSON Lines, written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from assent.data.rows import read_rows
from assent.data.tables import json_line, whole_file
from assent.types import Completion, Prompt, from_json, to_json

R = TypeVar("R")


def write_jsonl(path: str | Path, records: Iterable[Any]) -> int:
    """Write records (or plain mappings), one a line, and return how many.

    The file appears whole or not at all: it is written beside, synced, and renamed.  Raises :class:`DataError` where
    the disk refuses, with nothing left behind.
    """
    count = 0
    with whole_file(Path(path)) as file:
        for record in records:
            file.write(json_line(record if isinstance(record, Mapping) else to_json(record)))
            count += 1
    return count


def read_jsonl(path: str | Path, cls: type[R]) -> list[R]:
    """The records of one class that :func:`write_jsonl` wrote.  A field that is not the class's is an error."""
    records: list[R] = []
    for row in read_rows(path):
        try:
            records.append(from_json(cls, row.values))
        except (ValueError, TypeError, AttributeError) as error:
            raise row.error(str(error)) from None
    return records


def write_completions(path: str | Path, pairs: Iterable[tuple[Prompt, Completion]]) -> int:
    """Write completions with their prompts inline, for :func:`assent.data.readers.read_completions`."""
    return write_jsonl(path, ({"prompt": to_json(prompt), **to_json(completion)} for prompt, completion in pairs))
