"""Laws of the file forms: no row is dropped silently, no input is a traceback, and what is written is read."""

import contextlib
import csv
import dataclasses
import gzip
import json
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assent.data.forms import FORMS, Vote
from assent.data.forms.reading import Reading
from assent.data.forms.writing import row_of
from assent.data.rows import Row, read_rows
from assent.data.tables import write_rows
from assent.errors import DataError
from assent.types import Demonstration, Judgement, Message, Prompt, Ranking
from benchmarks.fuzz.junk import GOOD

FOLDER = tempfile.TemporaryDirectory()
JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["[", "[[]]", "{}"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def spoilt(draw):
    """A good row with one value, at any depth, replaced, taken out, or put where it does not belong."""
    row = json.loads(json.dumps(draw(st.sampled_from(GOOD))))
    holder, key = row, draw(st.sampled_from(sorted(row)))
    while isinstance(holder[key], (dict, list)) and holder[key] and draw(st.booleans()):
        holder = holder[key]
        key = draw(st.sampled_from(sorted(holder))) if isinstance(holder, dict) else len(holder) - 1
    if draw(st.integers(0, 4)):
        holder[key] = draw(JUNK)
    else:
        del holder[key]
    return row


def taken_and_refused(path, form=None):
    told = []
    reading = Reading(path, form, told=told.append)
    with_records = {row.line for row, _ in reading}
    return with_records, told, reading.report


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(spoilt(), min_size=1, max_size=4), st.sampled_from([None, *FORMS]))
def test_every_row_becomes_records_or_is_told_with_its_line(given_rows, form):
    path = Path(FOLDER.name) / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in given_rows), encoding="utf-8")
    try:
        taken, told, report = taken_and_refused(path, form)
    except DataError as error:  # no form has the columns of the first row
        line = error.line
    else:
        line = None
    if line is not None:
        assert line == 1
        return
    assert report.rows == len(given_rows)
    assert sorted([*taken, *(error.line for error in told)]) == list(range(1, len(given_rows) + 1))
    assert all(str(error).startswith(f"{path}, line {error.line}: ") for error in told)
    assert report.refused == len(told)


@settings(deadline=None, max_examples=200)
@given(st.sampled_from([".jsonl", ".json", ".csv", ".tsv", ".txt", ".parquet"]), st.booleans(), st.binary(max_size=200))
def test_any_bytes_are_rows_or_a_sentence(ending, packed, content):
    path = Path(FOLDER.name) / f"bytes{ending}{'.gz' if packed else ''}"
    path.write_bytes(gzip.compress(content) if packed else content)
    told = []
    try:
        for row in read_rows(path, refuse=told.append):
            json.dumps(row.values, ensure_ascii=False, default=str).encode()
    except DataError as error:
        told.append(error)
    assert all(str(error).startswith(str(path)) for error in told)


