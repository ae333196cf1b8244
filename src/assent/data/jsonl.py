"""Our own records as JSON Lines, written whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from assent.data.rows import read_rows
from assent.errors import DataError
from assent.types import Completion, Prompt, from_json, to_json

R = TypeVar("R")


def write_jsonl(path: str | Path, records: Iterable[Any]) -> int:
    """Write records (or plain mappings), one a line, and return how many.

    The file appears whole or not at all: it is written beside, synced, and renamed.  Raises :class:`DataError` where
    the disk refuses, with nothing left behind.
    """
    path = Path(path)
    count = 0
    beside: str | None = None
    try:
        handle, beside = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            for record in records:
                row = record if isinstance(record, Mapping) else to_json(record)
                file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
                count += 1
            file.flush()
            os.fsync(file.fileno())
        os.chmod(beside, 0o666 & ~_umask())  # mkstemp's file is private; a data file is not
        os.replace(beside, path)
        beside = None
    except OSError as error:
        raise DataError(f"cannot be written: {error.strerror or error}", path) from None
    finally:
        if beside is not None:
            Path(beside).unlink(missing_ok=True)
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


def _umask() -> int:
    # The only way to read it is to set it.
    mask = os.umask(0)
    os.umask(mask)
    return mask
