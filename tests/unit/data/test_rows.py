"""Every file format gives the same rows with the right lines, and every way to be wrong gives one clear sentence."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets.exceptions import DatasetNotFoundError

from assent.data import hub
from assent.data.readers import read_rows
from assent.errors import DataError

ROWS = [{"prompt": "a", "completion": "b"}, {"prompt": "ü", "completion": "d\u2028e"}]


def write(path: Path, text: str | bytes) -> Path:
    raw = text.encode() if isinstance(text, str) else text
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


FILES = {
    "a.jsonl": ("\n".join(json.dumps(row) for row in ROWS), [1, 2]),
    "b.jsonl": ("\ufeff" + json.dumps(ROWS[0]) + "\r\n\r\n" + json.dumps(ROWS[1], ensure_ascii=False) + "\r\n", [1, 3]),
    "a.json": (json.dumps(ROWS, indent=1), [2, 6]),
    "a.csv": ('prompt,completion\na,b\nü,"d\u2028e"\n', [2, 3]),
    "a.tsv": ("prompt\tcompletion\na\tb\nü\td\u2028e\n", [2, 3]),
}


@pytest.mark.parametrize("zipped", ["", ".gz"])
@pytest.mark.parametrize("name", FILES)
def test_all_text_formats_give_the_same_rows_with_their_lines(tmp_path: Path, name: str, zipped: str) -> None:
    text, lines = FILES[name]
    path = write(tmp_path / (name + zipped), text)
    rows = list(read_rows(path))
    assert [row.values for row in rows] == ROWS
    assert [row.line for row in rows] == lines
    assert {row.path for row in rows} == {str(path)}


def test_parquet(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    rows = list(read_rows(tmp_path / "a.parquet"))
    assert [(row.values, row.line) for row in rows] == [(ROWS[0], 1), (ROWS[1], 2)]
    write(tmp_path / "b.parquet.gz", (tmp_path / "a.parquet").read_bytes())
    assert [row.values for row in read_rows(tmp_path / "b.parquet.gz")] == ROWS


def test_a_quoted_csv_field_over_several_lines_is_named_by_its_first(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'text\n"one\ntwo"\nthree\n')
    assert [(row.values["text"], row.line) for row in read_rows(path)] == [("one\ntwo", 2), ("three", 4)]


def test_a_quotation_mark_in_a_tsv_is_a_character(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", 'text\tlabel\n"so bad it\t0\nwell "made"\t1\n')
    assert [row.values["text"] for row in read_rows(path)] == ['"so bad it', 'well "made"']


def test_a_text_file_has_a_row_a_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "one\n \n two \n")
    assert [(row.values, row.line) for row in read_rows(path)] == [({"text": "one"}, 1), ({"text": " two "}, 3)]


WRONG = {
    "empty.jsonl": ("", None, "empty"),
    "blank.jsonl": ("\n \n", None, "empty"),
    "empty.csv": ("", None, "empty"),
    "header.csv": ("a,b\n", None, "empty"),
    "empty.json": ("", None, "empty"),
    "none.json": ("[]", None, "empty"),
    "broken.jsonl": ('{"a": 1}\n{"a": \n', 2, "not JSON"),
    "list.jsonl": ('{"a": 1}\n[1]\n', 2, "expected an object {…}, got list"),
    "object.json": ('{"a": 1}', 1, "list of objects"),
    "number.json": ('[{"a": 1},\n 3]', 2, "expected an object {…}, got int"),
    "open.json": ('[{"a": 1}\n', 2, "not closed"),
    "broken.json": ('[{"a": 1},\n{"a": }]', 2, "not JSON"),
    "latin.jsonl": ('{"a": 1}\n{"a": "é"}\n'.encode("latin-1"), 2, "not UTF-8"),
    "latin.csv": ("a\ncafé\n".encode("latin-1"), 2, "not UTF-8"),
    "ragged.csv": ("a,b\n1,2\n1,2,3\n", 3, "3 fields, but the header has 2"),
    "twice.csv": ("a,a\n1,2\n", 1, "twice"),
    "quote.csv": ('a\nx\n"open\n', 3, "malformed"),
    "bad.jsonl.gz": (b"no gzip", None, "gzip"),
    "bad.parquet": ("no parquet", None, "Parquet"),
    "bad.xlsx": ("x", None, "unknown kind of file"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_is_one_sentence_with_its_line(tmp_path: Path, name: str) -> None:
    content, line, said = WRONG[name]
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DataError) as caught:
        list(read_rows(path))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (str(caught.value.path), caught.value.line) == (str(path), line)


def test_a_gzip_file_cut_short(tmp_path: Path) -> None:
    whole = gzip.compress(b'{"a": 1}\n' * 1000)
    (tmp_path / "a.jsonl.gz").write_bytes(whole[:-20])
    with pytest.raises(DataError, match="not a whole gzip file"):
        list(read_rows(tmp_path / "a.jsonl.gz"))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        list(read_rows(tmp_path / "no.jsonl"))
    with pytest.raises(DataError, match="no such file or folder"):
        list(read_rows("data/no.jsonl"))  # has the form of a hub name, but not the ending


def test_a_folder_gives_the_split_by_file_name(tmp_path: Path) -> None:
    for name, text in [("train.jsonl", "t"), ("dev.jsonl", "v"), ("test.jsonl.gz", "e"), ("manifest.json", "m")]:
        write(tmp_path / name, json.dumps({"text": text}))
    write(tmp_path / "SOURCE.txt", "where it is from")

    def only(split: str | None) -> str:
        (row,) = read_rows(tmp_path, split)
        return row.values["text"]

    assert [only(split) for split in (None, "train", "validation", "dev", "test")] == ["t", "t", "v", "v", "e"]
    with pytest.raises(DataError, match=r"no file of split 'best' among dev.jsonl, test.jsonl.gz, train.jsonl"):
        only("best")


def test_numbered_shards_are_one_split_and_other_doubles_are_ambiguous(tmp_path: Path) -> None:
    for i in range(2):
        write(tmp_path / f"train-0000{i}-of-00002.jsonl", json.dumps({"i": i}))
    assert [row.values["i"] for row in read_rows(tmp_path)] == [0, 1]
    write(tmp_path / "train.csv", "i\n2\n")
    with pytest.raises(DataError, match="several files could be split 'train'"):
        list(read_rows(tmp_path))


def test_a_folder_with_one_file_needs_no_split(tmp_path: Path) -> None:
    write(tmp_path / "anything.jsonl", '{"a": 1}')
    assert len(list(read_rows(tmp_path))) == 1
    with pytest.raises(DataError, match="no file of split 'test'"):
        list(read_rows(tmp_path, "test"))


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no data file in this folder"):
        list(read_rows(tmp_path))


def test_one_file_has_no_other_split(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"a": 1}')
    assert len(list(read_rows(path, "train"))) == 1
    with pytest.raises(DataError, match="one file has no split 'test'"):
        list(read_rows(path, "test"))


def test_a_folder_that_datasets_saved(tmp_path: Path) -> None:
    import datasets

    saved = datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS), "dev": datasets.Dataset.from_list(ROWS)})
    saved.save_to_disk(tmp_path / "d")
    assert [row.values for row in read_rows(tmp_path / "d", "dev")] == ROWS
    with pytest.raises(DataError, match="no split 'test'; it has train, dev"):
        list(read_rows(tmp_path / "d", "test"))


def test_hub_names() -> None:
    assert hub.looks_like_name("stanfordnlp/sst2")
    assert hub.looks_like_name("Salesforce/wikitext:wikitext-2-raw-v1")
    for path in ("../data", "/abs/path", "one", "a/b/c", "./x/y"):
        assert not hub.looks_like_name(path)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (DatasetNotFoundError("Dataset 'o/n' is a gated dataset on the Hub."), "datasets/o/n, then set HF_TOKEN"),
        (DatasetNotFoundError("Dataset 'o/n' doesn't exist on the Hub or cannot be accessed."), "check the spelling"),
        (ConnectionError("Couldn't reach 'o/n' on the Hub (LocalEntryNotFoundError)"), "check the network"),
        (ConnectionError("Couldn't reach 'o/n' on the Hub (OfflineModeIsEnabled)"), "HF_HUB_OFFLINE"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (ValueError("Unknown split \"tran\". Should be one of ['train', 'test']."), "did you mean 'train'?"),
        (ValueError("Config name is missing.\nPlease pick one among: ['a', 'b']"), "'o/n:CONFIG'"),
        (RuntimeError("something\nelse"), "could not be loaded: something"),
    ],
)
def test_what_the_hub_says_becomes_one_sentence(error: Exception, said: str) -> None:
    explained = str(hub.explain(error, "o/n"))
    assert said in explained
    assert "\n" not in explained


def test_offline_the_hub_is_explained_for_real() -> None:
    code = "from assent.data.readers import read_rows\nlist(read_rows('nobody-here/no-such-data'))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={"HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin"},
    )
    assert "DataError: dataset 'nobody-here/no-such-data' is not in the cache and HF_HUB_OFFLINE is set" in done.stderr


def test_readers_load_without_torch_and_datasets() -> None:
    code = (
        "import sys, assent.data.readers; print([m for m in ('torch', 'transformers', 'datasets') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
