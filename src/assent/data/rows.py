"""Rows of a data file, folder or hub dataset, each with the place it came from.

This is the layer under :mod:`assent.data.readers` and :mod:`assent.data.forms`: it knows file formats and nothing of
what the columns mean.  Files are streamed, but for ``.json``, which is one list.
"""

from __future__ import annotations

import csv
import errno
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assent.data import hub
from assent.errors import DataError

SPLIT_NAMES: dict[str, frozenset[str]] = {
    "train": frozenset({"train", "training"}),
    "validation": frozenset({"validation", "valid", "val", "dev", "eval"}),
    "test": frozenset({"test", "testing"}),
}
_NOT_DATA = frozenset({"manifest", "config", "dataset_info", "state", "dataset_dict", "metrics", "report", "readme"})
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its values by column, the file, and the line it starts on, counted from 1.

    Parquet files and hub datasets have no lines: there ``line`` counts rows.
    """

    values: dict[str, Any]
    path: str
    line: int

    def error(self, message: str) -> DataError:
        """A :class:`DataError` that names this row."""
        return DataError(message, self.path, self.line)


Refuse = Callable[[DataError], None]
"""Told of a row that cannot be read; returning goes on with the next one."""


def stop(error: DataError) -> None:
    """The strict :data:`Refuse`: the first row that cannot be read ends the reading."""
    raise error


def read_rows(source: str | Path, split: str | None = None, refuse: Refuse = stop) -> Iterator[Row]:
    """Yield the rows of ``source``, in its order.

    ``source`` is a ``.jsonl``, ``.json`` (a list of objects), ``.csv``, ``.tsv`` (never quoted), ``.parquet`` or
    ``.txt`` (a row a non-blank line, column ``text``) file, also with ``.gz``; a folder of them, from which ``split``
    picks by file name (``train.*``; ``validation.*``, ``dev.*``; ``test.*``); or a hub dataset, ``org/name`` or
    ``org/name:config``.  Without ``split``, a folder or hub dataset gives ``train``.  A single file is its own
    ``train`` split, as in ``datasets``.

    Raises :class:`DataError` naming file and line: missing, empty, malformed, not UTF-8, not an object.  What concerns
    one row goes to ``refuse``, which may let the reading go on; what spoils the whole file is always raised.
    """
    path = Path(source)
    try:
        path.stat()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            raise DataError(f"cannot be looked at: {error.strerror}", path) from None
    except ValueError:  # a NUL in it
        raise DataError("no file or hub dataset can have this name", path) from None
    if path.is_file():
        if split not in (None, "train") and split not in SPLIT_NAMES["train"]:
            raise DataError(f"one file has no split '{split}'; give a folder with a {split}.* file, or no split", path)
        yield from _read_files([path], refuse)
    elif path.is_dir():
        if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
            yield from _numbered(hub.load_from_disk(path, split), str(path))
        else:
            yield from _read_files(pick_split(path, split), refuse)
    elif hub.looks_like_name(str(source)) and _format_of(path) is None:
        yield from _numbered(hub.load(str(source), split), str(source))
    else:
        raise DataError("no such file or folder; expected a data file, a folder of them, or a hub name org/name", path)


def _numbered(values: Iterator[dict[str, Any]], path: str) -> Iterator[Row]:
    number = 0
    for number, value in enumerate(values, start=1):
        yield Row(value, path, number)
    if number == 0:
        raise DataError("no rows in it; expected at least one", path)


def _read_files(paths: list[Path], refuse: Refuse) -> Iterator[Row]:
    """The rows of several shards as one; each may be empty, all together not."""
    count = 0

    def counted(error: DataError) -> None:
        nonlocal count
        count += 1
        refuse(error)

    for path in paths:
        reader = _format_of(path)
        if reader is None:
            known = ", ".join(sorted(_FORMATS))
            raise DataError(f"unknown kind of file; expected one of {known}, or one of these with .gz", path)
        for row in _guarded(reader, path, counted):
            count += 1
            yield row
    if count == 0:
        raise DataError("the file is empty; expected at least one row", paths[0])


def pick_split(folder: Path, split: str | None) -> list[Path]:
    """The file (or the numbered shards) of ``folder`` that hold ``split``; ``None`` takes the only file, else train."""
    files = sorted(f for f in folder.iterdir() if f.is_file() and _format_of(f) and _stem(f).lower() not in _NOT_DATA)
    files = [f for f in files if not f.name.lower().endswith((".txt", ".txt.gz"))] or files  # notes beside the data
    if not files:
        known = ", ".join(sorted(_FORMATS))
        raise DataError(f"no data file in this folder; expected one of {known}", folder)
    if split is None and len(files) == 1:
        return files
    wanted = split or "train"
    names = next((names for names in SPLIT_NAMES.values() if wanted in names), frozenset({wanted}))
    exact = [f for f in files if _SHARD.sub("", _stem(f)).lower() in names]
    found = exact or [f for f in files if names & set(re.split(r"[._-]", _stem(f).lower()))]
    listing = ", ".join(f.name for f in files[:8]) + (", …" if len(files) > 8 else "")
    if not found:
        raise DataError(f"no file of split '{wanted}' among {listing}; name the file itself", folder)
    one_series = {_SHARD.sub("", _stem(f)) for f in found}
    if len(found) > 1 and not (len(one_series) == 1 and all(_SHARD.search(_stem(f)) for f in found)):
        raise DataError(f"several files could be split '{wanted}': {listing}; name the file itself", folder)
    return found


def _stem(path: Path) -> str:
    name = path.name.removesuffix(".gz")
    return name[: -len(Path(name).suffix)] if Path(name).suffix else name


def _format_of(path: Path) -> Reader | None:
    return _FORMATS.get(Path(path.name.lower().removesuffix(".gz")).suffix)


def _guarded(reader: Reader, path: Path, refuse: Refuse) -> Iterator[Row]:
    """``reader``'s rows, with what the operating system and gzip complain about said as a :class:`DataError`."""
    try:
        yield from reader(path, refuse)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"not a whole gzip file ({error}); fetch or make it again", path) from None
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", path) from None


