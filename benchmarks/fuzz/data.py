"""Targets: data files of every format and layout, saved data sets, prompts, and tables that are written."""

from __future__ import annotations

import gzip
import io
import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from assent.data import readers
from assent.data.chat import encode_demonstration, encode_prompt, encode_text
from assent.data.forms import FORMS
from assent.data.forms.reading import Reading
from assent.data.rows import read_rows
from assent.data.tables import write_rows
from assent.errors import AssentError, DataError
from assent.testing.tiny import tiny_tokenizer
from benchmarks.fuzz.junk import GOOD, JUNK, MORE, TEXTS, as_lines, edited, spoilt
from benchmarks.fuzz.target import Outcome, Target, demand, refusal

ENDINGS = (".jsonl", ".json", ".csv", ".tsv", ".txt", ".parquet")
_BY_LINE = (".jsonl", ".txt")


# --- bytes to rows ---------------------------------------------------------------------------------------------------


@cache
def _whole(ending: str) -> bytes:
    """A good file of three rows."""
    plain = [{"prompt": f'a, "b" {i}', "chosen": "c d", "rejected": "é", "label": i} for i in range(3)]
    if ending == ".txt":
        return b"a film\n\nanother film\nthe last\n"
    if ending == ".jsonl":
        return as_lines([*plain, *GOOD]).encode()
    if ending == ".json":
        return json.dumps([*plain, *GOOD], indent=1).encode()
    path = Path(_scratch()) / f"whole{ending}"
    write_rows(path, plain)
    return path.read_bytes()


@cache
def _scratch() -> str:
    import tempfile

    return tempfile.mkdtemp(prefix="assent-fuzz-")


@st.composite
def _files(draw: Callable[..., Any]) -> tuple[str, bytes]:
    ending = draw(st.sampled_from(ENDINGS))
    data = draw(edited(_whole(ending)) | st.binary(max_size=60))
    if not draw(st.integers(0, 5)):
        packed = gzip.compress(data, mtime=0)
        return f"{ending}.gz", draw(st.just(packed) | edited(packed))
    return ending, data


def _read_bytes(drawn: tuple[str, bytes], folder: Path) -> Outcome:
    ending, data = drawn
    path = folder / f"bytes{ending}"
    path.write_bytes(data)
    told: list[DataError] = []
    rows = []
    try:
        for row in read_rows(path, refuse=told.append):
            json.dumps(row.values, ensure_ascii=False, default=str).encode()
            assert row.line > 0
            rows.append(row.line)
    except AssentError as error:
        refusal(error, path)
        told.append(error)  # pyright: ignore[reportArgumentType]
        whole_file = True
    else:
        whole_file = False
    for error in told[: len(told) - whole_file]:
        refusal(error, path, f"line {error.line}")
    lines = [*rows, *(error.line for error in told if error.line)]
    if ending in _BY_LINE:  # of JSON, a line may hold several rows
        assert len(set(lines)) == len(lines), f"a line was told of twice: {sorted(lines)}"
    if ending in _BY_LINE and not whole_file:
        filled = [
            n for n, raw in enumerate(io.BytesIO(data), 1) if raw.decode("utf-8", "replace").strip("\ufeff \t\r\n")
        ]
        assert set(filled) <= set(lines), f"lines {sorted(set(filled) - set(lines))} were dropped"
    return "refused" if told else "taken"


# --- rows to records -------------------------------------------------------------------------------------------------

_READERS = {
    name: getattr(readers, f"read_{name}")
    for name in ("prompts", "texts", "demonstrations", "comparisons", "judgements", "completions", "rankings")
}


