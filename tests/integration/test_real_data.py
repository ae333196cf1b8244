"""The readers over real files of the field, where the checkout has them beside it; the counts are the files' own."""

import gzip
import json
from pathlib import Path

import pytest

from assent.data import readers
from assent.data.sst2 import read_sst2, sentences_of, split_halves
from assent.errors import DataError
from tests.unit.data.test_sst2 import padded

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"

COUNTS = [
    (readers.read_comparisons, "formats/dpo_en_demo.json", 300),
    (readers.read_comparisons, "hh-harmless/test.jsonl.gz", 2308),
    (readers.read_comparisons, "tldr/comparisons_10k.jsonl.gz", 10_000),
    (readers.read_comparisons, "ultrafeedback/train_clean.jsonl", 998),
    (readers.read_comparisons, "ultrafeedback/eval_clean.jsonl", 200),
    (readers.read_judgements, "formats/kto_en_demo.json", 300),
    (readers.read_judgements, "imdb/train_10k.jsonl.gz", 10_000),
    (readers.read_judgements, "sst2/glue/train.tsv", 67_349),
    (readers.read_demonstrations, "formats/kto_en_demo.json", 300),
    (readers.read_prompts, "prompts/realtoxicityprompts_5k.jsonl", 5_000),
    (readers.read_prompts, "formats/dpo_en_demo.json", 300),
    (readers.read_prompts, "ultrafeedback/train_clean.jsonl", 1_000),
    (readers.read_rankings, "tldr/kway_rankings_with_ties.jsonl.gz", 208),
    (readers.read_texts, "tinystories/tinystories.jsonl", 2_316),
    (readers.read_texts, "imdb/train_10k.jsonl.gz", 10_000),
    (readers.read_texts, "wikitext2/wikitext-2-valid.txt", 2_461),
    (read_sst2, "sst2/glue/train.tsv", 67_349),
    (read_sst2, "sst2/glue/dev.tsv", 872),
    (read_sst2, "sst2/sentences/train.tsv", 6_920),
    (read_sst2, "sst2/sentences/dev.tsv", 872),
    (read_sst2, "sst2/sentences/test.tsv", 1_821),
]
PRESENT = [case for case in COUNTS if (DATA / case[1]).is_file()]


@pytest.mark.parametrize(("reader", "name", "count"), PRESENT, ids=[f"{c[0].__name__}-{c[1]}" for c in PRESENT])
def test_every_row_is_read(reader, name, count):
    records = reader(DATA / name) if reader is read_sst2 else reader(DATA / name, empty="skip")
    assert len(records) == count


@pytest.mark.parametrize("name", [n for n in ("ultrafeedback/train_clean.jsonl",) if (DATA / n).is_file()])
def test_a_real_row_with_an_empty_answer_is_named(name):
    with pytest.raises(DataError, match=r"train_clean.jsonl, line 479: column 'rejected' is empty"):
        readers.read_comparisons(DATA / name)


@pytest.mark.parametrize("name", [n for n in ("hh-harmless/test.jsonl.gz",) if (DATA / n).is_file()])
def test_dialogues_lose_no_word(name):
    """Prompt and answer put together again are the dialogue of the file, but for space around turns."""
    by_id = {c.id: c for c in readers.read_comparisons(DATA / name, empty="skip")}
    with gzip.open(DATA / name, "rt", encoding="utf-8") as file:
        lines = list(file)
    assert len(by_id) > 2_300
    speaker = {"user": "Human:", "assistant": "Assistant:"}

    def words(comparison, answer):
        turns = [f"{speaker[m.role]} {m.content}" for m in comparison.prompt.messages]
        return " ".join([*turns, "Assistant:", answer]).split()

    wanted = {tuple(json.loads(line)["chosen"].split()) for line in lines}
    # Two turns of one speaker in a row become one message, so their second speaker's name is gone: 8 dialogues.
    lost = [c for c in by_id.values() if tuple(words(c, c.chosen)) not in wanted]
    assert len(lost) == 8
    assert all(c.prompt.messages[-1].role == "user" for c in by_id.values())


@pytest.mark.parametrize("name", [n for n in ("tldr/comparisons_10k.jsonl.gz",) if (DATA / n).is_file()])
def test_equal_prompts_have_equal_ids(name):
    assert len({c.prompt.id for c in readers.read_comparisons(DATA / name)}) == 1_653


@pytest.mark.parametrize("name", [n for n in ("glue", "sentences") if (DATA / "sst2" / n).is_dir()])
def test_no_sentence_is_on_both_sides_of_halves(name):
    rows = read_sst2(DATA / "sst2" / name, "train")
    a, b, report = split_halves(rows, seed=0)
    assert not padded(a) & padded(b)
    assert abs(len(a) - len(b)) < 0.01 * len(rows)
    assert report.dropped < 0.06 * len(rows)
    # By plain text search, unlike the index of the code under test: every fifth sentence of one half, and of its long
    # rows every five-hundredth, against all rows of the other half.
    for one, other in ((a, b), (b, a)):
        joined = "\n".join(sorted(padded(other)))
        sentences = [row for row in sentences_of(one) if len(row.text.split()) > 8]
        assert not any(text in joined for text in sorted(padded(sentences))[::5])
        assert not any(root in joined for root in sorted(padded(one))[::500] if root.count(" ") > 7)


def test_the_small_files_of_the_project_itself(tmp_path):
    """The same readers on rows of each kind written here, so that this file also tests where the data is not."""
    (tmp_path / "sst.tsv").write_text("label\tsentence\n1\ta joy \n0\tno wit\n")
    assert [(row.text, row.label) for row in read_sst2(tmp_path / "sst.tsv")] == [("a joy", 1), ("no wit", 0)]
    assert [j.label for j in readers.read_judgements(tmp_path / "sst.tsv")] == [1.0, 0.0]
    hh = {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"}
    with gzip.open(tmp_path / "hh.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write(json.dumps(hh))
    assert readers.describe(tmp_path / "hh.jsonl.gz") == ["comparisons"]