def read_lines(path: Path, refuse: Refuse = stop) -> Iterator[tuple[int, str]]:
    """Line numbers from 1 and lines, decoded one by one so that a bad byte has a line number."""
    with gzip.open(path, "rb") if path.name.lower().endswith(".gz") else open(path, "rb") as file:
        for number, raw in enumerate(file, start=1):
            try:
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                refuse(DataError(f"not UTF-8 (byte {error.start + 1}); save it as UTF-8", path, number))
                continue
            yield number, text


def _read_jsonl(path: Path, refuse: Refuse) -> Iterator[Row]:
    for number, text in read_lines(path, refuse):
        if not text.strip():
            continue
        try:
            row = _object(json.loads(text), path, number, text)
        except (ValueError, RecursionError) as error:  # ValueError: JSON's own, and a number of too many digits
            refuse(DataError(f"not JSON: {_said(error)}; expected one JSON object a line", path, number))
        except DataError as error:
            refuse(error)
        else:
            yield row


def _said(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return error.msg if isinstance(error, json.JSONDecodeError) else str(error).split(";")[0]


def _read_json(path: Path, refuse: Refuse) -> Iterator[Row]:
    """A list of objects, decoded element by element so that each has its line."""
    text = "".join(line for _, line in read_lines(path))
    decoder, blank = json.JSONDecoder(), re.compile(r"[\s]*")

    def skip(position: int) -> int:
        return blank.match(text, position).end()  # pyright: ignore[reportOptionalMemberAccess] - matches always

    at, line, counted = skip(0), 1, 0
    if at == len(text):
        return
    if text[at] != "[":
        raise DataError("expected a list of objects: [{…}, …]; for one object a line, name the file .jsonl", path, 1)
    at = skip(at + 1)
    while text[at : at + 1] != "]":
        line, counted = line + text.count("\n", counted, at), at
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            where = error.lineno if isinstance(error, json.JSONDecodeError) else line
            raise DataError(f"not JSON: {_said(error)}", path, where) from None
        try:
            row = _object(value, path, line, text[at:end])
        except DataError as error:
            refuse(error)
        else:
            yield row
        at = end
        at = skip(at)
        if text[at : at + 1] == ",":
            at = skip(at + 1)
        elif text[at : at + 1] != "]":
            raise DataError("not JSON: the list is not closed with ]", path, 1 + text.count("\n", 0, at))


_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def _object(value: Any, path: Path, line: int, text: str) -> Row:
    """The row of a decoded object.  ``text`` is its JSON."""
    if not isinstance(value, dict):
        raise DataError(f"expected an object {{…}}, got {type(value).__name__}", path, line)
    if _ESCAPED_SURROGATE.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise DataError("half of a surrogate pair (\\ud800 to \\udfff) is no character", path, line) from None
    return Row(value, str(path), line)


def _read_csv(path: Path, refuse: Refuse) -> Iterator[Row]:
    # A field may hold a whole book; the limit is process-wide and there is no way to set it for one reader.
    csv.field_size_limit(2**31 - 1)
    yield from _table(path, csv.reader(_cell_lines(path), strict=True), refuse)


def _read_tsv(path: Path, refuse: Refuse) -> Iterator[Row]:
    # No quoting: in the field's .tsv files (GLUE, SST) a quotation mark is a character of the text.
    csv.field_size_limit(2**31 - 1)
    yield from _table(path, csv.reader(_cell_lines(path), delimiter="\t", quoting=csv.QUOTE_NONE), refuse)


def _cell_lines(path: Path) -> Iterator[str]:
    """Lines of which a row may take several.  A bad byte stays as a surrogate, for the row to be refused as a whole."""
    with gzip.open(path, "rb") if path.name.lower().endswith(".gz") else open(path, "rb") as file:
        for number, raw in enumerate(file, start=1):
            yield raw.decode("utf-8-sig" if number == 1 else "utf-8", "surrogateescape")


def _table(path: Path, reader: Any, refuse: Refuse) -> Iterator[Row]:
    header: list[str] | None = None
    line = 1
    while True:
        try:
            fields = next(reader, None)
        except csv.Error as error:
            refuse(DataError(f"malformed: {error}", path, line))
            line = reader.line_num + 1
            continue
        if fields is None:
            return
        start, line = line, reader.line_num + 1
        if not fields:
            continue
        try:
            "".join(fields).encode()
        except UnicodeEncodeError:
            (stop if header is None else refuse)(DataError("not UTF-8; save it as UTF-8", path, start))
            continue
        if header is None:
            header = [name.strip() for name in fields]
            if len(set(header)) < len(header):
                raise DataError(f"a column name stands twice in the header: {', '.join(header)}", path, start)
        elif len(fields) != len(header):
            refuse(DataError(f"{len(fields)} fields, but the header has {len(header)}", path, start))
        else:
            yield Row(dict(zip(header, fields, strict=True)), str(path), start)


def _read_txt(path: Path, refuse: Refuse) -> Iterator[Row]:
    for number, text in read_lines(path, refuse):
        if text.strip():
            yield Row({"text": text.rstrip("\r\n")}, str(path), number)


def _read_parquet(path: Path, refuse: Refuse) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with gzip.open(path, "rb") if path.name.endswith(".gz") else open(path, "rb") as file:
            for batch in pyarrow.parquet.ParquetFile(file).iter_batches(1024):
                for value in batch.to_pylist():
                    number += 1
                    yield Row(value, str(path), number)
    except (pyarrow.ArrowException, ValueError, OverflowError) as error:  # the last two: dates that Python has not
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"not a whole Parquet file: {said}", path, number + 1 if number else None) from None


Reader = Callable[[Path, Refuse], Iterator[Row]]

_FORMATS: dict[str, Reader] = {
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".parquet": _read_parquet,
    ".txt": _read_txt,
}
