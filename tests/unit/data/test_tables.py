"""Rows into files: what a format has no place for is told by its row, and nothing is left out silently."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from assent.data.rows import read_rows
from assent.data.tables import write_rows
from assent.errors import DataError


def test_parquet_keeps_columns_that_only_later_rows_have(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"a": 1}, {"a": 2, "note": "why"}, {}]
    assert write_rows(tmp_path / "t.parquet", rows) == 3
    found = [row.values for row in read_rows(tmp_path / "t.parquet")]
    assert found == [{"a": 1, "note": None}, {"a": 2, "note": "why"}, {"a": None, "note": None}]


@pytest.mark.parametrize(
    ("name", "row", "said"),
    [
        ("t.jsonl", {"a": float("nan")}, "row 1: JSON has no place for it"),
        ("t.csv", {"a": [float("inf")]}, "row 1: JSON has no place for it"),
        ("t.jsonl", {"a": "\ud800"}, "row 1: half of a surrogate pair"),
        ("t.csv", {"\ud800": "a"}, "row 1: half of a surrogate pair"),
        ("t.csv", {}, "row 1: a table needs columns"),
        ("t.csv", {"a": 1, " a": 2}, "row 1: a table needs columns, each with a name of its own"),
        ("t.tsv", {"a": None}, "row 1: a .tsv is never quoted"),
        ("t.tsv", {"a\tb": "c"}, "row 1: column 'a\\tb': a .tsv is never quoted"),
        ("t.parquet", {"a": 10**30}, "row 1: a column of Parquet has one type"),
    ],
)
def test_a_row_that_the_format_cannot_hold(name: str, row: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        write_rows(tmp_path / name, [row])
    assert said in str(caught.value)
    assert list(tmp_path.iterdir()) == []