def _read_records(drawn: tuple[str, list[Any], str, str], folder: Path) -> Outcome:
    kind, rows, ending, empty = drawn
    path = folder / f"rows{ending}"
    if ending == ".jsonl":
        path.write_text(as_lines(rows), encoding="utf-8")
    else:
        try:
            write_rows(path, rows)
        except DataError as error:
            return refusal(error, path)
    try:
        records = _READERS[kind](path, empty=empty)
    except DataError as error:
        demand(error.line is not None or "empty" in str(error), f"no line is named: {error}")
        return refusal(error, path)
    assert len(records) == len(rows) if empty == "error" else len(records) <= len(rows)
    from assent.types import to_json

    for record in records:
        parts = record if isinstance(record, tuple) else (record,)
        json.dumps([part if isinstance(part, str) else to_json(part) for part in parts], allow_nan=False).encode()
    return "taken"


def _read_form(drawn: tuple[list[Any], str | None], folder: Path) -> Outcome:
    rows, form = drawn
    path = folder / "form.jsonl"
    path.write_text(as_lines(rows), encoding="utf-8")
    told: list[DataError] = []
    reading = Reading(path, form, told=told.append)
    try:
        taken = {row.line for row, _ in reading}
    except DataError as error:  # no form has the columns of the first row
        demand(error.line == 1, f"not told of the first row: {error}")
        return refusal(error, path)
    for error in told:
        refusal(error, path, f"line {error.line}: ")
    assert reading.report.rows == len(rows)
    assert reading.report.refused == len(told)
    assert sorted([*taken, *(error.line or 0 for error in told)]) == list(range(1, len(rows) + 1)), "a row was dropped"
    return "refused" if told else "taken"


def _write_table(drawn: tuple[list[dict[str, Any]], str], folder: Path) -> Outcome:
    rows, ending = drawn
    path = folder / f"written{ending}"
    path.unlink(missing_ok=True)
    before = set(folder.iterdir())
    try:
        count = write_rows(path, rows)
    except DataError as error:
        assert set(folder.iterdir()) == before, "something was left behind"
        return refusal(error, path)
    assert count == len(rows)
    try:
        back = [row.values for row in read_rows(path)]
    except DataError as error:
        demand(not any(rows), f"what was written cannot be read: {error}")
        return "taken"
    for row, found in zip(rows, back, strict=True):
        filled = [name for name, value in row.items() if value not in (None, "", [], {})]
        lost = [name for name in filled if (name.strip() if "sv" in ending else name) not in found]
        assert not lost, f"columns {lost} were dropped"
        assert "json" not in ending or found == row
    return "taken"


# --- folders and data sets -------------------------------------------------------------------------------------------


@cache
def _saved() -> Path:
    """What ``datasets`` saves: with splits, and without."""
    import datasets

    folder = Path(_scratch()) / "saved"
    data = datasets.Dataset.from_list([{"prompt": "a", "completion": "b"}, {"prompt": "c", "completion": "d"}])
    data.save_to_disk(folder / "plain")
    datasets.DatasetDict({"train": data, "test": data}).save_to_disk(folder / "splits")
    return folder


@st.composite
def _layouts(draw: Callable[..., Any]) -> tuple[str, str, bytes | None, str | None]:
    kind = draw(st.sampled_from(["plain", "splits"]))
    files = sorted(str(p.relative_to(_saved() / kind)) for p in (_saved() / kind).rglob("*") if p.is_file())
    name = draw(st.sampled_from(files))
    data = draw(st.none() | edited((_saved() / kind / name).read_bytes()))
    return kind, name, data, draw(st.sampled_from([None, "train", "test", "trian", ""]))


def _read_saved(drawn: tuple[str, str, bytes | None, str | None], folder: Path) -> Outcome:
    kind, name, data, split = drawn
    copy = folder / "saved"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(_saved() / kind, copy)
    (copy / name).unlink() if data is None else (copy / name).write_bytes(data)
    try:
        rows = list(read_rows(copy, split))
    except AssentError as error:
        return refusal(error, copy)
    assert rows
    return "taken"


_NAMES = st.lists(
    st.sampled_from(["train", "test", "dev", "validation", "-00000-of-00002", ".", "_", ".jsonl", ".csv", ".json",
                     ".gz",
                     ".txt", "a", "README", "config", ".parquet", "Train"]),
    min_size=1, max_size=5,
).map("".join)  # fmt: skip