@settings(deadline=None, max_examples=100)
@given(st.data(), st.sampled_from(GOOD))
def test_a_file_cut_anywhere_is_rows_or_a_sentence(data, row):
    whole = gzip.compress("".join(json.dumps(row) + "\n" for _ in range(3)).encode(), mtime=0)
    path = Path(FOLDER.name) / "cut.jsonl.gz"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(DataError, match=r"cut\.jsonl\.gz.*(not a whole gzip file|empty)"):
        list(Reading(path))


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\r"), min_size=1, max_size=12).filter(
    lambda text: text.strip() != ""
)
TURNS = st.lists(WORDS, min_size=1, max_size=3).map(
    lambda texts: tuple(
        Message(("user", "assistant")[i % 2], text) for i, text in enumerate(texts[: len(texts) - 1 + len(texts) % 2])
    )
)
NAMES = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=8)
PROMPTS = st.one_of(
    st.builds(Prompt, NAMES, text=WORDS), st.builds(Prompt, NAMES, messages=TURNS, metadata=st.just({"source": "x"}))
)
TIMES = st.floats(1, 1e9)
PAIR_OF_IDS = st.tuples(NAMES, NAMES).filter(lambda ids: ids[0] != ids[1])
VOTES = st.builds(
    Vote, PROMPTS, WORDS, WORDS, st.sampled_from(["a", "b", "tie", "both bad"]), annotator=NAMES, criterion=NAMES,
    note=st.sampled_from(["", "why"]), seconds=st.none() | TIMES, created=TIMES, completion_ids=PAIR_OF_IDS, id=NAMES,
)  # fmt: skip
RANKINGS = st.integers(2, 4).flatmap(
    lambda k: st.builds(
        Ranking, NAMES, PROMPTS, st.just(tuple(f"c{i}" for i in range(k))), st.tuples(*[WORDS] * k),
        st.tuples(*[st.sampled_from([1, 2, 3])] * k), NAMES, criterion=NAMES, created=TIMES, note=st.just("n"),
    )
)  # fmt: skip
JUDGEMENTS = st.builds(
    Judgement, NAMES, PROMPTS, WORDS, st.sampled_from([0.0, 1.0, 2.5]), NAMES, annotator=NAMES, created=TIMES
)
DEMONSTRATIONS = st.builds(Demonstration, PROMPTS, WORDS, NAMES, NAMES)
RECORDS = {Vote: VOTES, Ranking: RANKINGS, Judgement: JUDGEMENTS, Demonstration: DEMONSTRATIONS}
WRITTEN = [(form.name, kind) for form in FORMS.values() for kind in form.write]


@pytest.fixture(autouse=True, scope="module")
def no_waiting_for_the_disk():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.mark.parametrize(("form", "kind"), WRITTEN, ids=[f"{form}-{kind.__name__}" for form, kind in WRITTEN])
@settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_what_a_form_can_hold_comes_back_whole(form, kind, data):
    """With the extra column nothing is lost, in any kind of file, several records in one."""
    rows, records = [], []
    for record in data.draw(st.lists(RECORDS[kind], min_size=1, max_size=3)):
        with contextlib.suppress(ValueError):  # the reason is for the export's report
            row, lost = row_of(FORMS[form], record)
            assert lost == frozenset()
            rows.append(row)
            records.append(record)
    ending = data.draw(st.sampled_from([".jsonl", ".json.gz", ".csv", ".csv.gz", ".parquet"]))
    if rows:
        path = Path(FOLDER.name) / f"{form}{ending}"
        try:
            write_rows(path, rows)
        except DataError as error:  # of a text and a chat, or of a yes and a 2.5, Parquet makes no column
            if ending != ".parquet" or "a column of Parquet has one type" not in str(error):
                raise
            return
        assert [found for _, found in Reading(path, form, strict=True) if isinstance(found, kind)] == records


@pytest.mark.parametrize(("form", "kind"), WRITTEN, ids=[f"{form}-{kind.__name__}" for form, kind in WRITTEN])
@settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_what_the_bare_layout_loses_is_named(form, kind, data):
    record = data.draw(RECORDS[kind])
    try:
        row, lost = row_of(FORMS[form], record, extras=False)
    except ValueError:
        return
    back = next(r for r in FORMS[form].read(Row(row, "", 0)) if isinstance(r, kind))
    if "order" in lost:
        back = dataclasses.replace(back, a=back.b, b=back.a, outcome="b")
    whole = {name.split(".")[0] for name in lost}
    for item in dataclasses.fields(record):
        if item.name not in whole and item.name != "completion_ids":
            assert getattr(back, item.name) == getattr(record, item.name), item.name


def test_the_fields_of_a_csv_limit_are_lifted():
    path = Path(FOLDER.name) / "long.csv"
    write_rows(path, [{"text": "x" * 1_000_000}])
    assert next(read_rows(path)).values == {"text": "x" * 1_000_000}
    assert csv.field_size_limit() > 1_000_000
