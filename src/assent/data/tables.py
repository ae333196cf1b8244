"""Rows into a file: JSON Lines, JSON, CSV, TSV or Parquet, each also with ``.gz``; written whole or not at all."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any, cast

from assent.errors import DataError

_BATCH = 2_000
"""Rows held in memory at once."""

Rows = Iterable[Mapping[str, Any]]


def write_rows(path: str | Path, rows: Rows) -> int:
    """Write ``rows`` in the format that the file's name says, streaming, and return how many.

    In a table (CSV, TSV) a cell that is a list or an object is written as its JSON, and null as nothing; its columns
    are those of the first row.  Raises :class:`DataError` for a name of no known format, for a row that the format
    cannot hold, and where the disk refuses; then nothing is left behind.
    """
    path = Path(path)
    writer = _WRITERS.get(Path(path.name.lower().removesuffix(".gz")).suffix)
    if writer is None:
        raise DataError(f"unknown kind of file; expected one of {', '.join(sorted(_WRITERS))}, also with .gz", path)
    count = 0

    def counted() -> Iterator[Mapping[str, Any]]:
        nonlocal count
        for row in rows:
            count += 1
            yield row

    try:
        with whole_file(path) as file:
            if path.name.lower().endswith(".gz"):
                with gzip.GzipFile("", "wb", 6, file, mtime=0) as packed:  # no name and time: equal rows, equal bytes
                    writer(cast("IO[bytes]", packed), counted())
            else:
                writer(file, counted())
    except _Cannot as error:
        raise DataError(f"row {count}: {error}", path) from None
    except UnicodeEncodeError:
        raise DataError(f"row {count}: {_NO_CHARACTER}", path) from None
    return count


_NO_CHARACTER = "half of a surrogate pair (\\ud800 to \\udfff) is no character"


class _Cannot(ValueError):
    """A row that the format has no place for."""


@contextmanager
def whole_file(path: Path) -> Generator[IO[bytes]]:
    """A file that appears whole or not at all: it is written beside, synced, and renamed.

    Raises :class:`DataError` where the disk refuses, with nothing left behind.
    """
    beside: str | None = None
    try:
        handle, beside = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            yield file
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


def _write_jsonl(file: IO[bytes], rows: Rows) -> None:
    for row in rows:
        file.write(json_line(row))


def json_line(row: Any) -> bytes:
    """A value as one line of JSON.  Raises ``ValueError`` for what JSON has no place for."""
    try:
        return json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    except UnicodeEncodeError:
        raise _Cannot(_NO_CHARACTER) from None
    except ValueError as error:
        raise _Cannot(f"JSON has no place for it: {error}") from None


def _write_json(file: IO[bytes], rows: Rows) -> None:
    before = b"[\n"
    for row in rows:
        file.write(before + json_line(row)[:-1])
        before = b",\n"
    file.write(b"\n]\n" if before == b",\n" else b"[]\n")


def _table(file: IO[bytes], rows: Rows, **dialect: Any) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text, lineterminator="\n", **dialect)
    names: list[str] | None = None
    for row in rows:
        if names is None:
            names = list(row)
            if not names or len({name.strip() for name in names}) < len(names):
                raise _Cannot("a table needs columns, each with a name of its own")
            _write_line(writer, names)
        if more := set(row) - set(names):
            raise _Cannot(f"a table has the columns of its first row; '{sorted(more)[0]}' is not among them")
        _write_line(writer, [_cell(row.get(name)) for name in names])
    text.flush()
    text.detach()


def _write_line(writer: Any, cells: list[str]) -> None:
    try:
        writer.writerow(cells)
    except csv.Error:
        raise _Cannot(
            "a .tsv is never quoted: a cell with a tab or line end, or an empty one alone, has no place in it"
        ) from None


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json_line(value)[:-1].decode()


def _write_csv(file: IO[bytes], rows: Rows) -> None:
    _table(file, rows, quoting=csv.QUOTE_ALL)


def _write_tsv(file: IO[bytes], rows: Rows) -> None:
    checked = (dict(_no_line_ends(row)) for row in rows)
    _table(file, checked, delimiter="\t", quoting=csv.QUOTE_NONE, quotechar=None)


def _no_line_ends(row: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in row.items():
        if any(mark in name + _cell(value) for mark in "\t\r\n"):
            raise _Cannot(f"column '{name}': a .tsv is never quoted, so a cell holds no tab and no line end")
        yield name, value


def _write_parquet(file: IO[bytes], rows: Rows) -> None:
    """Two passes over a file beside: the columns' types are known when every row was seen."""
    import pyarrow
    import pyarrow.ipc
    import pyarrow.parquet

    with tempfile.TemporaryFile() as aside:
        schemas: list[Any] = []
        places: list[int] = []
        try:
            several = iter(rows)
            while batch := list(islice(several, _BATCH)):
                # from_pylist looks at the first row's columns alone, and would drop what later rows have beside
                names = dict.fromkeys(name for row in batch for name in row)
                table = pyarrow.Table.from_pylist([{name: _no_empty(row.get(name)) for name in names} for row in batch])
                if not schemas or table.schema != schemas[-1]:
                    schemas.append(table.schema)
                places.append(aside.tell())
                with pyarrow.ipc.new_stream(aside, table.schema) as stream:
                    stream.write_table(table)
            schema = pyarrow.unify_schemas(schemas, promote_options="permissive")
            with pyarrow.parquet.ParquetWriter(file, schema) as writer:
                for place in places:
                    aside.seek(place)
                    with pyarrow.ipc.open_stream(aside) as stream:
                        writer.write_table(_conform(stream.read_all(), schema))
        except (pyarrow.ArrowException, OverflowError, TypeError) as error:  # the last two: what Arrow has no type for
            raise _Cannot(f"a column of Parquet has one type: {str(error).splitlines()[0]}") from None


def _no_empty(value: Any) -> Any:
    """Objects without fields have no type in Parquet: null."""
    if isinstance(value, Mapping):
        return {name: _no_empty(item) for name, item in value.items()} or None
    return [_no_empty(item) for item in value] if isinstance(value, (list, tuple)) else value


def _conform(table: Any, schema: Any) -> Any:
    """``table`` with the columns of ``schema``; what it lacks is null."""
    import pyarrow

    if table.schema == schema:
        return table
    return pyarrow.Table.from_pylist(table.to_pylist(), schema=schema)


def _umask() -> int:
    # The only way to read it is to set it.
    mask = os.umask(0)
    os.umask(mask)
    return mask


_WRITERS: dict[str, Callable[[IO[bytes], Rows], None]] = {
    ".jsonl": _write_jsonl,
    ".json": _write_json,
    ".csv": _write_csv,
    ".tsv": _write_tsv,
    ".parquet": _write_parquet,
}
FILES = tuple(sorted(_WRITERS))
"""The endings of file names that :func:`write_rows` knows."""