def _pick_split(drawn: tuple[list[str], str | None], folder: Path) -> Outcome:
    names, split = drawn
    home = folder / "folder"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    for name in names:
        if name.strip("."):
            (home / name).write_text('{"text": "a"}\n')
    try:
        assert list(read_rows(home, split))
    except AssentError as error:
        return refusal(error, home)
    return "taken"


def _read_name(drawn: tuple[str, str | None], folder: Path) -> Outcome:
    from assent.data import hub

    before, hub._reachable = hub._reachable, cache(lambda: False)
    try:
        list(read_rows(*drawn))
    except AssentError as error:
        return refusal(error)
    finally:
        hub._reachable = before
    return "taken"


# --- texts to tokens -------------------------------------------------------------------------------------------------

_TEMPLATES = (
    None,
    "{{ raise_exception('roles must alternate') }}",
    "{% for m in messages %}{{ m.nothing.more }}{% endfor %}",
    "{% for m in messages %}",
    "{{ messages[5].content }}",
    "{% for i in range(10000000) %}{% endfor %}",
    "{{ ''.__class__.__mro__ }}",
    "{{ messages[0]['content'] }}{{ 1 // 0 }}",
    "",
)


def _encode(drawn: tuple[list[Any], str | None, int | None, str | None], folder: Path) -> Outcome:
    rows, template, most, truncate = drawn
    path = folder / "prompts.jsonl"
    path.write_text(as_lines(rows), encoding="utf-8")
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    limits: dict[str, Any] = {"truncate": truncate, "source": path}
    try:
        for prompt in readers.read_prompts(path):
            ids = encode_prompt(tokenizer, prompt, max_tokens=most, **limits)
            assert most is None or len(ids) <= most
    except AssentError as error:
        return refusal(error, *([path] if isinstance(error, DataError) else []))
    try:
        for demonstration in readers.read_demonstrations(path):
            tokens = encode_demonstration(tokenizer, demonstration, most and most + 1, turns="all", **limits)
            assert len(tokens.ids) == len(tokens.completion_mask)
    except AssentError as error:
        return refusal(error)
    for text in (str(row)[:200] for row in rows):
        encode_text(tokenizer, text.encode("utf-8", "replace").decode(), most)
    return "taken"


_ROWS = st.lists(spoilt([*GOOD, *MORE], most=2), min_size=1, max_size=4)
_SPLITS = st.sampled_from([None, "train", "test", "validation", "x"])

TARGETS = [
    Target("bytes", _files(), _read_bytes),
    Target(
        "records",
        st.tuples(
            st.sampled_from(sorted(_READERS)),
            _ROWS,
            st.sampled_from([".jsonl", ".jsonl", ".json", ".csv", ".parquet"]),
            st.sampled_from(["error", "skip"]),
        ),
        _read_records,
    ),
    Target("forms", st.tuples(st.lists(spoilt(), min_size=1, max_size=4), st.sampled_from([None, *FORMS])), _read_form),
    Target(
        "tables",
        st.tuples(
            st.lists(st.dictionaries(TEXTS, JUNK, max_size=3), max_size=4),
            st.sampled_from([e for e in ENDINGS if e != ".txt"] + [".jsonl.gz", ".xml"]),
        ),
        _write_table,
    ),
    Target("saved data sets", st.deferred(lambda: _layouts()), _read_saved),
    Target("folders of data", st.tuples(st.lists(_NAMES, min_size=1, max_size=4, unique=True), _SPLITS), _pick_split),
    Target("names of data", st.tuples(TEXTS.filter(lambda t: "\x00" not in t), _SPLITS), _read_name),
    Target(
        "prompts",
        st.tuples(_ROWS, st.sampled_from(_TEMPLATES), st.none() | st.integers(1, 40), st.sampled_from([None, "left"])),
        _encode,
    ),
]
